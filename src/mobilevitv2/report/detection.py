"""What is particular to detection on a report's page and in the pictures of a data set."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mobilevitv2.class_names import Color
from mobilevitv2.report import charts
from mobilevitv2.report.boxed_panels import SIDE, BoxedExample, panels
from mobilevitv2.report.contact_sheet import Tile, fitting
from mobilevitv2.report.page import (
    check_classes,
    class_rows,
    css,
    groups_of,
    number,
    percentage,
    picture_uri,
    write_page,
)
from mobilevitv2.results.boxed import with_boxes
from mobilevitv2.results.colors import distinct_colors
from mobilevitv2.scores.detection import RECALLS, DetectionScores
from mobilevitv2.scores.shares import share

MOST_COUNTED = 9_999  # boxes; beyond, a confusion matrix holds percentages
BACKGROUND = "background"
COLORS = 60  # in the pictures of a data set; more can't be told apart


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
        groups=groups_of(
            examples, lambda example: _shown(example, classes, colors, scores.threshold)
        ),
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
