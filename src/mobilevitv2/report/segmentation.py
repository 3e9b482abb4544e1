"""What is particular to segmentation on a report's page and in the pictures of a data set."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mobilevitv2.class_names import Color
from mobilevitv2.report import charts
from mobilevitv2.report.contact_sheet import VOID, Tile, fitting
from mobilevitv2.report.masked_panels import SIDE, Example, doubt_scale, panels
from mobilevitv2.report.page import (
    check_classes,
    class_rows,
    css,
    groups_of,
    percentage,
    picture_uri,
    write_page,
)
from mobilevitv2.results.colors import overlay
from mobilevitv2.scores.segmentation import SegmentationScores

HARDEST = 5  # classes of an example that are named


def write(
    out: Path,
    *,
    classes: Sequence[str],
    colors: Sequence[Color],
    scores: SegmentationScores,
    examples: Sequence[Example],
    **page: Any,
) -> Path:
    """Write a segmenter's page: curves, classes, confusion, examples; see `write_page`.

    `examples` may be all of the images scored, or some: the telling ones by mIoU are shown.
    """
    check_classes(classes, colors, scores.classes)
    shares = {"iou": scores.iou, "recall": scores.class_accuracy, "share": scores.pixel_shares}
    return write_page(
        out,
        "segmentation",
        classes=classes,
        confusion=scores.confusion,
        matrix=charts.confusion_shares,
        headline=_headline(scores),
        rows=class_rows(shares, name=classes, color=list(map(css, colors))),
        groups=groups_of(examples, lambda example: _shown(example, classes, colors, scores)),
        doubt=picture_uri(doubt_scale(SIDE), SIDE),
        **page,
    )


def _headline(scores: SegmentationScores) -> dict[str, str]:
    ignored = 1 - int(scores.confusion.sum()) / scores.pixels if scores.pixels else math.nan
    return {
        "miou": percentage(scores.miou),
        "occurring": f"{np.count_nonzero(~np.isnan(scores.iou)):,}",
        "classes": f"{scores.classes:,}",
        "images": f"{scores.images:,}",
        "pixel_accuracy": percentage(scores.pixel_accuracy),
        "class_accuracy": percentage(scores.mean_class_accuracy),
        "weighted_iou": percentage(scores.frequency_weighted_iou),
        "ignored": percentage(ignored),
    }


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
        "miou": percentage(example.score),
        "accuracy": percentage(own.pixel_accuracy),
        "panels": {
            caption: picture_uri(picture, SIDE)
            for caption, picture in panels(example, colors, scores).items()
        },
        "classes": [
            {"name": classes[i], "color": css(colors[i]), "iou": percentage(float(own.iou[i]))}
            for i in hardest
            if not np.isnan(own.iou[i])
        ],
    }


def colors_of(data: Any) -> list[Color]:
    """Each class's color."""
    return data.colors


def labeled(tile: Tile, sample: Any, data: Any, colors: Sequence[Color]) -> Tile:
    """An image of the data set under its mask."""
    small, mask = fitting(tile.picture), Image.fromarray(data.read_mask(sample[1]))
    reduced = np.asarray(mask.resize(small.size, Image.Resampling.NEAREST))
    every = [*colors, *[VOID] * (256 - len(colors))]
    return tile._replace(picture=overlay(small, reduced, every))
