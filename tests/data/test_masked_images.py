"""Pairs for training: decoded once, replaced where they break, reduced together."""

import shutil

import numpy as np
import pytest
from mask_files import SIZE, TURNED, flat, mask_of, put
from PIL import Image

from mobilevitv2.data.masks.opening import IGNORED, MaskedImages, open_segmentation
from mobilevitv2.errors import DataError


def whole(image: Image.Image, mask: np.ndarray, key: tuple[int, int]):
    return np.asarray(image), mask


def test_a_pair_is_its_image_and_its_mask(tmp_path):
    data = open_segmentation(flat(tmp_path, values=(0, 1, 2, 255)))
    seen = []

    def prepare(image, mask, key):
        seen.append(key)
        return whole(image, mask, key)

    items = MaskedImages(data.train, data.read_mask, prepare)
    assert len(items) == 4
    pixels, mask, broken = items[7, 2]
    assert np.array_equal(mask, mask_of(0, 1, 2, 255))
    assert mask.dtype == np.uint8
    assert mask.flags.writeable
    assert abs(int(pixels.mean()) - 10 * int(data.train[2][0].stem)) <= 1
    assert (broken, seen) == (-1, [(7, 2)])


@pytest.mark.parametrize("half", [0, 1])
def test_a_pair_that_breaks_later_is_replaced_by_the_next_or_does_not_count(tmp_path, half):
    data = open_segmentation(flat(tmp_path))
    broken_path = data.train[3][half]
    broken_path.write_bytes(broken_path.read_bytes()[:-30])
    items = MaskedImages(data.train, data.read_mask, whole)
    pixels, mask, broken = items[3]
    assert broken == 3
    assert np.array_equal(pixels, items[0][0])  # the next one, from the last
    assert np.array_equal(mask, mask_of(0, 1, 2))
    assert f"{broken_path.name} is damaged or cut short" in items.reasons[3]
    assert items.image(3) is None
    evaluated = MaskedImages(data.train, data.read_mask, whole, replace_broken=False)
    assert [bool((evaluated[i][1] == IGNORED).all()) for i in range(4)] == [False] * 3 + [True]


def test_a_mask_of_another_size_breaks_its_pair(tmp_path):
    data = open_segmentation(flat(tmp_path))
    Image.fromarray(mask_of(0, 1, size=(20, 30))).save(data.train[1][1])
    items = MaskedImages(data.train, data.read_mask, whole)
    assert items[1][2] == 1
    assert "no longer the same size" in items.reasons[1]


@pytest.mark.parametrize("keep_pixels", [False, True])
def test_kept_pairs_are_the_same_and_need_no_files(tmp_path, keep_pixels):
    data = open_segmentation(flat(tmp_path))

    def items(**how):
        return MaskedImages(data.train, data.read_mask, whole, keep_pixels=keep_pixels, **how)

    read_again = items(cache_bytes=0)
    first = [read_again[i] for i in range(4)]
    kept, half = items(), items(cache_bytes=2 * 4 * SIZE[0] * SIZE[1])
    for split in (kept, half):
        split.fill()
        for i in range(4):
            assert all(np.array_equal(a, b) for a, b in zip(split[i], first[i], strict=True))
    assert half.room == 0
    shutil.rmtree(tmp_path / "images")
    assert [kept[i][2] for i in range(4)] == [-1] * 4
    with pytest.raises(DataError, match="no image of this split can be decoded"):
        _ = read_again[0]


def test_large_pairs_are_reduced_without_new_class_numbers(tmp_path):
    values = mask_of(0, 200, size=(400, 200))
    values[:100] = 7
    for i in range(3):
        put(tmp_path / "images" / f"{i}.png", tmp_path / "masks" / f"{i}.png", values)
    data = open_segmentation(tmp_path, classes=[str(i) for i in range(201)])
    items = MaskedImages(data.train, data.read_mask, whole, short_side=50)
    pixels, mask, _ = items[0]
    assert pixels.shape == (50, 100, 3)
    assert mask.shape == (50, 100)
    assert set(np.unique(mask)) <= {0, 7, 200}
    assert (mask[:25] == 7).all()
    assert (mask[25:] != 7).all()


@pytest.mark.parametrize("suffix", ["png", "tif", "webp", "jpg"])
def test_the_size_that_is_compared_is_that_of_the_decoded_image(tmp_path, suffix):
    flat(tmp_path)
    exif = Image.Exif()
    exif[0x0112] = 8
    (tmp_path / "images" / "1.jpg").unlink()
    Image.new("RGB", SIZE).save(tmp_path / "images" / f"1.{suffix}", exif=exif)
    Image.fromarray(mask_of(0, 1, size=TURNED)).save(tmp_path / "masks" / "1.png")
    data = open_segmentation(tmp_path)
    items = MaskedImages(data.train + data.val, data.read_mask, whole)
    for i in range(5):
        pixels, mask, broken = items[i]
        assert broken == -1
        assert pixels.shape[:2] == mask.shape
