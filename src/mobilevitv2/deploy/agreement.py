"""How far two answers to the same images agree: a model's and a file's, or two files'."""

# B batch, C classes

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Agreement:
    """A model's answer and a file's to the same images."""

    difference: float  # largest difference of logits; of probabilities, where the file gives those
    scale: float  # the largest logit, or 1
    same: np.ndarray  # bool [n], of the images, pixels or detections: whether both say the same
    box_difference: float | None = None
    """A detector's largest difference of a box's number, in parts of the image."""


def logits_agreement(expected: np.ndarray, found: np.ndarray, close: float) -> Agreement:
    """Logits [B, C, ...]. A class within `close` of the best, in parts of the scale, is as good."""
    expected, found = expected.astype(np.float64), found.astype(np.float64)
    scale = scale_of(expected)
    same = as_good(expected, found.argmax(1, keepdims=True), close * scale)
    return Agreement(float(np.abs(expected - found).max()), scale, same)


def scale_of(logits: np.ndarray) -> float:
    """The largest, by its size."""
    return max(float(np.abs(logits).max()), 1e-12)


def as_good(scores: np.ndarray, classes: np.ndarray, close: float) -> np.ndarray:
    """Whether `classes` [B, 1, ...] are the best of scores [B, C, ...] to within `close`."""
    behind = scores.max(1, keepdims=True) - np.take_along_axis(scores, classes, 1)
    return behind.ravel() <= close


def softmax(logits: np.ndarray, axis: int) -> np.ndarray:
    """Probabilities."""
    weights = np.exp(logits - logits.max(axis, keepdims=True))
    return weights / weights.sum(axis, keepdims=True)
