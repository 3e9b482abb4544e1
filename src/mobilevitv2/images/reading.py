"""Turns anything that holds a picture into an upright 8-bit RGB image, or says why it can't.

Decisions, tested by `tests/images/test_bad_images.py`:

- EXIF rotation is applied, to files and Pillow images alike.
- Transparent pixels become white. (`Image.convert("RGB")` would show the arbitrary colors stored
  under them; transformers' `do_convert_rgb` makes them white too.)
- Values deeper than 8 bits are scaled by a fixed rule, never stretched: see `_to_8_bits`.
- A file whose header announces more pixels than `PIL.Image.MAX_IMAGE_PIXELS` is refused before it
  is decoded. Pillow itself only warns up to twice that number.
- An animation is refused: nobody said which of its frames to use.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from mobilevitv2.errors import ImageError

ImageSource = Any  # a path, bytes, a Pillow image, or an array or tensor: no type names them all
DataFormat = Literal["channels_first", "channels_last"]

FILES = str | os.PathLike | bytes | bytearray  # a path, or the bytes of a file
IMAGE_SUFFIXES = frozenset(  # in lower case; files may have upper case
    [".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm"]
)
CHANNELS = (1, 3, 4)  # gray, RGB, RGBA
FRAMES_OF_ONE_PICTURE = {"MPO", "PSD"}  # further frames are previews or layers


def load_image(source: ImageSource, *, input_data_format: DataFormat | None = None) -> Image.Image:
    """The upright RGB image in a file, the bytes of one, a Pillow image, an array or a tensor.

    Arrays are [H, W], [H, W, C] or [C, H, W] with 1, 3 or 4 channels: integers, or floats in [0, 1]
    or [0, 255]. `input_data_format` is needed only if both ends could be channels. Raises
    ImageError for anything that can't be read or is less than 2 px wide or high.
    """
    return _to_rgb(read_image(source, input_data_format=input_data_format), name_of(source))


def read_image(source: ImageSource, *, input_data_format: DataFormat | None = None) -> Image.Image:
    """As `load_image`, but in the mode in which the picture is stored."""
    name = name_of(source)
    if isinstance(source, Image.Image):
        return _decode(source, name)
    if isinstance(source, bytes | bytearray):
        return _read_file(BytesIO(source), name)
    if isinstance(source, str | os.PathLike):
        if not os.path.isfile(source):
            why = "does not exist"
            if os.path.exists(source):
                why = "is a folder" if os.path.isdir(source) else "is not a regular file"
            elif str(source).startswith(("http://", "https://")):
                why = "is an address, which is not downloaded here"
            raise ImageError(f"{name} {why}. Pass the path of one image file.")
        with Path(source).open("rb") as file:
            return _read_file(file, name)
    return _from_array(as_array(source), input_data_format)


def load_segmentation_map(source: ImageSource) -> Image.Image:
    """A mask with a class number for each pixel, as a Pillow image of mode L, or I beyond 0..255.

    A palette image's indices are the class numbers. Raises ImageError for colors, for fractions,
    and for anything that `load_image` refuses.
    """
    if isinstance(source, FILES | Image.Image):
        image = read_image(source)
        if len(image.getbands()) > 1:
            raise ImageError(
                f"{name_of(source)} is {image.mode}, but a segmentation map holds one class "
                "number per pixel. Save it as a gray or palette image."
            )
        array = np.asarray(image)
    else:
        array = as_array(source)
    if array.ndim != 2:
        raise ImageError(f"A segmentation map is [H, W], but this one is {list(array.shape)}.")
    _check_size(array.shape[1], array.shape[0], "the segmentation map")
    limits = np.iinfo(np.int32)
    if not np.isfinite(array).all() or array.min() < limits.min or array.max() > limits.max:
        raise ImageError("The segmentation map holds values that can't be class numbers.")
    numbers = array.astype(np.int32)
    if not np.array_equal(numbers, array):
        raise ImageError(
            "The segmentation map holds fractions, but class numbers are whole. Was it resized "
            "with a smoothing filter, or divided by 255?"
        )
    small = numbers.min() >= 0 and numbers.max() <= 255
    return Image.fromarray(numbers.astype(np.uint8) if small else numbers)


def as_array(source: ImageSource) -> np.ndarray:
    """An array, or a tensor from any device, as a numpy array. Raises ImageError for others."""
    if hasattr(source, "detach"):  # a torch tensor, recognized without importing torch
        tensor = source.detach().cpu()
        # numpy has no bfloat16
        source = (tensor.float() if tensor.is_floating_point() else tensor).numpy()
    array = isinstance(source, np.ndarray)
    if not array or source.dtype.kind not in "buif":
        kind = f"an array of {source.dtype}" if array else type(source).__name__
        fit = "a path, a Pillow image, a numeric array or tensor, or bytes"
        raise ImageError(f"{kind} isn't an image. Pass {fit}.")
    return source


def white_level(source: ImageSource) -> float:
    """The value of white in the source: 1.0 if it holds floats in [0, 1], else 255.0."""
    file = isinstance(source, FILES | Image.Image)
    return 1.0 if not file and _is_unit_range(as_array(source)) else 255.0


def _is_unit_range(array: np.ndarray) -> bool:
    return array.dtype.kind == "f" and bool(array.max() <= 1)


def _to_rgb(image: Image.Image, name: str) -> Image.Image:
    if image.mode[0] in "IF":  # I, I;16 and its byte orders, F: one channel, deeper than 8 bits
        return Image.fromarray(_to_8_bits(np.asarray(image), name)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image if image.mode == "RGB" else image.convert("RGB")


def _to_8_bits(array: np.ndarray, name: str) -> np.ndarray:
    """uint8, by the smallest range that holds the values: [0, 1] if floats, [0, 255], [0, 65535].

    The ranges are fixed, so that a brightness stays the same in all images. Values decide, not the
    type, because a 16-bit file often holds 8-bit values.
    """
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * 255
    if not np.isfinite(array).all():
        raise ImageError(f"{name} holds NaN or infinity. Replace them first.")
    low, high = array.min(), array.max()
    if low < 0 or high > 65535:
        raise ImageError(
            f"{name} holds values in [{low:g}, {high:g}], but pixels must be in [0, 1] if floats, "
            "in [0, 255] or [0, 65535]. Was it normalized already? Pass the original image."
        )
    scale = 255 if _is_unit_range(array) else 1 if high <= 255 else 1 / 257
    return np.rint(array * scale).astype(np.uint8)


def _from_array(array: np.ndarray, input_data_format: DataFormat | None) -> Image.Image:
    name = name_of(array)
    if array.ndim not in (2, 3):
        raise ImageError(f"{name} isn't an image: expected [H, W], [H, W, C] or [C, H, W].")
    if array.size == 0:
        raise ImageError(f"{name} is empty.")
    if array.ndim == 3:
        if _channels_first(array.shape, input_data_format, name):
            array = array.transpose(1, 2, 0)  # [C, H, W] -> [H, W, C]
        if array.shape[2] == 1:
            array = array[:, :, 0]
    _check_size(array.shape[1], array.shape[0], name)
    return Image.fromarray(np.ascontiguousarray(_to_8_bits(array, name)))


def _channels_first(shape: tuple[int, ...], given: DataFormat | None, name: str) -> bool:
    first, last = shape[0] in CHANNELS, shape[2] in CHANNELS
    fits = {"channels_first": first, "channels_last": last, None: first or last}
    if given not in fits:
        raise ImageError(f"input_data_format is {given!r}, not channels_first or channels_last.")
    if not fits[given]:
        order = f" as {given}" if given else ""
        raise ImageError(f"{name} can't be read{order}: expected 1, 3 or 4 channels.")
    if given is not None:
        return given == "channels_first"
    if first and last:
        raise ImageError(
            f"{name} is ambiguous: channels could be the first or the last axis. "
            "Pass input_data_format='channels_first' or 'channels_last'."
        )
    return first


def _read_file(file: BinaryIO, name: str) -> Image.Image:
    """Decode an open file after checking its header."""
    if not file.read(1):
        raise ImageError(f"{name} is empty (0 bytes). Copy or download it again.")
    file.seek(0)
    with _damage_reported(name):
        image = Image.open(file)
        limit = Image.MAX_IMAGE_PIXELS
        if limit is not None and image.width * image.height > limit:
            raise Image.DecompressionBombError
    if image.format == "EPS":
        raise ImageError(f"{name} is PostScript, a program, and isn't run. Save it as JPEG or PNG.")
    return _decode(image, name)


def _decode(image: Image.Image, name: str) -> Image.Image:
    _check_size(*image.size, name)
    with _damage_reported(name):
        animated = getattr(image, "is_animated", False)
        if animated and image.format not in FRAMES_OF_ONE_PICTURE:
            raise ImageError(
                f"{name} has several frames. Save the right one as JPEG or PNG "
                "(in Python: image.seek(n), then image.copy())."
            )
        image.load()
    return _upright(image)


@contextmanager
def _damage_reported(name: str) -> Iterator[None]:
    """Raise ImageError for whatever Pillow raises about a file."""
    try:
        yield
    except (ImageError, MemoryError):
        raise
    except Exception as error:  # decoders of damaged files raise almost anything
        reason = str(error) or type(error).__name__
        wrong = f"is damaged or cut short ({reason}). Copy or export it again."
        if isinstance(error, UnidentifiedImageError):
            wrong = "is not an image that Pillow can read. Save it as JPEG or PNG."
        elif isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
            wrong = f"has more than {Image.MAX_IMAGE_PIXELS:,} pixels, too many to decode safely. "
            wrong += "Scale it down, or raise PIL.Image.MAX_IMAGE_PIXELS if you trust the file."
        raise ImageError(f"{name} {wrong}") from error


def _upright(image: Image.Image) -> Image.Image:
    try:
        turned = image.getexif().get(0x0112, 1) != 1  # exif_transpose would copy every image
        return ImageOps.exif_transpose(image) if turned else image
    except Exception:  # an unreadable EXIF block says nothing about rotation
        return image


def _check_size(width: int, height: int, name: str) -> None:
    if min(width, height) < 2:
        raise ImageError(f"{name} has only {width}x{height} px, and at least 2x2 are needed.")


def name_of(source: ImageSource) -> str:
    """What messages call an image: by its path if it has one."""
    if isinstance(source, Image.Image):
        stored = getattr(source, "filename", "")
        return str(stored or f"the {source.mode} image of {source.width}x{source.height} px")
    if isinstance(source, str | os.PathLike):
        path = os.fspath(source)
        return path if len(path) <= 300 else f"{path[:80]}..."  # such as a picture in base64
    if isinstance(source, bytes | bytearray):
        return f"the image of {len(source):,} bytes"
    return f"the array of shape {tuple(getattr(source, 'shape', ()))}"
