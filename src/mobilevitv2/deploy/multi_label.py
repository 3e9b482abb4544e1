"""Exported multi-label classifiers: what a file gives, and when it agrees with its model."""

from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor

from mobilevitv2.class_names import ClassFacts
from mobilevitv2.deploy.classification import MAY_DIFFER
from mobilevitv2.deploy.request import Request
from mobilevitv2.deploy.verify import Agreement, scale_of
from mobilevitv2.predict.answers import Logits, Scores
from mobilevitv2.predict.multi_label import limits, same
from mobilevitv2.results.probabilities import sigmoid

__all__ = ["MAY_DIFFER", "agreement", "same", "stage"]

OUTPUT_NAMES = {"logits": ["logits"], "scores": ["scores"]}
CLASSIFIES = False
COUNTED = "images"
SAME = "same labels"


def stage(model: Any, request: Request) -> Callable[[Tensor], Tensor]:
    """Logits or probabilities, [B, classes]."""

    def outputs(pixels: Tensor) -> Tensor:
        logits = model(pixels, return_dict=True).logits
        return logits if request.output == "logits" else logits.sigmoid()

    return outputs


def agreement(
    expected: Logits, found: Logits | Scores, close: float, facts: ClassFacts
) -> Agreement:
    """How far a file's answer is from its model's. One `close` to its threshold may differ."""
    values, scale = expected.logits.astype(np.float64), scale_of(expected.logits)
    if isinstance(found, Scores):
        values, scale = sigmoid(values), 1.0
    least = limits(found, facts)
    unsure = np.abs(values - least) <= close * scale
    same_label = (values > least) == (found.arrays[0] > least)
    apart = np.abs(values - found.arrays[0]).max()
    return Agreement(float(apart), scale, (same_label | unsure).all(1))
