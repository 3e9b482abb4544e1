"""What is particular to classification on a report's page and in the pictures of a data set."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mobilevitv2.class_names import Color
from mobilevitv2.report.contact_sheet import Tile, fitting
from mobilevitv2.report.page import Labels, class_rows, gallery, percentage, write_page
from mobilevitv2.scores.classification import ClassificationScores

MOST_MISTAKES = 24


def write(
    out: Path,
    *,
    classes: Sequence[str],
    scores: ClassificationScores,
    probabilities: np.ndarray,
    images: Callable[[int], Image.Image],
    names: list[str],
    **page: Any,
) -> Path:
    """Write a classifier's page: curves, confusion, classes, the worst mistakes; see `write_page`.

    `scores`, `probabilities` [M, N] in [0, 1] and `names` are of M images, which `images(i)` opens.
    """
    shares = {"f1": scores.f1, "precision": scores.precision, "recall": scores.recall}
    return write_page(
        out,
        "classification",
        classes=classes,
        confusion=scores.confusion,
        headline=_headline(scores),
        rows=class_rows(shares, name=classes, support=scores.support.tolist()),
        mistakes=gallery(_mistakes(scores, probabilities, classes), names, images),
        **page,
    )


def _headline(scores: ClassificationScores) -> dict[str, Any]:
    low, high = scores.interval
    return {
        "accuracy": percentage(scores.accuracy),
        "low": f"{100 * low:.1f}",
        "high": percentage(high),
        "right": f"{scores.right.sum():,}",
        "count": f"{len(scores.true):,}",
        "classes": f"{scores.classes:,}",
        "top5": None if scores.top5 is None else percentage(scores.top5),
        "macro_f1": percentage(scores.macro_f1),
    }


def _mistakes(
    scores: ClassificationScores, probabilities: np.ndarray, classes: Sequence[str]
) -> dict[int, Labels]:
    """The wrong predictions with the highest loss, that is, the least probability of the truth."""
    targets, predicted = scores.true, scores.predicted
    p_true = probabilities[np.arange(len(targets)), targets]
    wrong = np.flatnonzero(~scores.right)
    worst = wrong[np.argsort(p_true[wrong], kind="stable")][:MOST_MISTAKES]
    return {
        i: {
            "wrong": [(classes[int(predicted[i])], float(probabilities[i, predicted[i]]))],
            "right": [(classes[int(targets[i])], float(p_true[i]))],
        }
        for i in worst.tolist()
    }


def colors_of(data: Any) -> list[Color]:
    """Empty: an image's class is written below it."""
    return []


def labeled(tile: Tile, sample: Any, data: Any, colors: Sequence[Color]) -> Tile:
    """An image of the data set with its class."""
    label = data.caption(sample)
    name, words = (f"{label}: {tile.name}", tile.words) if tile.words else (label, tile.name)
    return Tile(fitting(tile.picture), name, words)
