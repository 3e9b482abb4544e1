"""How well a detector's boxes agree with the true ones: COCO's numbers, in px of the images."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from mobilevitv2.evaluation.measuring import Measured, Pass
from mobilevitv2.files.writing import write_atomic
from mobilevitv2.report.detection import BoxedExample
from mobilevitv2.results.suppression import LEAST_SCORE
from mobilevitv2.scores.detection import DetectionScores
from mobilevitv2.scores.truth import BoxedSample, Boxes


@dataclass(frozen=True)
class BoxScore:
    """How well a class was found; nan where undefined."""

    name: str
    ap: float  # average precision, averaged over ten overlaps from 0.5 to 0.95
    ap_50: float  # average precision where an overlap of 0.5 is enough
    boxes: int  # true boxes that count


@dataclass(frozen=True)
class DetectionEvaluation(Measured):
    """What `evaluate` found of a detector; shares are in [0, 1], nan where undefined."""

    task: ClassVar[str] = "detection"
    summary: dict[str, float]
    """COCO's twelve numbers: map, map_50, map_75, map_small, mar_100 and so on."""
    classes: list[BoxScore]
    confusion: list[list[int]]
    """Boxes, [true][found], in the order of `classes`, which is the model's; the background last.
    Found boxes count above the threshold at which the model shows them."""


def evaluate(
    once: Pass, *, report: str | Path | None = None, coco: str | Path | None = None
) -> DetectionEvaluation:
    """All detections with a score above 0.01; see `mobilevitv2.evaluate`."""
    predictor, data = once.predictor, once.data
    samples: list[BoxedSample] = once.samples
    to_model = np.array(once.numbers_in_model(), np.int64)
    scores = DetectionScores(predictor.classes, threshold=predictor.options["threshold"])
    category_ids = [data.category_ids[i] for i in np.argsort(to_model)]  # in the model's order
    image_ids = [data.image_ids[image] for image, _ in samples if image in data.image_ids]
    if len(set(image_ids)) < len(samples):  # the data has none, or uses one twice
        image_ids = list(range(1, len(samples) + 1))
    rows: list[dict[str, Any]] = []
    own: dict[int, float] = {}

    def truth_of(index: int) -> Boxes:
        boxes = samples[index].boxes
        return boxes._replace(labels=to_model[boxes.labels])

    for index, result in once.results(threshold=LEAST_SCORE):
        own[index] = scores.update(result.detections, truth_of(index), image=result.source)
        if coco is not None:
            rows += result.to_coco(image_ids[index], category_ids)
    if coco is not None:
        write_atomic(Path(coco), json.dumps(rows).encode())
    if report is not None:
        examples = [
            BoxedExample(path, image, truth_of(index), result.detections, own[index])
            for index, path, image, result in once.again(own)
        ]
        once.report(report, colors=predictor.colors, scores=scores, examples=examples)
    columns = (scores.ap, scores.ap_50, scores.objects[0])
    by_class = zip(predictor.classes, *(column.tolist() for column in columns), strict=True)
    return DetectionEvaluation(
        **once.facts,
        summary=scores.summary,
        classes=[BoxScore(*row) for row in by_class],
        confusion=scores.confusion().tolist(),
    )
