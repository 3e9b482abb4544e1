"""What is particular to detection on a report's page and in the pictures of a data set."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mobilevitv2.class_names import Color
from mobilevitv2.report import charts
from mobilevitv2.report.contact_sheet import Tile, fitting
from mobilevitv2.report.page import (
    WRONG,
    check_classes,
    class_rows,
    css,
    groups_of,
    number,
    percentage,
    picture_uri,
    shrunk,
    write_page,
)
from mobilevitv2.results.boxed import with_boxes
from mobilevitv2.results.colors import distinct_colors
from mobilevitv2.results.drawing import percent
from mobilevitv2.results.suppression import Detections
from mobilevitv2.scores.detection import RECALLS, DetectionScores, above
from mobilevitv2.scores.matching import match
from mobilevitv2.scores.shares import share
from mobilevitv2.scores.truth import Boxes

MOST_COUNTED = 9_999  # boxes; beyond, a confusion matrix holds percentages
BACKGROUND = "background"
COLORS = 60  # in the pictures of a data set; more can't be told apart
SIDE = 560  # px, longest side of a panel
SPARED = (150, 160, 175)  # what doesn't count


@dataclass(frozen=True, eq=False)
class BoxedExample:
    """An image of a report with boxes in px of it; `score` is its F1."""

    name: str
    image: Image.Image
    truth: Boxes
    found: Detections
    score: float


def write(
    out: Path,
    *,
    classes: Sequence[str],
    colors: Sequence[Color],
    scores: DetectionScores,
    examples: Sequence[BoxedExample],
    **page: Any,
) -> Path:
    """Write a detector's page: curves, classes, confusion, examples; see `write_page`.

    `examples` may be all of the images scored, or some: the telling ones by F1 are shown.
    """
    check_classes(classes, colors, len(scores.classes))
    confusion, objects = scores.confusion(), scores.objects[0]
    right = np.diagonal(confusion)[:-1]
    counted = bool(confusion.max() <= MOST_COUNTED)
    curves = (RECALLS, scores.precision, classes, colors)
    shares = {"ap": scores.ap, "ap_50": scores.ap_50}
    shares |= {"precision": share(right, confusion[:, :-1].sum(0)), "recall": share(right, objects)}
    return write_page(
        out,
        "detection",
        classes=[*classes, BACKGROUND],
        confusion=confusion,
        matrix=charts.confusion_matrix if counted else charts.confusion_shares,
        figures={"precision_recall": charts.precision_recall(*curves)} if objects.any() else {},
        headline=_headline(scores, confusion),
        threshold=f"{100 * scores.threshold:g} %",
        counted=counted,
        rows=class_rows(
            shares,
            name=classes,
            color=list(map(css, colors)),
            found=right.tolist(),
            objects=objects.tolist(),
        ),
        groups=groups_of(examples, lambda one: _shown(one, classes, colors, scores.threshold)),
        **page,
    )


def _headline(scores: DetectionScores, confusion: np.ndarray) -> dict[str, str]:
    summary = scores.summary
    found, right = int(confusion[:, :-1].sum()), int(np.diagonal(confusion)[:-1].sum())
    objects = int(scores.objects[0].sum())
    sizes = [number(100 * summary[f"map_{size}"]) for size in ("small", "medium", "large")]
    return {
        "map": percentage(summary["map"]),
        "map_50": percentage(summary["map_50"]),
        "map_75": percentage(summary["map_75"]),
        "recall": percentage(summary["mar_100"]),
        "sizes": " / ".join(sizes),
        "occurring": f"{np.count_nonzero(scores.objects[0]):,}",
        "images": f"{scores.images:,}",
        "found": f"{right:,} of {objects:,}",
        "false": f"{found - right:,} of {found:,}",
    }


def _shown(
    example: BoxedExample, classes: Sequence[str], colors: Sequence[Color], threshold: float
) -> dict[str, Any]:
    pictures, counts = panels(example, classes, colors, threshold)
    return {
        "name": example.name,
        "f1": percentage(example.score),
        "counts": counts,
        "panels": {caption: picture_uri(image, SIDE) for caption, image in pictures.items()},
    }


def panels(
    example: BoxedExample, classes: Sequence[str], colors: Sequence[Color], threshold: float
) -> tuple[dict[str, Image.Image], dict[str, int]]:
    """RGB images of one size by caption, and how many boxes are right, missed and wrong.

    Found are detections above `threshold`. Solid boxes are right, dashed red ones missed or wrong;
    dashed gray ones don't count.
    """
    image = shrunk(example.image, SIDE)
    scale = min(1, SIDE / max(example.image.size))
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
    counts = {"right": int(right.sum()), "missed": missed, "wrong": int(wrong.sum())}
    return {"truth": true_picture, "found": found_picture}, counts


def _names(labels: np.ndarray, classes: Sequence[str]) -> list[str]:
    return [classes[int(label)] for label in labels]


def _colors(
    labels: np.ndarray, right: np.ndarray, spared: np.ndarray, colors: Sequence[Color]
) -> list[Color]:
    """The class's where it is right, else red, or gray where it doesn't count."""
    return [
        colors[label] if good else SPARED if uncounted else WRONG
        for label, good, uncounted in zip(labels.tolist(), right, spared, strict=True)
    ]


def colors_of(data: Any) -> list[Color]:
    """A color for each class; with many classes they repeat."""
    few = distinct_colors(min(len(data.classes), COLORS))
    return [few[i % COLORS] for i in range(len(data.classes))]


def labeled(tile: Tile, sample: Any, data: Any, colors: Sequence[Color]) -> Tile:
    """An image of the data set with its boxes."""
    small, boxes = fitting(tile.picture), sample.boxes
    scale = np.array(small.size) / tile.picture.size
    order = np.argsort(boxes.areas, kind="stable")  # small ones on top
    labels = boxes.labels[order]
    drawn = with_boxes(
        small,
        boxes.corners[order] * np.tile(scale, 2),
        [data.classes[label] for label in labels],
        [colors[label] for label in labels],
        dashed=boxes.ignored[order].tolist(),
    )
    return tile._replace(picture=fitting(drawn))
