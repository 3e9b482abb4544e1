"""How well the labels found in images agree with those in the table."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from mobilevitv2.evaluation.measuring import Measured, Pass
from mobilevitv2.images.reading import load_image
from mobilevitv2.scores.multi_label import MultiLabelScores


@dataclass(frozen=True)
class LabelScore:
    """How well a class was found; nan where undefined."""

    name: str
    average_precision: float
    precision: float
    recall: float
    f1: float
    threshold: float  # what a probability has to exceed; precision, recall and F1 depend on it
    support: int  # images with the class


@dataclass(frozen=True)
class MultiLabelEvaluation(Measured):
    """What `evaluate` found of a multi-label classifier; shares are in [0, 1], nan if undefined."""

    task: ClassVar[str] = "multi-label classification"

    map: float  # mean average precision, over the classes that are in any image
    micro_f1: float
    macro_f1: float
    classes: list[LabelScore]


def evaluate(once: Pass, *, report: str | Path | None = None) -> MultiLabelEvaluation:
    """Each class by itself, and means over them; see `mobilevitv2.evaluate`."""
    samples, classes = once.samples, once.predictor.classes
    to_model = once.numbers_in_model()
    found = dict(once.results())
    thresholds = next(iter(found.values())).thresholds
    scores = MultiLabelScores(len(classes), thresholds)
    probabilities = np.array([result.all_scores for result in found.values()])
    truth = np.zeros(probabilities.shape, bool)
    truth[:, to_model] = [samples[index][1] for index in found]
    scores.update(probabilities, truth)
    if report is not None:
        paths = [samples[index][0] for index in found]
        once.report(
            report,
            scores=scores,
            probabilities=probabilities,
            images=lambda i: load_image(paths[i]),
            names=list(map(str, paths)),
        )
    columns = (scores.average_precision, scores.precision, scores.recall, scores.f1)
    rows = zip(classes, *(c.tolist() for c in columns), thresholds, scores.support, strict=True)
    return MultiLabelEvaluation(
        **once.facts,
        map=scores.map,
        micro_f1=scores.micro_f1,
        macro_f1=scores.macro_f1,
        classes=[LabelScore(*row[:-1], support=int(row[-1])) for row in rows],
    )
