"""What the annotations of a data set say, whatever their format, before they are checked."""

# n boxes

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np

from mobilevitv2.data.class_lists import GivenClasses, given_names
from mobilevitv2.errors import DataError
from mobilevitv2.images.finding import LeftOut


class Annotated(NamedTuple):
    """What is known of one image."""

    image: Path
    source: Path
    """The annotation file."""
    labels: np.ndarray
    """int64 [n], places in `FoundBoxes.names`"""
    corners: np.ndarray
    """float64 [n, 4] of x1, y1, x2, y2: px, or with `FoundBoxes.fractions` of the image's sides"""
    ignored: np.ndarray
    """bool [n]"""
    areas: np.ndarray
    """float64 [n] in px²; NaN where the data has none"""
    numbers: np.ndarray
    """int64 [n], what `FoundBoxes.box` is counted by in the file: for messages"""
    size: tuple[int, int] | None = None
    """Width and height of the image, according to the annotation."""

    @classmethod
    def of(
        cls, image: Path, source: Path, boxes: Sequence[tuple[int, int, Sequence[float]]]
    ) -> Self:
        """From the number, label and corners of each box, with none ignored."""
        count = len(boxes)
        return cls(
            image,
            source,
            np.array([label for _, label, _ in boxes], np.int64),
            np.array([corners for _, _, corners in boxes], np.float64).reshape(-1, 4),
            np.zeros(count, bool),
            np.full(count, np.nan),
            np.array([number for number, _, _ in boxes], np.int64),
        )


@dataclass
class FoundBoxes(LeftOut):
    """The images of each split (`all` where there are none) with their annotations."""

    format: str
    names: list[str]
    origin: str
    splits: dict[str, list[Annotated]]
    box: str = "box"
    """What a message calls one: box 3 of a file, line 3, annotation 3."""
    fractions: bool = False
    category_ids: list[int] = field(default_factory=list)
    """COCO's own numbers of the names, if it has any."""
    image_ids: dict[Path, int] = field(default_factory=dict)
    unannotated: list[str] = field(default_factory=list)
    """Images without an annotation, which are left out."""
    unreadable: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    """What else a person should know, a sentence each."""

    def check_labels(
        self, known: Callable[[int], bool], describe: Callable[[int], str], todo: str
    ) -> None:
        """Raises DataError if a label of a box isn't `known`, which it describes."""
        wrong: Counter[int] = Counter()
        first: dict[int, Path] = {}
        for one in chain(*self.splits.values()):
            for label in filter(lambda label: not known(label), one.labels.tolist()):
                wrong[label] += 1
                first.setdefault(label, one.source)
        if wrong:
            label, path = next(iter(first.items()))
            others = f" (and of {len(wrong) - 1:,} other classes)" if len(wrong) > 1 else ""
            raise DataError(
                f"{path} has a box of class {describe(label)}; there are {wrong[label]:,} of "
                f"them{others}. {todo}"
            )

    def settle_names(self, classes: GivenClasses | None) -> tuple[list[str], str, np.ndarray]:
        """The names, where they come from, and the number in them of each of `self.names`.

        Raises DataError if boxes are of a class that a given list doesn't have.
        """
        if classes is None:
            return self.names, self.origin, np.arange(len(self.names))
        names, origin = given_names(classes)
        number = {name: i for i, name in enumerate(names)}
        table = np.array([number.get(name, -1) for name in self.names], np.int64)
        self.check_labels(
            lambda label: table[label] >= 0,
            lambda label: f"{self.names[label]!r}, which {origin} does not have",
            "Add it to the list, or correct the annotations.",
        )
        return names, origin, table
