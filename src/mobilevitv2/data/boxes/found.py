"""What the annotations of a data set say, whatever their format, before they are checked."""

# n boxes

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np

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
    image_ids: dict[Path, int] = field(default_factory=dict)
    unannotated: list[str] = field(default_factory=list)
    """Images without an annotation, which are left out."""
    unreadable: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    """What else a person should know, a sentence each."""
