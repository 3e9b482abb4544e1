"""`Boxes`: the objects in an image, as a data set labels them."""

# n boxes

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np


class Boxes(NamedTuple):
    """The true boxes of one image."""

    labels: np.ndarray  # int64 [n], class numbers from 0; the background isn't a class
    corners: np.ndarray  # float64 [n, 4] of x1, y1, x2, y2 in px of the upright image
    areas: np.ndarray
    """float64 [n] in px²: of the object's outline if the data has it (COCO), else of the box"""
    ignored: np.ndarray
    """bool [n]: not trained on, and finding it is neither right nor wrong (COCO's crowds, Pascal
    VOC's difficult objects)"""

    @classmethod
    def of(
        cls,
        labels: Sequence[int] | np.ndarray,
        corners: Sequence[Sequence[float]] | np.ndarray,
        *,
        areas: Sequence[float] | np.ndarray | None = None,
        ignored: Sequence[bool] | np.ndarray | None = None,
    ) -> Self:
        """From anything array-like; `areas` default to those of the boxes."""
        corners = np.asarray(corners, np.float64).reshape(-1, 4)
        sides = corners[:, 2:] - corners[:, :2]
        return cls(
            np.asarray(labels, np.int64).reshape(-1),
            corners,
            sides.prod(1) if areas is None else np.asarray(areas, np.float64).reshape(-1),
            np.zeros(len(corners), bool) if ignored is None else np.asarray(ignored, bool),
        )

    def some(self, which: np.ndarray) -> Self:
        """Those chosen by a mask or by places [k]."""
        return type(self)(*(values[which] for values in self))


class BoxedSample(NamedTuple):
    """An image file and the objects in it."""

    image: Path
    boxes: Boxes
