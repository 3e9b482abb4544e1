"""How well a segmenter's masks agree with the true ones, at the size of the true ones."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from mobilevitv2.data.masks.classes import FROM_VALUES
from mobilevitv2.data.masks.reading import IGNORED
from mobilevitv2.evaluation.measuring import Measured, Pass
from mobilevitv2.report.segmentation import Example
from mobilevitv2.scores.segmentation import SegmentationScores


@dataclass(frozen=True)
class MaskScore:
    """How well a class was found; nan where undefined."""

    name: str
    iou: float
    accuracy: float  # the share of the class's pixels predicted as it
    share: float  # the class's share of the true pixels that count


@dataclass(frozen=True)
class SegmentationEvaluation(Measured):
    """What `evaluate` found of a segmenter; shares are in [0, 1]."""

    task: ClassVar[str] = "segmentation"
    miou: float  # mean intersection over union, over the classes that occur
    pixel_accuracy: float
    mean_class_accuracy: float
    classes: list[MaskScore]
    confusion: list[list[int]]
    """Pixels, [true][predicted], in the order of `classes`, which is the model's."""


def evaluate(once: Pass, *, report: str | Path | None = None) -> SegmentationEvaluation:
    """Counts that grow image by image, at the masks' sizes; see `mobilevitv2.evaluate`.

    Memory grows with the number of images by 8 bytes each, for the report.
    """
    predictor, data = once.predictor, once.data
    count = len(data.classes)
    nameless = data.origin == FROM_VALUES and count <= len(predictor.classes)
    to_model = np.full(256, IGNORED, np.uint8)
    to_model[:count] = range(count) if nameless else once.numbers_in_model()
    scores = SegmentationScores(len(predictor.classes), IGNORED)

    def truth_of(index: int) -> np.ndarray:
        return to_model[data.read_mask(once.samples[index][1])]

    own = {index: scores.update(result.mask, truth_of(index)) for index, result in once.results()}
    if report is not None:
        examples = [
            Example(path, image, truth_of(index), result.mask, own[index], result.certainty)
            for index, path, image, result in once.again(own)
        ]
        once.report(report, colors=predictor.colors, scores=scores, examples=examples)
    columns = (scores.iou, scores.class_accuracy, scores.pixel_shares)
    rows = zip(predictor.classes, *(column.tolist() for column in columns), strict=True)
    return SegmentationEvaluation(
        **once.facts,
        miou=scores.miou,
        pixel_accuracy=scores.pixel_accuracy,
        mean_class_accuracy=scores.mean_class_accuracy,
        classes=[MaskScore(*row) for row in rows],
        confusion=scores.confusion.tolist(),
    )
