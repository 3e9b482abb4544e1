"""The page that tells how good a model became: curves, confusion, classes, the worst mistakes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mobilevitv2.errors import ImageError
from mobilevitv2.report import charts
from mobilevitv2.report.page import MOST_CELLS, confused_pairs, picture_uri, write_page
from mobilevitv2.results import percent
from mobilevitv2.scores.classification import ClassificationScores

MOST_MISTAKES = 24
THUMBNAIL = 256  # px, longest side


@dataclass(frozen=True)
class Mistake:
    """A wrong prediction, for the page."""

    name: str
    true: str
    predicted: str
    p_true: str
    p_predicted: str
    picture: str | None  # a data URI


def write_report(
    out: Path,
    *,
    history: list[dict[str, float]],
    classes: Sequence[str],
    scores: ClassificationScores,
    probabilities: np.ndarray,
    images: Callable[[int], Image.Image],
    names: Callable[[int], str] | Sequence[str],
    title: str,
    settings: Mapping[str, Any],
    timing: Mapping[str, Any],
) -> Path:
    """Write out/report.html and out/report/*.png; returns the page's path.

    `scores` and `probabilities` [N, classes] in [0, 1] are of the validation images, which
    `images(i)` opens and `names` calls. `history` has a row for each epoch; its numbers that end in
    loss, accuracy or top5, and lr, are drawn. Numbers of seconds in `timing` are those whose name
    ends in seconds.
    """
    name_of = names if callable(names) else names.__getitem__
    confusion = scores.confusion
    figures: dict[str, bytes] = {}
    if len(history) > 1:
        figures["loss"] = charts.loss_curves(history)
        figures["accuracy"] = charts.accuracy_curves(history)
        figures["learning_rate"] = charts.learning_rate(history)
    if len(classes) <= MOST_CELLS:
        figures["confusion"] = charts.confusion_matrix(confusion, classes)

    return write_page(
        out,
        "classification.html.jinja",
        figures,
        title=title,
        headline=_headline(scores),
        pairs=confused_pairs(confusion, classes) if len(classes) > MOST_CELLS else [],
        rows=_class_rows(scores, classes),
        mistakes=_mistakes(scores, probabilities, classes, images, name_of),
        settings=settings,
        timing=timing,
    )


def _headline(scores: ClassificationScores) -> dict[str, Any]:
    low, high = scores.interval
    return {
        "accuracy": f"{100 * scores.accuracy:.1f} %",
        "low": f"{100 * low:.1f}",
        "high": f"{100 * high:.1f} %",
        "right": f"{scores.right.sum():,}",
        "count": f"{len(scores.true):,}",
        "classes": f"{scores.classes:,}",
        "top5": None if scores.top5 is None else f"{100 * scores.top5:.1f} %",
        "macro_f1": f"{100 * scores.macro_f1:.1f} %",
    }


def _class_rows(scores: ClassificationScores, classes: Sequence[str]) -> list[dict[str, Any]]:
    """Precision, recall and F1 of each class, None where they are undefined; worst F1 first."""
    columns = (scores.precision, scores.recall, scores.f1)
    rows = [
        {"name": name, "support": support}
        | {
            key: None if np.isnan(value) else round(100 * float(value), 1)
            for key, value in zip(("precision", "recall", "f1"), values, strict=True)
        }
        for name, support, *values in zip(classes, scores.support.tolist(), *columns, strict=True)
    ]
    return sorted(rows, key=lambda row: 101 if row["f1"] is None else row["f1"])


def _mistakes(
    scores: ClassificationScores,
    probabilities: np.ndarray,
    classes: Sequence[str],
    images: Callable[[int], Image.Image],
    name_of: Callable[[int], str],
) -> list[Mistake]:
    """The wrong predictions with the highest loss, that is, the least probability of the truth."""
    targets, predicted = scores.true, scores.predicted
    p_true = probabilities[np.arange(len(targets)), targets]
    wrong = np.flatnonzero(~scores.right)
    worst = wrong[np.argsort(p_true[wrong], kind="stable")][:MOST_MISTAKES]
    return [
        Mistake(
            name=name_of(i),
            true=classes[int(targets[i])],
            predicted=classes[int(predicted[i])],
            p_true=percent(float(p_true[i])),
            p_predicted=percent(float(probabilities[i, predicted[i]])),
            picture=_thumbnail(images, i),
        )
        for i in map(int, worst)
    ]


def _thumbnail(images: Callable[[int], Image.Image], index: int) -> str | None:
    try:
        return picture_uri(images(index).convert("RGB"), THUMBNAIL)
    except (ImageError, OSError):  # moved or damaged since; the rest of the page still counts
        return None
