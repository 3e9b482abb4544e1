"""How well the classes found in images agree with those that are there, each class by itself."""

# B batch, N classes, M images so far

import math
from collections.abc import Sequence

import numpy as np

from mobilevitv2.scores.shares import FoundClasses, Growing, mean_of_known, share


class MultiLabelScores(FoundClasses):
    """True classes and probabilities that grow with `update`; all scores come from them, in [0, 1].

    A class is found in an image if its probability is above its threshold. Scores of single
    classes are nan if they aren't defined; means leave these out.
    """

    def __init__(self, classes: int, thresholds: Sequence[float] | np.ndarray | float = 0.5):
        self.thresholds = np.broadcast_to(np.asarray(thresholds, np.float64), classes)
        self._scores = Growing(np.zeros((0, classes), np.float32))
        self._truth = Growing(np.zeros((0, classes), bool))

    def update(self, scores: np.ndarray, truth: np.ndarray) -> None:
        """Count probabilities [B, N], and whether each class is there, [B, N] of 0 and 1.

        NaN counts as less than 0. Raises ValueError, with nothing counted, if they don't match.
        """
        scores, truth = _checked(scores, truth)
        if scores.shape[1:] != self.thresholds.shape:
            raise ValueError(f"Expected {len(self.thresholds)} classes, got {scores.shape[1]}.")
        self._scores.add(scores)
        self._truth.add(truth)

    @property
    def scores(self) -> np.ndarray:
        """[M, N]: the probabilities."""
        return self._scores.whole

    @property
    def truth(self) -> np.ndarray:
        """bool [M, N]: which classes are there."""
        return self._truth.whole

    @property
    def support(self) -> np.ndarray:
        return self.truth.sum(0)

    @property
    def _found(self) -> np.ndarray:
        found = self.scores > self.thresholds
        return np.stack([(found & self.truth).sum(0), found.sum(0)])

    @property
    def average_precision(self) -> np.ndarray:
        """float64 [N]: the sum of precisions times gains in recall, as in scikit-learn.

        nan for a class that is in no image.
        """
        columns = zip(self.scores.T, self.truth.T, strict=True)
        return np.array([_average_precision(*column) for column in columns])

    @property
    def map(self) -> float:
        """The mean of `average_precision` over the classes that are in any image."""
        return mean_of_known(self.average_precision)

    @property
    def micro_f1(self) -> float:
        """F1 of all classes counted together."""
        right, found = self._found.sum(1)
        return float(share(2 * right, found + self.support.sum()))

    def precision_at(self, recalls: np.ndarray) -> np.ndarray:
        """float64 [R, N]: the best precision with at least each of the recalls [R].

        nan for a class that is in no image.
        """
        columns = zip(self.scores.T, self.truth.T, strict=True)
        return np.stack([_precision_at(recalls, *column) for column in columns], axis=1)


def best_thresholds(scores: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """float64 [N]: each class's threshold with the best F1 on `scores` and `truth` [M, N].

    Thresholds tried are 0.5 and those halfway between scores. Of equally good ones, the closest to
    0.5 is chosen; for a class that is in no image, 0.5. Raises ValueError if the two don't match.
    """
    scores, truth = _checked(scores, truth)
    columns = zip(scores.T.astype(np.float64), truth.T, strict=True)
    return np.array([_best_threshold(*column) for column in columns])


def _best_threshold(scores: np.ndarray, truth: np.ndarray) -> float:
    if not truth.any():
        return 0.5
    steps = np.unique(np.append(scores.clip(0), 0))
    tried = np.append((steps[1:] + steps[:-1]) / 2, 0.5)
    right, found = (
        len(some) - np.searchsorted(np.sort(some), tried, "right")  # scores above each threshold
        for some in (scores[truth], scores)
    )
    f1 = 2 * right / (found + truth.sum())
    best = tried[f1 == f1.max()]
    return float(best[np.abs(best - 0.5).argmin()])


def _average_precision(scores: np.ndarray, truth: np.ndarray) -> float:
    if not truth.any():
        return math.nan
    right, precision = _curve(scores, truth)
    return float(np.diff(right, prepend=0) @ precision / truth.sum())


def _precision_at(recalls: np.ndarray, scores: np.ndarray, truth: np.ndarray) -> np.ndarray:
    if not truth.any():
        return np.full(len(recalls), math.nan)
    right, precision = _curve(scores, truth)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    return best[np.searchsorted(right / truth.sum(), recalls)]


def _curve(scores: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Right images and precision above each of the scores, highest first; equal ones are one."""
    order = np.argsort(-scores)
    last = np.append(np.diff(scores[order]) != 0, True)  # of those with equal scores
    right = truth[order].cumsum()[last]
    return right, right / (1 + np.flatnonzero(last))


def _checked(scores: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    scores, truth = np.asarray(scores), np.asarray(truth)
    if scores.ndim != 2 or truth.shape != scores.shape or not np.isin(truth, (0, 1)).all():
        raise ValueError(
            f"Scores {scores.shape} and truth {truth.shape} don't match: expected [images, classes]"
            " for both, and a truth of 0 and 1."
        )
    return np.nan_to_num(scores, nan=-1), truth.astype(bool)
