"""Exported multi-label classifiers: what a file gives, and when it agrees with its model."""

from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor

from mobilevitv2.deploy.agreement import Agreement, scale_of
from mobilevitv2.deploy.classification import allowed
from mobilevitv2.deploy.request import Request
from mobilevitv2.predict.answers import Logits, Scores
from mobilevitv2.predict.multi_label import labels, limit, same

__all__ = ["agreement", "allowed", "same", "stage"]

OUTPUT_NAMES = {"logits": ["logits"], "scores": ["scores"]}
TRACED = None
CLASSIFIES = False
COUNTED = "images"
SAME = "same labels"


def stage(model: Any, request: Request) -> Callable[[Tensor], Tensor]:
    """Logits or probabilities, [B, classes]."""

    def outputs(pixels: Tensor) -> Tensor:
        logits = model(pixels, return_dict=True).logits
        return logits if request.output == "logits" else logits.sigmoid()

    return outputs


def agreement(expected: Logits, found: Logits | Scores, close: float) -> Agreement:
    """How far a file's answer is from its model's. A label within `close` of 0.5 may differ."""
    values, scale = expected.logits.astype(np.float64), scale_of(expected.logits)
    if isinstance(found, Scores):
        values, scale = 1 / (1 + np.exp(-values)), 1.0
    unsure = np.abs(values - limit(found)) <= close * scale
    same_label = (values > limit(found)) == labels(found)
    apart = np.abs(values - found.arrays[0]).max()
    return Agreement(float(apart), scale, (same_label | unsure).all(1))
