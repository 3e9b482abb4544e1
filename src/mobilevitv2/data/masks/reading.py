"""Mask files to class numbers, IGNORED for a pixel that doesn't count; a look at all beforehand."""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from mobilevitv2.data.headers import THREADS, Header, read_headers
from mobilevitv2.errors import DataError, ImageError, first_of
from mobilevitv2.images.reading import read_image

IGNORED = 255
MOST_CLASSES = 255  # a mask has 8 bits, and one value means void

MaskedSample = tuple[Path, Path]  # an image and its mask


@dataclass(frozen=True)
class MaskLook:
    """What one mask file holds."""

    size: tuple[int, int]  # width and height [px]
    counts: np.ndarray  # int64 [256]: the pixels of each value
    beyond: tuple[int, ...]  # values outside 0..255
    palette: bytes  # RGB of each value in a palette image, else empty


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


def look_at_pairs(
    pairs: Sequence[MaskedSample],
) -> tuple[dict[Path, Header], dict[Path, MaskLook], dict[str, str]]:
    """What can be read of images and masks, and the reasons why others can't, by path.

    Images are not decoded, so one that is cut short may pass; masks are. Raises DataError for masks
    that hold no class numbers or don't fit their image.
    """
    headers, unreadable = read_headers([image for image, _ in pairs])
    masks: dict[Path, MaskLook] = {}
    paths = [mask for _, mask in pairs]
    with ThreadPoolExecutor(THREADS) as pool:
        for path, look in zip(paths, pool.map(_look_at, paths), strict=True):
            if isinstance(look, str):
                unreadable[str(path)] = look
            else:
                masks[path] = look
    seen = [(i, m) for i, m in pairs if i in headers and m in masks]
    if wrong := [(i, m) for i, m in seen if headers[i].size != masks[m].size]:
        image, mask = wrong[0]
        header, size = headers[image], masks[mask].size
        others = f" ({len(wrong) - 1:,} other pairs differ too)" if len(wrong) > 1 else ""
        why, todo = "", "Make each mask the size of its image."
        if header.on_its_side and size == header.stored:
            why = " once it is turned upright, as its EXIF rotation says"
            todo = "Turn the mask too, or save the image without that rotation."
        of_mask, of_image = (f"{width}x{height} px" for width, height in (size, header.size))
        raise DataError(f"{mask} is {of_mask}, but {image} is {of_image}{why}{others}. {todo}")
    return headers, masks, unreadable


def check_values(masks: dict[Path, MaskLook], table: np.ndarray, classes: int, origin: str) -> None:
    """Raises DataError if masks hold values that are neither a class nor ignored."""
    stray = (table >= classes) & (table != IGNORED)
    wrong = {
        path: [*np.flatnonzero(stray & (look.counts > 0)).tolist(), *look.beyond]
        for path, look in masks.items()
        if look.beyond or look.counts[stray].any()
    }
    if not wrong:
        return
    path, values = next(iter(wrong.items()))
    good = np.flatnonzero(table < classes)
    others = f" (as {len(wrong) - 1:,} other masks do)" if len(wrong) > 1 else ""
    raise DataError(
        f"{path} holds {first_of(values)}{others}, but {origin} has {classes} classes; "
        f"expected {good.min()} to {good.max()}. Name the missing classes, or ignore void values."
    )


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
    if len(image.getbands()) == 1 and image.mode != "F":
        return image
    held = "holds fractions (floating point)" if image.mode == "F" else f"is an {image.mode} image"
    raise DataError(
        f"{path} {held}, but a mask holds one whole class number per pixel. Save the masks as gray "
        "or palette PNG files of class numbers."
    )


def _values(image: Image.Image) -> np.ndarray:
    values = np.asarray(image)
    if values.dtype == np.bool_:
        return values.astype(np.uint8)
    small = values.dtype != np.uint8 and values.size and 0 <= values.min() <= values.max() <= 255
    return values.astype(np.uint8) if small else values
