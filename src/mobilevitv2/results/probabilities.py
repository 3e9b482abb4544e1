"""From logits to probabilities in [0, 1]."""

from collections.abc import Mapping

import numpy as np

from mobilevitv2.errors import DIVERGED


def softmax(logits: np.ndarray, axis: int = -1) -> np.ndarray:
    """Of classes that exclude each other: they sum to 1 along the axis."""
    weights = np.exp(logits - logits.max(axis, keepdims=True))
    return weights / weights.sum(axis, keepdims=True)


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Of each class by itself."""
    small = np.exp(-np.abs(logits))  # which can't overflow
    return np.where(logits < 0, small, 1) / (1 + small)


def checked_logits(logits: np.ndarray, id2label: Mapping[int, str]) -> np.ndarray:
    """One image's logits as float64 [classes].

    Raises ValueError if they aren't finite or don't match the names.
    """
    logits = np.asarray(logits, dtype=np.float64)
    if logits.ndim != 1 or logits.size == 0:
        raise ValueError(f"One image's logits must have shape [classes], not {logits.shape}.")
    if set(id2label) != set(range(logits.size)):
        raise ValueError(
            f"There are {logits.size} logits, but id2label names {len(id2label)} classes: "
            f"expected one name for each number from 0 to {logits.size - 1}."
        )
    if not np.isfinite(logits).all():
        raise ValueError(f"The logits {DIVERGED}")
    return logits
