"""The page that tells how good a model became: curves, confusion, classes, the worst mistakes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mobilevitv2.errors import ImageError, require
from mobilevitv2.predictions import percent
from mobilevitv2.training import charts
from mobilevitv2.training.page import MOST_CELLS, confused_pairs, picture_uri, write_page

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
    targets: Sequence[int] | np.ndarray,
    probabilities: np.ndarray,
    images: Callable[[int], Image.Image],
    names: Callable[[int], str] | Sequence[str],
    title: str,
    settings: Mapping[str, Any],
    timing: Mapping[str, Any],
) -> Path:
    """Write out/report.html and out/report/*.png; returns the page's path.

    `targets` int [N] and `probabilities` [N, classes] in [0, 1] are of the validation images, which
    `images(i)` opens and `names` calls. `history` has a row for each epoch; its numbers that end in
    loss, accuracy or top5, and lr, are drawn. Numbers of seconds in `timing` are those whose name
    ends in seconds.
    """
    targets, probabilities = np.asarray(targets), np.asarray(probabilities)
    if len(targets) == 0 or probabilities.shape != (len(targets), len(classes)):
        raise ValueError(
            f"{len(targets)} targets and {len(classes)} classes need probabilities of shape "
            f"[{len(targets)}, {len(classes)}] and one image at least, not {probabilities.shape}."
        )
    name_of = names if callable(names) else names.__getitem__
    predicted = probabilities.argmax(1)
    metrics = require("sklearn.metrics", extra="train")
    confusion = metrics.confusion_matrix(targets, predicted, labels=range(len(classes)))

    figures: dict[str, bytes] = {}
    if len(history) > 1:
        figures["loss"] = charts.loss_curves(history)
        figures["accuracy"] = charts.accuracy_curves(history)
        figures["learning_rate"] = charts.learning_rate(history)
    if len(classes) <= MOST_CELLS:
        figures["confusion"] = charts.confusion_matrix(confusion, classes)

    return write_page(
        out,
        "report.html.jinja",
        figures,
        title=title,
        headline=_headline(targets, probabilities),
        pairs=confused_pairs(confusion, classes) if len(classes) > MOST_CELLS else [],
        rows=_class_rows(targets, predicted, classes),
        mistakes=_mistakes(targets, probabilities, classes, images, name_of),
        settings=settings,
        timing=timing,
    )


def _headline(targets: np.ndarray, probabilities: np.ndarray) -> dict[str, Any]:
    stats = require("scipy.stats", extra="train")
    metrics = require("sklearn.metrics", extra="train")
    predicted = probabilities.argmax(1)
    count, right = len(targets), int((predicted == targets).sum())
    interval = stats.binomtest(right, count).proportion_ci(method="wilson")
    classes = probabilities.shape[1]
    five = np.argpartition(-probabilities, 4, axis=1)[:, :5] if classes > 5 else None
    scores = metrics.f1_score(
        targets, predicted, average="macro", labels=np.unique(targets), zero_division=0
    )
    return {
        "accuracy": f"{100 * right / count:.1f} %",
        "low": f"{100 * interval.low:.1f}",
        "high": f"{100 * interval.high:.1f} %",
        "right": f"{right:,}",
        "count": f"{count:,}",
        "classes": f"{classes:,}",
        "top5": None if five is None else f"{100 * (five == targets[:, None]).any(1).mean():.1f} %",
        "macro_f1": f"{100 * scores:.1f} %",
    }


def _class_rows(
    targets: np.ndarray, predicted: np.ndarray, classes: Sequence[str]
) -> list[dict[str, Any]]:
    """Precision, recall and F1 of each class, None where they are undefined; worst F1 first."""
    metrics = require("sklearn.metrics", extra="train")
    columns = metrics.precision_recall_fscore_support(
        targets, predicted, labels=range(len(classes)), zero_division=np.nan
    )
    rows = [
        {"name": name, "support": int(support)}
        | {
            key: None if np.isnan(value) else round(100 * float(value), 1)
            for key, value in zip(("precision", "recall", "f1"), values, strict=True)
        }
        for name, *values, support in zip(classes, *columns, strict=True)
    ]
    return sorted(rows, key=lambda row: 101 if row["f1"] is None else row["f1"])


def _mistakes(
    targets: np.ndarray,
    probabilities: np.ndarray,
    classes: Sequence[str],
    images: Callable[[int], Image.Image],
    name_of: Callable[[int], str],
) -> list[Mistake]:
    """The wrong predictions with the highest loss, that is, the least probability of the truth."""
    predicted = probabilities.argmax(1)
    p_true = probabilities[np.arange(len(targets)), targets]
    wrong = np.flatnonzero(predicted != targets)
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
