"""Objects in images: boxes with their classes."""

import numpy as np

from mobilevitv2.images.reading import ImageSource, load_image
from mobilevitv2.predict.answers import Answer, FinalBoxes, RawBoxes, ScoredBoxes, Thresholds
from mobilevitv2.predict.classification import answers
from mobilevitv2.predict.predictor import Predictor, Prepared
from mobilevitv2.results.detection import Detection
from mobilevitv2.results.suppression import Detections, detect, detect_scored, in_pixels

__all__ = ["DEFAULTS", "answers", "detections", "pixels_of", "result", "same"]

DEFAULTS = {"threshold": 0.3}  # the least score worth showing, as in ml-cvnets's demos


def pixels_of(predictor: Predictor, image: ImageSource) -> tuple[np.ndarray, tuple[int, int]]:
    """The stretched image, and the original's height and width."""
    picture = load_image(image)
    return predictor.processor(picture).pixel_values[0], (picture.height, picture.width)


def same(first: RawBoxes, second: RawBoxes, _: Thresholds) -> np.ndarray:
    """Whether the anchors that either answer gives a class have the same one, bool [n]."""
    one, other = first.first_classes(), second.first_classes()
    return (one == other)[(one > 0) | (other > 0)]


def result(predictor: Predictor, answer: Answer, item: Prepared, *, threshold: float) -> Detection:
    """The objects of one image."""
    return Detection.of(
        detections(answer, item.size, threshold=threshold),
        classes=predictor.classes,
        size=item.size,
        colors=predictor.colors,
        source=item.source,
        image=item.picture,
    )


def detections(answer: Answer, size: tuple[int, int], *, threshold: float) -> Detections:
    """The objects in one image of `size` (height, width) with scores above `threshold`."""
    if isinstance(answer, FinalBoxes):
        kept = answer.scores > threshold
        corners = in_pixels(answer.corners[kept], size)
        return Detections(answer.scores[kept], answer.labels[kept], corners)
    if isinstance(answer, ScoredBoxes):
        return detect_scored(answer.scores, answer.corners, size, threshold=threshold)
    assert isinstance(answer, RawBoxes)
    return detect(answer.logits, answer.boxes, size, threshold=threshold)
