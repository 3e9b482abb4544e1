"""What the annotations of a data set say, whatever their format, and whether it is possible."""

# n boxes

from collections import Counter
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np

from mobilevitv2.data.class_lists import GivenClasses, given_names
from mobilevitv2.data.data_set import Remarks
from mobilevitv2.data.headers import Header, read_headers
from mobilevitv2.errors import DataError
from mobilevitv2.scores.truth import BoxedSample, Boxes

LEAST = 0.1  # px: no box has a shorter side
ROUNDING = 0.5  # px beyond the edge that are no mistake


class Annotated(NamedTuple):
    """What is known of one image."""

    image: Path
    source: Path  # the annotation file
    labels: np.ndarray  # int64 [n], places in `FoundBoxes.names`
    corners: np.ndarray
    """float64 [n, 4] of x1, y1, x2, y2: px, or with `FoundBoxes.fractions` of the image's sides"""
    ignored: np.ndarray  # bool [n]
    areas: np.ndarray  # float64 [n] in px²; NaN if the data has none
    numbers: np.ndarray  # int64 [n], what `FoundBoxes.box` is counted by in the file: for messages
    size: tuple[int, int] | None = None
    """Width and height of the image, according to the annotation."""

    @classmethod
    def of(
        cls, image: Path, source: Path, boxes: Sequence[tuple[int, int, Sequence[float]]]
    ) -> Self:
        """From the number, label and corners of each box, with none ignored."""
        numbers, labels, corners = zip(*boxes, strict=True) if boxes else ((), (), ())
        return cls(
            image,
            source,
            np.array(labels, np.int64),
            np.array(corners, np.float64).reshape(-1, 4),
            np.zeros(len(boxes), bool),
            np.full(len(boxes), np.nan),
            np.array(numbers, np.int64),
        )


@dataclass(kw_only=True)
class BoxRemarks(Remarks):
    """What a person should know about boxes as a whole."""

    format: str = ""  # Pascal VOC, COCO or YOLO
    category_ids: list[int] = field(default_factory=list)
    """COCO's own number of each class; elsewhere they are counted from 1."""
    image_ids: dict[Path, int] = field(default_factory=dict)
    """COCO's own number of each image; elsewhere there are none."""
    unannotated: list[str] = field(default_factory=list)
    """Images without an annotation, which are left out."""
    dropped: list[str] = field(default_factory=list)
    """A sentence for each box that is empty, not finite or wholly outside its image."""
    clipped: int = 0  # boxes that were cut off at the edge of their image
    mended: dict[Path, str] = field(default_factory=dict)
    """Images with boxes that were dropped or cut off, and how many."""


@dataclass(kw_only=True)
class FoundBoxes(BoxRemarks):
    """The images of each split (`all` if nothing is split) with their annotations."""

    names: list[str]
    splits: dict[str, list[Annotated]] = field(default_factory=dict)
    box: str = "box"  # what a message calls one: box 3 of a file, line 3, annotation 3
    fractions: bool = False

    def check_labels(
        self, known: Container[int], describe: Callable[[int], str], todo: str
    ) -> None:
        """Raises DataError if a label of a box isn't `known`, which it describes."""
        wrong: Counter[int] = Counter()
        first: dict[int, Path] = {}
        for one in chain(*self.splits.values()):
            for label in one.labels.tolist():
                if label not in known:
                    wrong[label] += 1
                    first.setdefault(label, one.source)
        if wrong:
            label, path = next(iter(first.items()))
            others = f" (and of {len(wrong) - 1:,} other classes)" if len(wrong) > 1 else ""
            raise DataError(
                f"{path} has a box of class {describe(label)}; there are {wrong[label]:,} of "
                f"them{others}. {todo}"
            )

    def renumber(self, classes: GivenClasses | None) -> None:
        """Let labels be places in the given list of names, if there is one.

        Raises DataError if boxes are of a class that it doesn't have.
        """
        if classes is None:
            return
        names, origin = given_names(classes)
        number = {name: i for i, name in enumerate(names)}
        table = np.array([number.get(name, -1) for name in self.names], np.int64)
        self.check_labels(
            {i for i, name in enumerate(self.names) if name in number},
            lambda label: f"{self.names[label]!r}, which {origin} does not have",
            "Add it to the list, or correct the annotations.",
        )
        own = dict(zip(table.tolist(), self.category_ids, strict=False))
        free = max(self.category_ids, default=0) + 1
        self.category_ids = [own.get(label, free + label) for label in range(len(names))]
        self.names, self.origin = names, origin
        for split, images in self.splits.items():
            self.splits[split] = [one._replace(labels=table[one.labels]) for one in images]

    def fitted(self) -> tuple[dict[str, list[BoxedSample]], dict[Path, Header]]:
        """The samples of each split, and the headers of their images.

        Boxes are in px of the upright images and cut off at their edges. Images that can't be read,
        or aren't of the size that the annotation says, are left out, and so are boxes that are
        empty, not finite or wholly outside.
        """
        every = list(chain(*self.splits.values()))
        headers, unreadable = read_headers(list(dict.fromkeys(one.image for one in every)))
        self.unreadable |= unreadable
        for one in every:
            header = headers.get(one.image)
            if header and one.size not in (None, header.size, header.stored):
                (width, height), (w, h) = header.size, one.size
                self.unreadable[str(one.image)] = (
                    f"is {width}x{height} px, but {one.source.name} was drawn on {w}x{h} px; draw "
                    "the boxes on this image"
                )
        samples = {
            split: [
                BoxedSample(one.image, self._fitted(one, headers[one.image]))
                for one in images
                if str(one.image) not in self.unreadable
            ]
            for split, images in self.splits.items()
        }
        return samples, headers

    def _fitted(self, one: Annotated, image: Header) -> Boxes:
        edge = np.tile(image.size, 2)
        with np.errstate(invalid="ignore", over="ignore"):
            corners = one.corners * edge if self.fractions else one.corners
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
                self.dropped.append(
                    f"{one.source}: {self.box} {one.numbers[i]} ({self.names[one.labels[i]]}) of "
                    f"{one.image.name} {why}: {place} in {image.size[0]}x{image.size[1]} px"
                )
        good = np.asarray(finite & ~empty & ~outside)
        clipped, dropped = int((good & beyond).sum()), int((~good).sum())
        self.clipped += clipped
        if clipped or dropped:
            counts = {"cut off": clipped, "dropped": dropped}
            self.mended[one.image] = ", ".join(
                f"{n} {'box' if n == 1 else 'boxes'} {what}" for what, n in counts.items() if n
            )
        boxes = Boxes.of(one.labels, inside, ignored=one.ignored).some(good)
        known = np.nan_to_num(one.areas[good], nan=0.0, posinf=0.0, neginf=0.0)
        return boxes._replace(areas=np.where(known > 0, known, boxes.areas))
