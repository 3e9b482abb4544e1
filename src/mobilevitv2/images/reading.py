"""Whatever holds a picture, to an upright 8-bit RGB image; or one sentence that says why not.

What is decided here, and pinned by `tests/images/test_bad_images.py`:

- A camera's EXIF rotation is applied, to files and to Pillow images alike.
- Transparency is laid on white. (`Image.convert("RGB")` would uncover the arbitrary colors that
  are stored under transparent pixels; transformers' `do_convert_rgb` lays on white too.)
- Values deeper than 8 bits are scaled by a fixed rule, never stretched: see `_to_8_bits`.
- A file whose header announces more pixels than `PIL.Image.MAX_IMAGE_PIXELS` is refused before it
  is decoded. Pillow itself only warns up to twice that number.
- An animation is refused, because nobody said which of its frames is meant.
"""

import os
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from mobilevitv2.errors import ImageError

ImageSource = Any  # a path, bytes, a Pillow image, or an array or tensor: no type names them all
DataFormat = Literal["channels_first", "channels_last"]

FILES = str | os.PathLike | bytes | bytearray  # paths, or what is in a file
# Of either case.
IMAGE_SUFFIXES = frozenset(
    [".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm"]
)
CHANNELS = (1, 3, 4)  # gray, RGB, RGBA
FRAMES_OF_ONE_PICTURE = {"MPO", "PSD"}  # previews and layers: the first frame is the picture


def load_image(source: ImageSource, *, input_data_format: DataFormat | None = None) -> Image.Image:
    """The upright RGB image of a path, of a file's bytes, of a Pillow image, array or tensor.

    Arrays are [H, W], [H, W, C] or [C, H, W] with 1, 3 or 4 channels: integers, or floats in [0, 1]
    or [0, 255]. `input_data_format` is needed only where both ends look like channels. Raises
    ImageError for everything that can't be read or has nothing to see.
    """
    return _to_rgb(read_image(source, input_data_format=input_data_format), name_of(source))


def read_image(source: ImageSource, *, input_data_format: DataFormat | None = None) -> Image.Image:
    """As `load_image`, but in the mode in which the picture is stored."""
    if isinstance(source, Image.Image):
        return _decode(source, name_of(source))
    if isinstance(source, bytes | bytearray):
        return _read_file(BytesIO(source), name_of(source))
    if isinstance(source, str | os.PathLike):
        name = name_of(source)
        if not os.path.isfile(source):
            raise ImageError(f"{name} {_why_no_file(source)}. Give the path of one image file.")
        with Path(source).open("rb") as file:
            return _read_file(file, name)
    return _from_array(as_array(source), input_data_format)


def load_segmentation_map(source: ImageSource) -> Image.Image:
    """A mask of one whole class number per pixel, as a Pillow image of mode L, or I beyond 0..255.

    Of a palette image the indices count, not the colors. Raises ImageError for colors, for
    fractions, and for what `load_image` refuses.
    """
    if isinstance(source, FILES | Image.Image):
        image = read_image(source)
        if len(image.getbands()) > 1:
            raise ImageError(
                f"{name_of(source)} is {image.mode}, but a segmentation map holds one class "
                "number per pixel. Save it as a gray or palette image of class numbers."
            )
        array = np.asarray(image)
    else:
        array = as_array(source)
    if array.ndim != 2:
        raise ImageError(f"A segmentation map is [H, W], but this one has shape {array.shape}.")
    _check_size(array.shape[1], array.shape[0], "the segmentation map")
    limits = np.iinfo(np.int32)
    if not np.isfinite(array).all() or array.min() < limits.min or array.max() > limits.max:
        raise ImageError("The segmentation map holds values that are no class numbers.")
    numbers = array.astype(np.int32)
    if not np.array_equal(numbers, array):
        raise ImageError(
            "The segmentation map holds fractions, but a class number is a whole number. "
            "Was it resized with a smoothing filter, or divided by 255?"
        )
    small = numbers.min() >= 0 and numbers.max() <= 255
    return Image.fromarray(numbers.astype(np.uint8) if small else numbers)


def as_array(source: ImageSource) -> np.ndarray:
    """A numpy view of an array or tensor (taken off its device and graph); else ImageError."""
    if hasattr(source, "detach"):  # a torch tensor, recognized without importing torch
        tensor = source.detach().cpu()
        # numpy has no bfloat16
        source = (tensor.float() if tensor.is_floating_point() else tensor).numpy()
    if not isinstance(source, np.ndarray) or source.dtype.kind not in "buif":
        array = isinstance(source, np.ndarray)
        kind = f"an array of {source.dtype}" if array else type(source).__name__
        raise ImageError(
            f"{kind} is no image. Give a path, a Pillow image, a numeric array or tensor, or bytes."
        )
    return source


def white_level(source: ImageSource) -> float:
    """The value of white in the source: 1.0 where floats are in [0, 1], and 255.0 elsewhere."""
    if isinstance(source, FILES | Image.Image):
        return 255.0
    return 1.0 if _is_unit_range(as_array(source)) else 255.0


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
    """uint8, by the largest range that the values fit: floats in [0, 1], [0, 255], [0, 65535].

    Fixed ranges and no stretching, so that one brightness stays one brightness in all images. The
    range is read off the values because a 16-bit file often holds 8-bit ones.
    """
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * 255
    if not np.isfinite(array).all():
        raise ImageError(f"{name} holds NaN or infinity, which are no brightness. Clean it first.")
    low, high = array.min(), array.max()
    if low < 0 or high > 65535:
        raise ImageError(
            f"{name} holds values in [{low:g}, {high:g}], but pixels are in [0, 1] as floats, or "
            "in [0, 255] or [0, 65535]. Was it normalized already? Give the original image."
        )
    scale = 255 if _is_unit_range(array) else 1 if high <= 255 else 1 / 257
    return np.rint(array * scale).astype(np.uint8)


def _from_array(array: np.ndarray, input_data_format: DataFormat | None) -> Image.Image:
    name = name_of(array)
    if array.ndim not in (2, 3):
        raise ImageError(f"{name} is no image: [H, W], [H, W, C] or [C, H, W] is wanted.")
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
    if given not in (None, "channels_first", "channels_last"):
        raise ImageError(f"input_data_format is channels_first or channels_last, not {given!r}.")
    if (given == "channels_first" and first) or (given == "channels_last" and last):
        return given == "channels_first"
    if given is not None or not (first or last):
        wanted = f" as {given}" if given else ""
        raise ImageError(f"{name} can't be read{wanted}: 1, 3 or 4 channels are wanted.")
    if first and last:
        raise ImageError(
            f"{name} is ambiguous: channels could be the first or the last axis. "
            "Say input_data_format='channels_first' or 'channels_last'."
        )
    return first


def _read_file(file: BinaryIO, name: str) -> Image.Image:
    """Decode an open file, but only after its header has passed."""
    if not file.read(1):
        raise ImageError(f"{name} is empty (0 bytes). Copy or download it again.")
    file.seek(0)
    try:
        image = Image.open(file)
    except UnidentifiedImageError:
        raise ImageError(
            f"{name} is not an image that Pillow can read. Save it as JPEG or PNG."
        ) from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_many_pixels(name) from error
    except MemoryError:
        raise
    except Exception as error:  # parsers of damaged headers raise almost anything
        raise _damaged(name, error) from error
    if image.format == "EPS":
        raise ImageError(
            f"{name} is PostScript, a program that Ghostscript would run. Save it as JPEG or PNG."
        )
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and image.width * image.height > limit:
        raise _too_many_pixels(name)
    return _decode(image, name)


def _decode(image: Image.Image, name: str) -> Image.Image:
    _check_size(*image.size, name)
    try:
        animated = getattr(image, "is_animated", False)
        if animated and image.format not in FRAMES_OF_ONE_PICTURE:
            raise ImageError(
                f"{name} has several frames. Save the one that is meant as JPEG or PNG "
                "(in Python: image.seek(n), then image.copy())."
            )
        image.load()
    except (ImageError, MemoryError):
        raise
    except Exception as error:  # decoders of damaged data raise almost anything
        raise _damaged(name, error) from error
    return _upright(image)


def _upright(image: Image.Image) -> Image.Image:
    try:
        turned = image.getexif().get(0x0112, 1) != 1  # exif_transpose would copy every image
        return ImageOps.exif_transpose(image) if turned else image
    except Exception:  # an EXIF block that can't be read says nothing of a rotation
        return image


def _check_size(width: int, height: int, name: str) -> None:
    if min(width, height) < 2:
        raise ImageError(f"{name} has {width}x{height} px: there is nothing to see in it.")


def _too_many_pixels(name: str) -> ImageError:
    return ImageError(
        f"{name} has more than {Image.MAX_IMAGE_PIXELS:,} pixels, too many to decode safely. Scale "
        "it down, or raise PIL.Image.MAX_IMAGE_PIXELS if you trust the file."
    )


def _damaged(name: str, error: Exception) -> ImageError:
    reason = str(error) or type(error).__name__
    return ImageError(f"{name} is damaged or cut short ({reason}). Copy or export it again.")


def _why_no_file(source: str | os.PathLike) -> str:
    if os.path.isdir(source):
        return "is a folder"
    if os.path.exists(source):
        return "is not a regular file"
    if str(source).startswith(("http://", "https://")):
        return "is an address, which is not downloaded here"
    return "does not exist"


def name_of(source: ImageSource) -> str:
    """What to call an image in a message: its path where it has one."""
    if isinstance(source, Image.Image):
        stored = getattr(source, "filename", "")
        return str(stored or f"the {source.mode} image of {source.width}x{source.height} px")
    if isinstance(source, str | os.PathLike):
        path = os.fspath(source)
        return path if len(path) <= 300 else f"{path[:80]}..."  # such as a picture in base64
    if isinstance(source, bytes | bytearray):
        return f"the image of {len(source):,} bytes"
    return f"the array of shape {tuple(getattr(source, 'shape', ()))}"
