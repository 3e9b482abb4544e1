"""What is particular to multi-label classification on a report's page."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mobilevitv2.report import charts
from mobilevitv2.report.classification import MOST_MISTAKES, colors_of, labeled
from mobilevitv2.report.page import Labels, class_rows, gallery, percentage, write_page
from mobilevitv2.results.colors import distinct_colors
from mobilevitv2.scores.multi_label import MultiLabelScores

__all__ = ["colors_of", "labeled", "write"]

RECALLS = np.linspace(0, 1, 101)  # at which the curves are drawn
LEAST = 1e-7  # a probability; less isn't worse


def write(
    out: Path,
    *,
    classes: Sequence[str],
    scores: MultiLabelScores,
    probabilities: np.ndarray,
    images: Callable[[int], Image.Image],
    names: list[str],
    **page: Any,
) -> Path:
    """Write a multi-label classifier's page: curves, classes, the worst mistakes; see `write_page`.

    `scores`, `probabilities` [M, N] in [0, 1] and `names` are of M images, which `images(i)` opens.
    """
    curves = (RECALLS, scores.precision_at(RECALLS), classes, distinct_colors(len(classes)))
    figures = {"precision_recall": charts.precision_recall(*curves)} if scores.truth.any() else {}
    shares = {
        "ap": scores.average_precision,
        "precision": scores.precision,
        "recall": scores.recall,
        "f1": scores.f1,
        "threshold": scores.thresholds,
    }
    return write_page(
        out,
        "multi_label",
        classes=classes,
        figures=figures,
        headline=_headline(scores),
        rows=class_rows(shares, name=classes, support=scores.support.tolist()),
        mistakes=gallery(_mistakes(scores, probabilities, classes), names, images),
        **page,
    )


def _headline(scores: MultiLabelScores) -> dict[str, str]:
    right = ((scores.scores > scores.thresholds) == scores.truth).all(1)
    return {
        "map": percentage(scores.map),
        "occurring": f"{np.count_nonzero(scores.support):,}",
        "images": f"{len(scores.truth):,}",
        "macro_f1": percentage(scores.macro_f1),
        "micro_f1": percentage(scores.micro_f1),
        "right": f"{right.sum():,} of {len(right):,}",
        "labels": f"{scores.truth.sum(1).mean():.1f}",
    }


def _mistakes(
    scores: MultiLabelScores, probabilities: np.ndarray, classes: Sequence[str]
) -> dict[int, Labels]:
    """The images with a wrong or missed label that have the highest loss."""
    truth, found = scores.truth, probabilities > scores.thresholds
    of_truth = np.where(truth, probabilities, 1 - probabilities).clip(LEAST)
    wrong = np.flatnonzero((found != truth).any(1))
    worst = wrong[np.argsort(np.log(of_truth[wrong]).sum(1), kind="stable")][:MOST_MISTAKES]

    def some(i: int, which: np.ndarray) -> list[tuple[str, float]]:
        return [(classes[c], float(probabilities[i, c])) for c in np.flatnonzero(which).tolist()]

    return {
        i: {
            "wrong": some(i, found[i] & ~truth[i]),
            "missed": some(i, truth[i] & ~found[i]),
            "right": some(i, truth[i] & found[i]),
        }
        for i in worst.tolist()
    }
