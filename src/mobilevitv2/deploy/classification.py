"""Exported classifiers: what a file gives, and when it agrees with its model."""

from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor

from mobilevitv2.class_names import ClassFacts
from mobilevitv2.deploy.request import Request
from mobilevitv2.deploy.verify import Agreement, as_good, logits_agreement
from mobilevitv2.predict.answers import Logits, TopK
from mobilevitv2.predict.classification import same
from mobilevitv2.results.probabilities import softmax

__all__ = ["agreement", "same", "stage"]

OUTPUT_NAMES = {"logits": ["logits"], "top_k": ["scores", "classes"]}
CLASSIFIES = True
COUNTED = "images"
SAME = "same first class"
MAY_DIFFER = {"fp32": (0, 0.0), "half": (1, 0.01)}


def stage(model: Any, request: Request) -> Callable[[Tensor], Any]:
    """Logits [B, classes]; or probabilities [B, k], best first, and their classes, int64 [B, k]."""
    best = min(request.best, len(model.config.id2label or {}))

    def outputs(pixels: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        logits = model(pixels, return_dict=True).logits
        if request.output == "logits":
            return logits
        scores, classes = logits.softmax(-1).topk(best)
        return scores, classes

    return outputs


def agreement(expected: Logits, found: Logits | TopK, close: float, _: ClassFacts) -> Agreement:
    """How far a file's answer is from its model's."""
    if isinstance(found, Logits):
        return logits_agreement(expected.logits, found.logits, close)
    scores = softmax(expected.logits.astype(np.float64), 1)
    apart = np.abs(np.take_along_axis(scores, found.classes, 1) - found.scores).max()
    return Agreement(float(apart), 1.0, as_good(scores, found.classes[:, :1], close))
