"""Images with boxes for training: decoded once, replaced where they break, reduced together."""

import shutil

import numpy as np
import pytest
from box_files import BOXES, SIZE, picture, put_voc, put_xml
from PIL import Image, ImageDraw, ImageOps

from mobilevitv2.data.boxes.opening import BoxedImages, open_detection
from mobilevitv2.errors import DataError

CORNERS = [box[1:] for box in BOXES]


def whole(image, boxes, key):
    return np.asarray(image), boxes


def opened(folder):
    put_voc(folder, folder, range(5))
    return open_detection(folder)


def test_a_sample_is_its_image_and_its_boxes(tmp_path):
    data = opened(tmp_path)
    seen = []

    def prepare(image, boxes, key):
        seen.append(key)
        boxes.corners[:] += 1  # they may be written to
        boxes.labels[:] = 0
        return whole(image, boxes, key)

    items = BoxedImages(data.train, prepare)
    assert len(items) == 4
    items[7, 2]
    pixels, boxes, broken = items[7, 2]
    assert np.allclose(boxes.corners, np.array(CORNERS) + 1)
    assert data.train[2].boxes.labels.tolist() == [1, 0]
    assert abs(int(pixels.mean()) - 10 * int(data.train[2].image.stem)) <= 1
    assert (broken, seen) == (-1, [(7, 2), (7, 2)])


def test_a_sample_that_breaks_later_is_replaced_by_the_next_or_does_not_count(tmp_path):
    data = opened(tmp_path)
    put_xml(tmp_path / "0.xml", [("cat", 1, 2, 3, 4)])
    data = open_detection(tmp_path)
    path = data.train[3].image
    path.write_bytes(path.read_bytes()[:-30])
    items = BoxedImages(data.train, whole)
    pixels, boxes, broken = items[3]
    first = items[0]
    assert broken == 3
    assert np.array_equal(pixels, first[0])  # the next one, from the last
    assert np.array_equal(boxes.corners, first[1].corners)
    assert f"{path.name} is damaged or cut short" in items.reasons[3]
    evaluated = BoxedImages(data.train, whole, replace_broken=False)
    assert [evaluated[i][1] is None for i in range(4)] == [False] * 3 + [True]
    assert evaluated[3][2] == 3


@pytest.mark.parametrize("keep_pixels", [False, True])
@pytest.mark.parametrize("short_side", [None, 15])
def test_kept_samples_are_the_same_and_need_no_files(tmp_path, keep_pixels, short_side):
    data = opened(tmp_path)

    def items(**how):
        return BoxedImages(data.train, whole, keep_pixels=keep_pixels, short_side=short_side, **how)

    read_again = items(cache_bytes=0)
    first = [read_again[i] for i in range(4)]
    kept = items()
    kept.fill()
    shutil.rmtree(tmp_path)
    for i in range(4):
        (pixels, boxes, broken), (their_pixels, theirs, _) = kept[i], first[i]
        assert broken == -1
        assert np.array_equal(pixels, their_pixels)
        assert all(np.array_equal(a, b) for a, b in zip(boxes, theirs, strict=True))
    with pytest.raises(DataError, match="no image of this split can be decoded"):
        _ = read_again[0]


@pytest.mark.parametrize("how", [1, 6])
def test_boxes_stay_about_what_they_mark_when_a_large_or_turned_image_is_reduced(tmp_path, how):
    box = (40, 20, 120, 100)
    image = Image.new("RGB", (401, 201))
    ImageDraw.Draw(image).rectangle((box[0], box[1], box[2] - 1, box[3] - 1), fill="white")
    exif = Image.Exif()
    exif[0x0112] = how
    for i in range(3):
        image.save(tmp_path / f"{i}.png", exif=exif)
        put_xml(tmp_path / f"{i}.xml", [("cat", *box)], image.size)
    data = open_detection(tmp_path)
    pixels, boxes, _ = BoxedImages(data.train, whole, short_side=50)[0]
    assert sorted(pixels.shape) == [3, 50, 100]
    white = Image.fromarray(pixels).convert("L").point([0] * 129 + [255] * 127).getbbox()
    assert np.abs(boxes.corners[0] - np.array(white)).max() <= 1
    upright = ImageOps.exif_transpose(Image.open(tmp_path / "0.png"))
    scale = pixels.shape[1] / upright.width, pixels.shape[0] / upright.height
    assert boxes.areas[0] == pytest.approx(80 * 80 * scale[0] * scale[1])
    assert np.prod(boxes.corners[0, 2:] - boxes.corners[0, :2]) == pytest.approx(boxes.areas[0])


def test_an_image_without_boxes_has_an_empty_target(tmp_path):
    opened(tmp_path)
    put_xml(tmp_path / "0.xml", [])
    picture(tmp_path / "0.jpg", SIZE)
    data = open_detection(tmp_path)
    empty = next(i for i, sample in enumerate(data.train) if sample.image.stem == "0")
    boxes = BoxedImages(data.train, whole, short_side=10)[empty][1]
    assert boxes.corners.shape == (0, 4)
    assert boxes.labels.shape == boxes.areas.shape == boxes.ignored.shape == (0,)
