"""How well predicted classes agree with true ones, and how sure that is."""

# B batch, N classes, M images so far

import math

import numpy as np

from mobilevitv2.scores.shares import FoundClasses, Growing

Z = 1.959963984540054  # standard deviations on either side that hold 95 % of a normal distribution
FIVE = 5


class ClassificationScores(FoundClasses):
    """True and predicted classes that grow with `update`; all scores come from them, in [0, 1].

    Scores of single classes are nan if they aren't defined. Takes 17 bytes an image.
    """

    def __init__(self, classes: int) -> None:
        self.classes = classes
        self._true, self._predicted = Growing(np.zeros(0, np.int64)), Growing(np.zeros(0, np.int64))
        self._in_five = Growing(np.zeros(0, bool))
        self.confusion = np.zeros((classes, classes), np.int64)  # [true, predicted]

    def update(self, logits: np.ndarray, targets: np.ndarray) -> None:
        """Count logits, or probabilities, [B, N] and class numbers [B].

        Of equal logits the first counts as predicted. Raises ValueError, with nothing counted, if
        logits and targets don't match.
        """
        logits, targets = np.asarray(logits), np.asarray(targets, np.int64)
        if logits.shape != (*targets.shape, self.classes) or targets.ndim != 1:
            raise ValueError(
                f"{targets.shape} targets need logits of shape [{len(targets)}, {self.classes}], "
                f"not {logits.shape}."
            )
        if strange := set(targets.tolist()) - set(range(self.classes)):
            raise ValueError(f"class {min(strange)} is out of range of {self.classes} classes.")
        of_truth = np.take_along_axis(logits, targets[:, None], 1)
        earlier = np.arange(self.classes) < targets[:, None]
        ahead = ~(logits <= of_truth) | ((logits == of_truth) & earlier)  # NaN is ahead of all
        predicted = logits.argmax(1)
        self._true.add(targets)
        self._predicted.add(predicted)
        self._in_five.add(ahead.sum(1) < FIVE)
        np.add.at(self.confusion, (targets, predicted), 1)

    @property
    def true(self) -> np.ndarray:
        """int64 [M]: the class of each image."""
        return self._true.whole

    @property
    def predicted(self) -> np.ndarray:
        """int64 [M]: the class predicted for each image."""
        return self._predicted.whole

    @property
    def right(self) -> np.ndarray:
        """bool [M]: is the largest logit the target's?"""
        return self.predicted == self.true

    @property
    def accuracy(self) -> float:
        """The share that is right; nan before any image counted."""
        return float(self.right.mean()) if len(self.true) else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % confidence interval of the accuracy (Wilson, 1927)."""
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
        return float(self._in_five.whole.mean()) if len(self.true) else math.nan

    @property
    def support(self) -> np.ndarray:
        return self.confusion.sum(1)

    @property
    def _found(self) -> np.ndarray:
        return np.stack([self.confusion.diagonal(), self.confusion.sum(0)])


def sign_test(first: int, second: int) -> float:
    """How often chance alone divides `first` + `second` cases as unevenly: exact and two-sided."""
    count, ways, total = first + second, 1, 0
    for k in range(min(first, second) + 1):
        total += ways
        ways = ways * (count - k) // (k + 1)
    return min(1.0, 2 * total / 2**count)
