"""A mask file to class numbers: one per pixel, and IGNORED where a pixel doesn't count."""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from mobilevitv2.data.headers import THREADS
from mobilevitv2.errors import DataError, ImageError
from mobilevitv2.images.reading import read_image

IGNORED = 255
MOST_CLASSES = 255  # a mask has 8 bits, and one value means void


@dataclass(frozen=True)
class MaskLook:
    """What one mask file holds."""

    size: tuple[int, int]
    """Width and height [px]."""
    counts: np.ndarray
    """int64 [256]: the pixels of each value."""
    beyond: tuple[int, ...]
    """Values outside 0..255."""
    palette: bytes
    """RGB of each value in a palette image, else empty."""


def class_table(ignored: Iterable[int], *, reduce_labels: bool) -> np.ndarray:
    """uint8 [256]: the class number of each value in a file; 255 is always ignored.

    With `reduce_labels`, as ADE20K needs it, 0 is ignored too and the others go down by one.
    """
    table = np.arange(256, dtype=np.uint8)
    if reduce_labels:
        table -= 1  # 0 becomes 255
    table[[*ignored, IGNORED]] = IGNORED
    return table


def read_classes(path: Path, table: np.ndarray, classes: int) -> np.ndarray:
    """uint8 [H, W] of 0..classes-1 and IGNORED.

    Raises ImageError for a file that can't be read, DataError for one that holds something else.
    """
    values = _values(_open(path))
    if values.dtype == np.uint8:
        mask = table[values]
        if not ((mask >= classes) & (mask != IGNORED)).any():
            return mask
    raise DataError(f"{path} holds other values than when the data was opened. Open it again.")


def look_at_masks(paths: Sequence[Path]) -> list[MaskLook | str]:
    """What each mask holds, or the reason why it can't be read.

    Raises DataError for the first one that can be read, but holds no class numbers.
    """
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(_look_at, paths))


def _look_at(path: Path) -> MaskLook | str:
    try:
        image = _open(path)
    except ImageError as error:
        return str(error).removeprefix(f"{path} ")
    values, beyond = _values(image), ()
    if values.dtype == np.uint8:  # np.bincount would need eight times the memory
        counts = np.array(Image.fromarray(values).histogram(), dtype=np.int64)
    else:
        outside = (values < 0) | (values > 255)
        beyond = tuple(np.unique(values[outside]).tolist())
        counts = np.bincount(values[~outside], minlength=256)
    palette = bytes(image.getpalette("RGB") or ()) if image.mode == "P" else b""
    return MaskLook(image.size, counts, beyond, palette)


def _open(path: Path) -> Image.Image:
    image = read_image(path)
    wrong = None
    if len(image.getbands()) > 1:
        wrong = f"is an {image.mode} image"
    elif image.mode == "F":
        wrong = "holds fractions (floating point)"
    if wrong:
        raise DataError(
            f"{path} {wrong}, but a mask holds one whole class number per pixel. Save the masks as "
            "gray or palette PNG files of class numbers."
        )
    return image


def _values(image: Image.Image) -> np.ndarray:
    values = np.asarray(image)
    if values.dtype == np.bool_:
        return values.astype(np.uint8)
    small = values.dtype != np.uint8 and values.size and 0 <= values.min() <= values.max() <= 255
    return values.astype(np.uint8) if small else values
