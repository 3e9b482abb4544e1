"""Several labels for each image."""

from typing import Any

import numpy as np

from mobilevitv2.predict.answers import Answer, Logits, Scores, Thresholds
from mobilevitv2.predict.classification import answers, pixels_of
from mobilevitv2.predict.predictor import Predictor, Prepared
from mobilevitv2.results.multi_label import MultiLabel

__all__ = ["DEFAULTS", "answers", "limits", "pixels_of", "result", "same"]

DEFAULTS: dict[str, Any] = {}
HALF = 0.5  # the threshold of a model without its own


def same(first: Logits | Scores, second: Logits | Scores, thresholds: Thresholds) -> np.ndarray:
    """Whether the images have the same labels in both answers, bool [B]."""
    one, other = (answer.arrays[0] > limits(answer, thresholds) for answer in (first, second))
    return (one == other).all(1)


def limits(answer: Logits | Scores, thresholds: Thresholds) -> np.ndarray:
    """What each class's number in the answer must exceed, [classes]."""
    probabilities = np.full(answer.arrays[0].shape[1], HALF) if thresholds is None else thresholds
    if isinstance(answer, Scores):
        return np.asarray(probabilities)
    with np.errstate(divide="ignore"):  # no logit exceeds the one of 1
        return np.log(probabilities) - np.log1p(np.negative(probabilities))


def result(
    predictor: Predictor, answer: Answer, item: Prepared, *, threshold: float | None = None
) -> MultiLabel:
    """The labels of one image whose probabilities exceed `threshold`, or the model's own."""
    thresholds = predictor.backend.thresholds
    if thresholds is None or threshold is not None:
        thresholds = [HALF if threshold is None else threshold] * len(predictor.classes)
    if isinstance(answer, Scores):
        scores = answer.scores.tolist()
        return MultiLabel(predictor.classes, scores, thresholds, item.source, item.image)
    assert isinstance(answer, Logits)
    return MultiLabel.from_logits(
        answer.logits, predictor.id2label, thresholds, source=item.source, image=item.image
    )
