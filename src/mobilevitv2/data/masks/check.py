"""A look at every image and mask before any training: what they hold, and what can't be used."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mobilevitv2.data.boxes.upright import read_upright
from mobilevitv2.data.masks.pairs import NAMED, MaskedSample
from mobilevitv2.data.masks.reading import IGNORED, MaskLook, look_at_masks
from mobilevitv2.errors import DataError


@dataclass
class PairCheck:
    """What the looks have shown, by path."""

    sizes: dict[Path, tuple[int, int]] = field(default_factory=dict)
    """Width and height of each upright image [px]."""
    masks: dict[Path, MaskLook] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)
    """Path of an image or mask, and the reason."""


def look_at_pairs(pairs: Iterable[MaskedSample]) -> PairCheck:
    """Look at all. Raises DataError for masks that hold no class numbers, or are of another size.

    Images are not decoded, so one that is cut short may pass; masks are.
    """
    pairs = list(pairs)
    check = PairCheck()
    images, masks = [image for image, _ in pairs], [mask for _, mask in pairs]
    turned: set[Path] = set()
    for path, upright in zip(images, read_upright(images), strict=True):
        if isinstance(upright, str):
            check.unreadable[str(path)] = upright
            continue
        check.sizes[path] = upright.size
        if upright.on_its_side:
            turned.add(path)
    for path, look in zip(masks, look_at_masks(masks), strict=True):
        if isinstance(look, str):
            check.unreadable[str(path)] = look
        else:
            check.masks[path] = look
    _check_sizes(check, pairs, turned)
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
    said = ", ".join(map(str, values[:NAMED])) + (", ..." if len(values) > NAMED else "")
    good = np.flatnonzero(table < classes)
    others = f" (as {len(wrong) - 1:,} other masks do)" if len(wrong) > 1 else ""
    raise DataError(
        f"{path} holds {said}{others}, but {origin} has {classes} classes, so {good.min()} to "
        f"{good.max()} are wanted. Name the missing classes, or ignore the values that are void."
    )


def _check_sizes(check: PairCheck, pairs: list[MaskedSample], turned: set[Path]) -> None:
    wrong = [
        (image, mask)
        for image, mask in pairs
        if image in check.sizes
        and mask in check.masks
        and check.sizes[image] != check.masks[mask].size
    ]
    if not wrong:
        return
    image, mask = wrong[0]
    upright, given = check.sizes[image], check.masks[mask].size
    others = f" ({len(wrong) - 1:,} other pairs differ too)" if len(wrong) > 1 else ""
    why, todo = "", "Make the mask at the size of its image."
    if image in turned and given == upright[::-1]:
        why = " once it is turned upright, as its EXIF rotation says"
        todo = "Turn the mask too, or save the image without that rotation."
    raise DataError(f"{mask} is {_px(given)}, but {image} is {_px(upright)}{why}{others}. {todo}")


def _px(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]} px"
