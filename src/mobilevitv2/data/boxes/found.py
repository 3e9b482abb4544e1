"""What the annotations of a data set say, whatever their format, before it is checked."""

# n boxes

from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mobilevitv2.data.visible import LeftOut


class Annotated(NamedTuple):
    """What is said of one image."""

    image: Path
    source: Path
    """The file that says it."""
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
    """Width and height that the image is said to have."""


@dataclass
class FoundBoxes(LeftOut):
    """The images of each split (`all` where there are none) with what is said of them."""

    format: str
    names: list[str]
    origin: str
    splits: dict[str, list[Annotated]]
    box: str = "box"
    """What a message calls one: the box 3 of a file, its line 3, its annotation 3."""
    fractions: bool = False
    category_ids: list[int] = field(default_factory=list)
    image_ids: dict[Path, int] = field(default_factory=dict)
    unannotated: list[str] = field(default_factory=list)
    """Images that no annotation speaks of, and that are left out for it."""
    unreadable: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    """What else a person should know, a sentence each."""
