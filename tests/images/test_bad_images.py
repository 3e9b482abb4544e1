"""Every image that can't be used is refused with one sentence that names it, and no other is."""

import io
import os
import struct
import warnings
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from mobilevitv2.errors import ImageError
from mobilevitv2.images.reading import load_segmentation_map
from mobilevitv2.processor import MobileViTImageProcessor, load_image

rng = np.random.default_rng(0)
PICTURE = Image.fromarray(rng.integers(0, 255, (64, 96, 3), dtype=np.uint8))


def png_header(width: int, height: int) -> bytes:
    """A PNG that announces a size and holds next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0"))


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def frames(kind: str) -> bytes:
    others = [PICTURE.rotate(angle) for angle in (90, 180)]
    return encoded(PICTURE, kind, save_all=True, append_images=others)


BAD_FILES = {
    "cut.jpg": (encoded(PICTURE, "JPEG")[:-900], "damaged or cut short"),
    "cut.png": (encoded(PICTURE, "PNG")[:-900], "damaged or cut short"),
    "flipped-bits.png": (
        encoded(PICTURE, "PNG")[:200] + b"\xff" * 50 + encoded(PICTURE, "PNG")[250:],
        "damaged or cut short",
    ),
    "header-only.jpg": (encoded(PICTURE, "JPEG")[:30], "damaged|not an image"),
    "empty.jpg": (b"", "is empty"),
    "notes.jpg": (b"this is text, not a picture\n" * 20, "not an image that Pillow can read"),
    "page.png": (b"<!doctype html><html>404</html>", "not an image that Pillow can read"),
    "one-pixel.png": (encoded(PICTURE.resize((1, 1)), "PNG"), "1x1 px"),
    "line.png": (encoded(PICTURE.resize((500, 1)), "PNG"), "500x1 px"),
    "bomb.png": (png_header(30_000, 30_000), "more than 89,478,485 pixels"),
    "small-bomb.png": (png_header(10_000, 10_000), "more than 89,478,485 pixels"),
    "moving.gif": (frames("GIF"), "several frames"),
    "moving.png": (frames("PNG"), "several frames"),
    "moving.webp": (frames("WEBP"), "several frames"),
    "pages.tif": (frames("TIFF"), "several frames"),
}


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_file_is_refused_in_one_line_that_names_it(tmp_path, name):
    content, reason = BAD_FILES[name]
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ImageError, match=reason) as caught:
        load_image(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(ImageError, match=reason):
        load_image(content)
    with pytest.raises(ImageError, match=rf"Image 2 of 2: .*{name}"):
        MobileViTImageProcessor()([PICTURE, path])


def test_the_same_files_whole_are_taken(tmp_path):
    for kind in ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP"):
        path = tmp_path / f"whole.{kind.lower()}"
        path.write_bytes(encoded(PICTURE, kind))
        assert load_image(path).size == PICTURE.size
        path.unlink()  # the file is closed


def test_a_bomb_is_refused_before_it_is_decoded_whatever_the_warning_filter(monkeypatch):
    def decode(*_):
        pytest.fail("the pixels were decoded")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", decode)
    for action in ("ignore", "error"):
        with warnings.catch_warnings():
            warnings.simplefilter(action, Image.DecompressionBombWarning)
            for side in (10_000, 30_000):
                with pytest.raises(ImageError, match="MAX_IMAGE_PIXELS"):
                    load_image(png_header(side, side))


def test_the_pixel_limit_is_pillows_own_and_can_be_moved(monkeypatch):
    content = encoded(PICTURE, "PNG")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 64 * 96)
    assert load_image(content).size == (96, 64)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 64 * 96 - 1)
    with (
        warnings.catch_warnings(action="ignore"),
        pytest.raises(ImageError, match="more than 6,143 pixels"),
    ):
        load_image(content)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert load_image(content).size == (96, 64)


def test_a_thin_image_whose_resize_would_fill_the_memory_is_refused(tmp_path):
    path = tmp_path / "thread.png"
    Image.new("RGB", (2, 30_000)).save(path)
    processor = MobileViTImageProcessor.for_checkpoint("timm")
    with pytest.raises(ImageError, match=r"thread\.png is too long and thin.*288x4320000"):
        processor(path)
    assert processor(path, do_resize=False).pixel_values[0].shape == (3, 256, 256)
    panorama = Image.new("RGB", (2000, 40), "white")
    assert processor(panorama).pixel_values[0].min() == 1


def test_what_is_no_file_is_refused_with_what_it_is(tmp_path):
    with pytest.raises(ImageError, match=r"gone\.jpg does not exist"):
        load_image(tmp_path / "gone.jpg")
    with pytest.raises(ImageError, match="is a folder"):
        load_image(str(tmp_path))
    with pytest.raises(ImageError, match="is an address, which is not downloaded"):
        load_image("https://example.org/cat.jpg")
    with pytest.raises(ImageError, match=r"data:image.*\.\.\. does not exist") as caught:
        load_image("data:image/png;base64," + "A" * 100_000)
    assert len(str(caught.value)) < 300
    with pytest.raises(ImageError, match="does not exist"):
        load_image("a\0b")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ImageError, match="not a regular file"):
        load_image(tmp_path / "pipe")


def test_one_frame_of_an_animation_is_an_image():
    animation = Image.open(io.BytesIO(frames("GIF")))
    with pytest.raises(ImageError, match="several frames"):
        load_image(animation)
    animation.seek(1)
    assert load_image(animation.copy()).size == PICTURE.size


def test_the_preview_in_a_phones_mpo_file_is_no_animation():
    content = frames("MPO")
    assert Image.open(io.BytesIO(content)).n_frames == 3  # pyright: ignore[reportAttributeAccessIssue]
    assert load_image(content).size == PICTURE.size


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "JPEG"])
@pytest.mark.parametrize("block", [b"garbage garbage", b"MM\0*\0\0\0\x08\xff\xff"])
def test_unreadable_exif_means_no_rotation(kind, block):
    content = encoded(PICTURE, kind, exif=b"Exif\0\0" + block)
    plain = Image.open(io.BytesIO(content))
    np.testing.assert_array_equal(load_image(content), np.asarray(plain))


@pytest.mark.parametrize("side", [2, 3, 8, 31])
def test_tiny_images_are_taken(side):
    pixels = MobileViTImageProcessor()(PICTURE.resize((side, side))).pixel_values[0]
    assert pixels.shape == (3, 256, 256)


BAD_ARRAYS = {
    "NaN": (np.full((8, 8), np.nan), "NaN"),
    "infinity": (np.full((8, 8, 3), np.inf, np.float32), "infinity"),
    "normalized": (rng.normal(size=(8, 8, 3)), "normalized"),
    "negative integers": (np.full((8, 8), -1), r"\[-1, -1\]"),
    "too bright": (np.full((8, 8), 70_000), "70000"),
    "one axis": (np.zeros(8), r"\(8,\)"),
    "four axes": (np.zeros((2, 2, 8, 8, 3)), r"\(2, 2, 8, 8, 3\)"),
    "two channels": (np.zeros((8, 8, 2)), "1, 3 or 4 channels"),
    "five channels": (np.zeros((5, 8, 8)), "1, 3 or 4 channels"),
    "ambiguous": (np.zeros((3, 8, 3)), "ambiguous"),
    "no pixels": (np.zeros((0, 8, 3)), "empty"),
    "one pixel": (np.zeros((1, 1)), "1x1 px"),
    "complex": (np.zeros((8, 8), complex), "complex128"),
    "words": (np.array([["a", "b"], ["c", "d"]]), "<U1"),
    "objects": (np.array([[None, 1], [2, 3]]), "object"),
}


@pytest.mark.parametrize("name", BAD_ARRAYS)
def test_a_bad_array_is_refused_with_what_is_wrong(name):
    array, reason = BAD_ARRAYS[name]
    with pytest.raises(ImageError, match=reason):
        load_image(array)
    with pytest.raises(ImageError, match=reason):
        MobileViTImageProcessor()([PICTURE, array])
    if array.dtype.kind in "fi":
        with pytest.raises(ImageError, match=reason):
            load_image(torch.from_numpy(array))


def test_an_ambiguous_array_is_read_as_told():
    array = rng.integers(0, 255, (3, 8, 3), dtype=np.uint8)
    assert load_image(array, input_data_format="channels_last").size == (8, 3)
    assert load_image(array, input_data_format="channels_first").size == (3, 8)
    with pytest.raises(ImageError, match="can't be read as channels_first"):
        load_image(np.zeros((8, 8, 3)), input_data_format="channels_first")
    with pytest.raises(ImageError, match="'HWC'"):
        load_image(array, input_data_format="HWC")  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("thing", [None, 3, {"image": PICTURE}, object()])
def test_what_is_no_image_at_all_is_refused_by_its_type(thing):
    with pytest.raises(ImageError, match=f"{type(thing).__name__} isn't an image"):
        load_image(thing)


@pytest.mark.parametrize(
    "images", [[], (), [[PICTURE]], [PICTURE, [PICTURE]], np.zeros((0, 8, 8, 3))]
)
def test_empty_and_nested_lists_are_refused(images):
    with pytest.raises(ImageError, match="list of images"):
        MobileViTImageProcessor()(images)


def test_bfloat16_and_float16_tensors_are_images():
    tensor = torch.rand(3, 8, 8, generator=torch.manual_seed(0))
    expected = np.asarray(load_image(tensor)).astype(int)
    for dtype in (torch.float16, torch.bfloat16):
        seen = np.asarray(load_image(tensor.to(dtype))).astype(int)
        assert np.abs(seen - expected).max() <= 1


def test_only_rgb_is_taken_when_nothing_may_be_converted():
    processor = MobileViTImageProcessor(do_convert_rgb=False)
    assert processor(PICTURE).pixel_values[0].shape == (3, 256, 256)
    with pytest.raises(ImageError, match="64 px is L, not RGB"):
        processor(PICTURE.convert("L"))


BAD_MAPS = {
    "colors": (PICTURE, "holds one class number per pixel"),
    "fractions": (np.full((64, 96), 0.5), "fractions"),
    "NaN": (np.full((64, 96), np.nan), "can't be class numbers"),
    "huge": (np.full((64, 96), 2**40), "can't be class numbers"),
    "channels": (np.zeros((64, 96, 3, 1)), "segmentation map is"),
    "another size": (np.zeros((64, 95), int), "95x64 px.*its image has 96x64"),
    "too many": ([np.zeros((64, 96), int)] * 2, "1 images and 2 segmentation maps"),
    "none": ([], "list of segmentation maps is empty"),
}


@pytest.mark.parametrize("name", BAD_MAPS)
def test_a_bad_segmentation_map_is_refused(name):
    label_map, reason = BAD_MAPS[name]
    with pytest.raises(ImageError, match=reason):
        MobileViTImageProcessor()(PICTURE, label_map)


def test_maps_of_whole_floats_truth_values_and_palettes_hold_their_class_numbers():
    numbers = rng.integers(0, 2, (8, 8))
    palette = Image.fromarray(numbers.astype(np.uint8))
    palette.putpalette([255, 0, 0, 0, 0, 255])
    bits = Image.fromarray(numbers.astype(bool))
    tensor = torch.from_numpy(numbers)
    for source in (numbers.astype(float), numbers.astype(bool), tensor, palette, bits):
        np.testing.assert_array_equal(load_segmentation_map(source), numbers)


def test_postscript_is_not_run():
    """Pillow would give it to Ghostscript, where that is installed."""
    with pytest.raises(ImageError, match="is PostScript, a program"):
        load_image(encoded(PICTURE, "EPS"))
