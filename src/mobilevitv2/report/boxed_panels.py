"""One image side by side: what there is to find, and what was found; right, missed and wrong."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from mobilevitv2.report.masked_panels import WRONG
from mobilevitv2.results import percent
from mobilevitv2.results.boxed import with_boxes
from mobilevitv2.results.colors import Color
from mobilevitv2.results.suppression import Detections
from mobilevitv2.scores.detection import above
from mobilevitv2.scores.matching import match
from mobilevitv2.scores.truth import Boxes

SIDE = 560  # px, longest side of a panel
SPARED = (150, 160, 175)  # what does not count


@dataclass(frozen=True, eq=False)
class BoxedExample:
    """An image of a report, boxes in px of it, and how good those found are: F1 in [0, 1]."""

    name: str
    image: Image.Image
    truth: Boxes
    found: Detections
    f1: float


@dataclass(frozen=True)
class Panels:
    """RGB images of one size, and what they show: how many right, missed and wrong."""

    truth: Image.Image
    found: Image.Image
    right: int
    missed: int
    wrong: int


def panels(
    example: BoxedExample, classes: Sequence[str], colors: Sequence[Color], threshold: float
) -> Panels:
    """Detections above `threshold`; solid boxes are right, dashed red ones missed or wrong.

    Dashed gray ones do not count.
    """
    scale = min(1, SIDE / max(example.image.size))
    size = (max(1, round(example.image.width * scale)), max(1, round(example.image.height * scale)))
    image = example.image.convert("RGB").resize(size, Image.Resampling.BOX)
    truth, found = example.truth, example.found
    matched = match(found, truth, len(classes))
    records = matched.found
    right, wrong = above(records, threshold)

    there = np.full(len(truth.labels), False)
    there[~truth.ignored] = matched.true["score"] > threshold
    drawn = np.argsort(there, kind="stable")  # the missed ones on top
    true_picture = with_boxes(
        image,
        truth.corners[drawn] * scale,
        _names(truth.labels[drawn], classes),
        _colors(truth.labels[drawn], there[drawn], truth.ignored[drawn], colors),
        dashed=(~there[drawn]).tolist(),
    )

    shown = np.flatnonzero(records["score"] > threshold)
    shown = shown[np.argsort(-records["score"][shown], kind="stable")]
    labels = records["label"][shown]
    found_picture = with_boxes(
        image,
        found.boxes[matched.places[shown]] * scale,
        _names(labels, classes),
        _colors(labels, right[shown], ~(right | wrong)[shown], colors),
        percents=[percent(score, 0) for score in records["score"][shown].tolist()],
        dashed=(~right[shown]).tolist(),
    )
    missed = int((~there & ~truth.ignored).sum())
    return Panels(true_picture, found_picture, int(right.sum()), missed, int(wrong.sum()))


def _names(labels: np.ndarray, classes: Sequence[str]) -> list[str]:
    return [classes[int(label)] for label in labels]


def _colors(
    labels: np.ndarray, right: np.ndarray, spared: np.ndarray, colors: Sequence[Color]
) -> list[Color]:
    """The class's where it is right, else red, or gray where it does not count."""
    return [
        colors[label] if good else SPARED if uncounted else WRONG
        for label, good, uncounted in zip(labels.tolist(), right, spared, strict=True)
    ]
