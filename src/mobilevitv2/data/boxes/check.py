"""Annotations held against their images: boxes that fit, and what was wrong with others."""

# n boxes

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mobilevitv2.data.boxes.found import Annotated, FoundBoxes
from mobilevitv2.data.headers import Header, read_headers
from mobilevitv2.scores.truth import BoxedSample, Boxes

LEAST = 0.1  # px: no box has a shorter side
ROUNDING = 0.5  # px beyond the edge that are no mistake


@dataclass
class CheckedBoxes:
    """The samples of each split, and what was left out of them; see `DetectionData`."""

    splits: dict[str, list[BoxedSample]]
    headers: dict[Path, Header]
    unreadable: dict[str, str]
    dropped: list[str] = field(default_factory=list)
    clipped: int = 0
    mended: dict[Path, str] = field(default_factory=dict)


def check_boxes(found: FoundBoxes, table: np.ndarray, names: list[str]) -> CheckedBoxes:
    """Boxes in px of the upright images, cut off at their edges, with `table`'s class numbers.

    Images that can't be read, or aren't of the size that the annotation says, are left out, and so
    are boxes that are empty, not finite or wholly outside.
    """
    paths = list(dict.fromkeys(one.image for images in found.splits.values() for one in images))
    headers, unreadable = read_headers(paths)
    checked = CheckedBoxes({}, headers, found.unreadable | unreadable)
    for split, images in found.splits.items():
        checked.splits[split] = []
        for one in images:
            if one.image not in headers:
                continue
            header = headers[one.image]
            if one.size not in (None, header.size, header.stored):
                (width, height), (w, h) = header.size, one.size
                checked.unreadable[str(one.image)] = (
                    f"is {width}x{height} px, but {one.source.name} was drawn on {w}x{h} px; draw "
                    "the boxes on this image"
                )
                continue
            boxes = _fitted(one, header, found, table, names, checked)
            checked.splits[split].append(BoxedSample(one.image, boxes))
    return checked


def _fitted(
    one: Annotated,
    image: Header,
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
    reasons = {"has coordinates that aren't numbers": ~finite}
    reasons["is empty"] = finite & empty
    reasons["is wholly outside its image"] = finite & ~empty & outside
    for why, which in reasons.items():
        for i in np.flatnonzero(which):
            place = ", ".join(f"{value:g}" for value in corners[i])
            checked.dropped.append(
                f"{one.source}: {found.box} {one.numbers[i]} ({names[table[one.labels[i]]]}) of "
                f"{one.image.name} {why}: {place} in {image.size[0]}x{image.size[1]} px"
            )
    good = np.asarray(finite & ~empty & ~outside)
    clipped, dropped = int((good & beyond).sum()), int((~good).sum())
    checked.clipped += clipped
    counts = {"cut off": clipped, "dropped": dropped}
    if clipped or dropped:
        checked.mended[one.image] = ", ".join(
            f"{n} {'box' if n == 1 else 'boxes'} {what}" for what, n in counts.items() if n
        )
    boxes = Boxes.of(table[one.labels], inside, ignored=one.ignored).some(good)
    known = np.nan_to_num(one.areas[good], nan=0.0, posinf=0.0, neginf=0.0)
    return boxes._replace(areas=np.where(known > 0, known, boxes.areas))
