"""What is said of the images against the images: boxes that fit, and what was wrong with others."""

# n boxes

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mobilevitv2.data.boxes.found import Annotated, FoundBoxes
from mobilevitv2.data.boxes.upright import Upright, read_upright
from mobilevitv2.scores.truth import BoxedSample, Boxes

LEAST = 0.1  # px: a side that is shorter is none
ROUNDING = 0.5  # px beyond the edge that are no mistake


@dataclass
class CheckedBoxes:
    """The samples of each split, and what was left out of them."""

    splits: dict[str, list[BoxedSample]] = field(default_factory=dict)
    sizes: dict[Path, tuple[int, int]] = field(default_factory=dict)
    """Width and height of each upright image [px]."""
    unreadable: dict[str, str] = field(default_factory=dict)
    dropped: list[str] = field(default_factory=list)
    clipped: int = 0
    mended: dict[Path, str] = field(default_factory=dict)
    """Images of which boxes were dropped or clipped, and how many."""


def check_boxes(found: FoundBoxes, table: np.ndarray, names: list[str]) -> CheckedBoxes:
    """Boxes in px of the upright images, cut off at their edges, with `table`'s class numbers.

    Images that can't be read, or are not of the size that the annotation says, are left out, and so
    are boxes that are empty, not finite or wholly outside.
    """
    checked = CheckedBoxes()
    paths = list(dict.fromkeys(one.image for images in found.splits.values() for one in images))
    headers = dict(zip(paths, read_upright(paths), strict=True))
    for split, images in found.splits.items():
        checked.splits[split] = []
        for one in images:
            header = headers[one.image]
            reason = header if isinstance(header, str) else _wrong_size(one, header)
            if reason or isinstance(header, str):
                checked.unreadable[str(one.image)] = reason
                continue
            checked.sizes[one.image] = header.size
            boxes = _fitted(one, header, found, table, names, checked)
            checked.splits[split].append(BoxedSample(one.image, boxes))
    return checked


def _wrong_size(one: Annotated, image: Upright) -> str:
    if one.size in (None, image.size, image.stored):
        return ""
    said, there = (f"{width}x{height} px" for width, height in (one.size, image.size))
    return f"is {there}, but {one.source.name} was drawn on {said}; draw the boxes on this image"


def _fitted(
    one: Annotated,
    image: Upright,
    found: FoundBoxes,
    table: np.ndarray,
    names: list[str],
    checked: CheckedBoxes,
) -> Boxes:
    edge = np.tile(image.size, 2)
    with np.errstate(invalid="ignore", over="ignore"):
        corners = one.corners * edge if found.fractions else one.corners
        if one.size is not None and one.size != image.size:  # drawn before the image was turned
            corners = image.turn(corners)
        inside = np.clip(corners, 0, edge)
        finite = np.isfinite(corners).all(1)
        empty = (corners[:, 2:] - corners[:, :2] < LEAST).any(1)
        outside = (inside[:, 2:] - inside[:, :2] < LEAST).any(1)
        beyond = (np.abs(corners - inside) > ROUNDING).any(1)
    reasons = {"has coordinates that are no numbers": ~finite}
    reasons["is empty"] = finite & empty
    reasons["is wholly outside its image"] = finite & ~empty & outside
    for why, which in reasons.items():
        for i in np.flatnonzero(which):
            said = ", ".join(f"{value:g}" for value in corners[i])
            checked.dropped.append(
                f"{one.source}: {found.box} {one.numbers[i]} ({names[table[one.labels[i]]]}) of "
                f"{one.image.name} {why}: {said} in {image.size[0]}x{image.size[1]} px"
            )
    good = np.asarray(finite & ~empty & ~outside)
    checked.clipped += int((good & beyond).sum())
    counts = {"cut off": int((good & beyond).sum()), "dropped": int((~good).sum())}
    if said := ", ".join(f"{_boxes(count)} {what}" for what, count in counts.items() if count):
        checked.mended[one.image] = said
    boxes = Boxes.of(table[one.labels], inside, ignored=one.ignored).some(good)
    known = np.nan_to_num(one.areas[good], nan=0.0, posinf=0.0, neginf=0.0)
    return boxes._replace(areas=np.where(known > 0, known, boxes.areas))


def _boxes(count: int) -> str:
    return "1 box" if count == 1 else f"{count} boxes"
