"""All the labels of whole images."""

from typing import TYPE_CHECKING, Any

import numpy as np

from mobilevitv2.predict.answers import Answer, Logits, Scores
from mobilevitv2.predict.classification import answers, pixels_of
from mobilevitv2.results import MultiLabel

if TYPE_CHECKING:
    from mobilevitv2.predict.predictor import Predictor, Prepared

__all__ = ["DEFAULTS", "answers", "labels", "limit", "pixels_of", "result", "same"]

DEFAULTS: dict[str, Any] = {}
HALF = 0.5  # what a probability has to exceed unless the model says otherwise


def thresholds_of(predictor: "Predictor", threshold: float | None = None) -> list[float]:
    """For each class: the one that is given, or the model's own."""
    if threshold is None and predictor.backend.thresholds is not None:
        return list(predictor.backend.thresholds)
    return [HALF if threshold is None else threshold] * len(predictor.classes)


def same(first: Logits | Scores, second: Logits | Scores) -> np.ndarray:
    """Whether the images have the same labels in both answers, bool [B]."""
    return (labels(first) == labels(second)).all(1)


def labels(answer: Logits | Scores) -> np.ndarray:
    """The classes that are more likely than not, bool [B, classes]."""
    return answer.arrays[0] > limit(answer)


def limit(answer: Logits | Scores) -> float:
    """What a class that is more likely than not exceeds."""
    return HALF if isinstance(answer, Scores) else 0.0


def result(
    predictor: "Predictor", answer: Answer, item: "Prepared", *, threshold: float | None = None
) -> MultiLabel:
    """The labels of one image whose probabilities exceed their thresholds."""
    thresholds = thresholds_of(predictor, threshold)
    if isinstance(answer, Scores):
        scores = answer.scores.tolist()
        return MultiLabel(predictor.classes, scores, thresholds, item.source, item.image)
    assert isinstance(answer, Logits)
    return MultiLabel.from_logits(
        answer.logits, predictor.id2label, thresholds, source=item.source, image=item.image
    )
