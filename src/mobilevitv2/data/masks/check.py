"""A look at every image and mask before any training: what they hold, and what can't be used."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mobilevitv2.data.headers import Header, read_headers
from mobilevitv2.data.masks.reading import IGNORED, MaskLook, look_at_masks
from mobilevitv2.errors import DataError, first_of

MaskedSample = tuple[Path, Path]  # an image and its mask


@dataclass
class PairCheck:
    """What was found, by path."""

    headers: dict[Path, Header]
    """Of the images that can be read."""
    masks: dict[Path, MaskLook]
    unreadable: dict[str, str]
    """Path of an image or mask, and the reason."""


def look_at_pairs(pairs: list[MaskedSample]) -> PairCheck:
    """Look at all. Raises DataError for masks that hold no class numbers or don't fit their image.

    Images are not decoded, so one that is cut short may pass; masks are.
    """
    headers, unreadable = read_headers([image for image, _ in pairs])
    masks = [mask for _, mask in pairs]
    check = PairCheck(headers, {}, unreadable)
    for path, look in zip(masks, look_at_masks(masks), strict=True):
        if isinstance(look, str):
            check.unreadable[str(path)] = look
        else:
            check.masks[path] = look
    _check_sizes(check, pairs)
    return check


def check_values(masks: dict[Path, MaskLook], table: np.ndarray, classes: int, origin: str) -> None:
    """Raises DataError where masks hold values that are neither a class nor ignored."""
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


def _check_sizes(check: PairCheck, pairs: list[MaskedSample]) -> None:
    wrong = [
        (check.headers[image], image, mask)
        for image, mask in pairs
        if image in check.headers
        and mask in check.masks
        and check.headers[image].size != check.masks[mask].size
    ]
    if not wrong:
        return
    header, image, mask = wrong[0]
    size = check.masks[mask].size
    others = f" ({len(wrong) - 1:,} other pairs differ too)" if len(wrong) > 1 else ""
    why, todo = "", "Make each mask the size of its image."
    if header.on_its_side and size == header.stored:
        why = " once it is turned upright, as its EXIF rotation says"
        todo = "Turn the mask too, or save the image without that rotation."
    raise DataError(
        f"{mask} is {_px(size)}, but {image} is {_px(header.size)}{why}{others}. {todo}"
    )


def _px(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]} px"
