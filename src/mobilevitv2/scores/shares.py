"""What scores share: arrays that grow, ratios, and precision, recall and F1 of each class.

What isn't defined is nan, such as a share of nothing.
"""

# N classes

from abc import ABC, abstractmethod
from typing import Any

import numpy as np


class Growing:
    """An array that grows along its first axis: parts are joined when it is read."""

    def __init__(self, empty: np.ndarray) -> None:
        self._parts = [empty]

    def add(self, part: np.ndarray) -> None:
        """Append a part, of the same type."""
        self._parts.append(part)

    @property
    def whole(self) -> np.ndarray:
        """All parts as one array."""
        if len(self._parts) > 1:
            self._parts = [np.concatenate(self._parts)]
        return self._parts[0]


class FoundClasses(ABC):
    """Scores in [0, 1] of classes that are found in images, rightly or not."""

    @property
    @abstractmethod
    def support(self) -> np.ndarray:
        """int64 [N]: images of each class."""

    @property
    @abstractmethod
    def _found(self) -> np.ndarray:
        """int64 [2, N]: images in which a class is rightly found, and in which it is found."""

    @property
    def precision(self) -> np.ndarray:
        """float64 [N]: of the images in which a class is found, the share that show it."""
        right, found = self._found
        return share(right, found)

    @property
    def recall(self) -> np.ndarray:
        """float64 [N]: of the images that show a class, the share in which it is found."""
        return share(self._found[0], self.support)

    @property
    def f1(self) -> np.ndarray:
        """float64 [N]: the harmonic mean of both; 0 for a class never found or never there."""
        right, found = self._found
        return share(2 * right, found + self.support)

    @property
    def macro_f1(self) -> float:
        """The mean of `f1` over the classes that are found or there in any image.

        As in scikit-learn, a class that is found, but never there, counts as 0.
        """
        return mean_of_known(self.f1)


def share(part: Any, whole: Any) -> np.ndarray:
    """float64 part / whole; nan if the whole is 0."""
    part, whole = np.asarray(part, dtype=np.float64), np.asarray(whole)
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)


def mean_of_known(values: np.ndarray) -> float:
    """The mean over what isn't nan; nan if all is."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")
