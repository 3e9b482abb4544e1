"""How well predicted classes agree with true ones, and how sure that is."""

# B batch, N classes, M images so far

import math
from functools import cached_property

import numpy as np

from mobilevitv2.scores.shares import share

Z = 1.959963984540054  # standard deviations on either side that hold 95 % of a normal distribution
FIVE = 5


class ClassificationScores:
    """True and predicted classes that grow with `update`; all scores are read off them, in [0, 1].

    Scores of single classes are nan where nothing defines them. Takes 17 bytes an image.
    """

    def __init__(self, classes: int) -> None:
        self.classes = classes
        self.true = np.zeros(0, np.int64)  # [M]
        self.predicted = np.zeros(0, np.int64)  # [M]
        self._in_five = np.zeros(0, bool)  # [M]

    def update(self, logits: np.ndarray, targets: np.ndarray) -> None:
        """Count logits, or probabilities, [B, N] and class numbers [B].

        Where several are equal, the first class counts as predicted. Raises ValueError, with
        nothing counted, where logits and targets don't fit each other.
        """
        logits, targets = np.asarray(logits), np.asarray(targets, np.int64)
        if logits.shape != (*targets.shape, self.classes) or targets.ndim != 1:
            raise ValueError(
                f"{targets.shape} targets need logits of shape [{len(targets)}, {self.classes}], "
                f"not {logits.shape}."
            )
        if strange := set(targets.tolist()) - set(range(self.classes)):
            raise ValueError(
                f"class {min(strange)} is out of range: there are {self.classes} classes."
            )
        of_truth = np.take_along_axis(logits, targets[:, None], 1)
        earlier = np.arange(self.classes) < targets[:, None]
        ahead = ~(logits <= of_truth) | ((logits == of_truth) & earlier)  # NaN is ahead of all
        self.true = np.append(self.true, targets)
        self.predicted = np.append(self.predicted, logits.argmax(1))
        self._in_five = np.append(self._in_five, ahead.sum(1) < FIVE)
        self.__dict__.pop("confusion", None)

    @property
    def right(self) -> np.ndarray:
        """bool [M]: where the largest logit is the target's."""
        return self.predicted == self.true

    @property
    def accuracy(self) -> float:
        """The share that is right; nan before any image counted."""
        return float(self.right.mean()) if len(self.true) else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """Where the true accuracy lies with 95 % confidence (Wilson, 1927)."""
        count, right = len(self.true), self.accuracy
        middle = (right + Z**2 / (2 * count)) / (1 + Z**2 / count)
        half = math.sqrt(right * (1 - right) / count + (Z / (2 * count)) ** 2) * Z
        half /= 1 + Z**2 / count
        return max(middle - half, 0.0), min(middle + half, 1.0)

    @property
    def top5(self) -> float | None:
        """The share whose target is among the five best; None for five classes or fewer."""
        if self.classes <= FIVE:
            return None
        return float(self._in_five.mean()) if len(self.true) else math.nan

    @cached_property
    def confusion(self) -> np.ndarray:
        """int64 [N, N] of [true, predicted]"""
        counts = np.zeros((self.classes, self.classes), np.int64)
        np.add.at(counts, (self.true, self.predicted), 1)
        return counts

    @property
    def support(self) -> np.ndarray:
        """int64 [N]: images of each class."""
        return self.confusion.sum(1)

    @property
    def precision(self) -> np.ndarray:
        """float64 [N]: the share of the images predicted as a class that are of it."""
        return share(self.confusion.diagonal(), self.confusion.sum(0))

    @property
    def recall(self) -> np.ndarray:
        """float64 [N]: the share of a class's images predicted as it."""
        return share(self.confusion.diagonal(), self.support)

    @property
    def f1(self) -> np.ndarray:
        """float64 [N]: the harmonic mean of both; 0 for what is never found or never there."""
        return share(2 * self.confusion.diagonal(), self.confusion.sum(0) + self.support)

    @property
    def macro_f1(self) -> float:
        """The mean of `f1` over the classes that occur in truth or prediction, as in scikit-learn.

        A class that is predicted, but never true, counts as 0; one that is neither doesn't count.
        """
        return float(np.nanmean(self.f1))


def sign_test(first: int, second: int) -> float:
    """How often chance alone divides `first` + `second` cases as unevenly: exact and two-sided."""
    count, ways, total = first + second, 1, 0
    for k in range(min(first, second) + 1):
        total += ways
        ways = ways * (count - k) // (k + 1)
    return min(1.0, 2 * total / 2**count)
