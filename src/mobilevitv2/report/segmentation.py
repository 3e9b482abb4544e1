"""The page that tells how good a model's masks became: curves, classes, confusion, examples."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mobilevitv2.report import charts
from mobilevitv2.report.masked_panels import SIDE, Example, doubt_scale, panels
from mobilevitv2.report.page import (
    MOST_CELLS,
    confused_pairs,
    picture_uri,
    telling_examples,
    write_page,
)
from mobilevitv2.results.colors import Color
from mobilevitv2.scores.segmentation import SegmentationScores

HARDEST = 5  # classes of an example that are named


def write_segmentation_report(
    out: Path,
    *,
    history: list[dict[str, float]],
    classes: Sequence[str],
    colors: Sequence[Color],
    scores: SegmentationScores,
    examples: Sequence[Example],
    title: str,
    settings: Mapping[str, Any],
    timing: Mapping[str, Any],
) -> Path:
    """Write out/report.html and out/report/*.png; returns the page's path.

    `scores` are of the validation images, of which `examples` may be all or some: those that
    `telling_examples` picks are shown. `history` has a row for each epoch; its numbers that end in
    loss or miou, and lr, are drawn. Numbers of seconds in `timing` are those whose name ends in
    seconds.
    """
    if not len(classes) == len(colors) == scores.classes:
        raise ValueError(
            f"There are {len(classes)} names of classes and {len(colors)} colors, but the scores "
            f"are of {scores.classes} classes."
        )
    figures: dict[str, bytes] = {}
    if len(history) > 1:
        figures["loss"] = charts.loss_curves(history)
        figures["miou"] = charts.miou_curves(history)
        figures["learning_rate"] = charts.learning_rate(history)
    if len(classes) <= MOST_CELLS:
        figures["confusion"] = charts.confusion_shares(scores.confusion, classes)
    chosen = telling_examples([example.miou for example in examples])
    return write_page(
        out,
        "segmentation.html.jinja",
        figures,
        title=title,
        headline=_headline(scores),
        pairs=confused_pairs(scores.confusion, classes) if len(classes) > MOST_CELLS else [],
        rows=_class_rows(scores, classes, colors),
        groups={
            kind: [_shown(examples[index], classes, colors, scores) for index in indices]
            for kind, indices in chosen.items()
        },
        doubt=picture_uri(doubt_scale(SIDE), SIDE),
        settings=settings,
        timing=timing,
    )


def _headline(scores: SegmentationScores) -> dict[str, str]:
    ignored = 1 - int(scores.confusion.sum()) / scores.pixels if scores.pixels else math.nan
    return {
        "miou": _percent(scores.miou),
        "occurring": f"{np.count_nonzero(~np.isnan(scores.iou)):,}",
        "classes": f"{scores.classes:,}",
        "images": f"{scores.images:,}",
        "pixel_accuracy": _percent(scores.pixel_accuracy),
        "class_accuracy": _percent(scores.mean_class_accuracy),
        "weighted_iou": _percent(scores.frequency_weighted_iou),
        "ignored": _percent(ignored),
    }


def _percent(share: float) -> str:
    return "–" if math.isnan(share) else f"{100 * share:.1f} %"  # noqa: RUF001 - a dash


def _class_rows(
    scores: SegmentationScores, classes: Sequence[str], colors: Sequence[Color]
) -> list[dict[str, Any]]:
    """IoU, recall and share of the pixels of each class, None where undefined; worst IoU first."""
    columns = (scores.iou, scores.class_accuracy, scores.pixel_shares)
    rows = [
        {"name": name, "color": _css(color)}
        | {
            key: None if np.isnan(value) else float(100 * value)
            for key, value in zip(("iou", "recall", "share"), values, strict=True)
        }
        for name, color, *values in zip(classes, colors, *columns, strict=True)
    ]
    return sorted(rows, key=lambda row: 101 if row["iou"] is None else row["iou"])


def _shown(
    example: Example,
    classes: Sequence[str],
    colors: Sequence[Color],
    scores: SegmentationScores,
) -> dict[str, Any]:
    """The panels of one image, and the classes that it was worst at."""
    own = SegmentationScores(scores.classes, scores.ignore_index)
    own.update(example.predicted, example.truth)
    hardest = np.argsort(own.iou, kind="stable")[:HARDEST]  # nan, for what is not there, is last
    return {
        "name": example.name,
        "miou": _percent(example.miou),
        "accuracy": _percent(own.pixel_accuracy),
        "panels": {
            caption: picture_uri(picture, SIDE)
            for caption, picture in panels(example, colors, scores).items()
        },
        "classes": [
            {"name": classes[i], "color": _css(colors[i]), "iou": _percent(float(own.iou[i]))}
            for i in hardest
            if not np.isnan(own.iou[i])
        ],
    }


def _css(color: Color) -> str:
    return "#{:02x}{:02x}{:02x}".format(*color)
