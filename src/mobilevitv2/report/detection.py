"""The page that tells how well objects are found: curves, classes, what is missed, examples."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mobilevitv2.report import charts
from mobilevitv2.report.boxed_panels import SIDE, BoxedExample, panels
from mobilevitv2.report.page import (
    MOST_CELLS,
    confused_pairs,
    picture_uri,
    telling_examples,
    write_page,
)
from mobilevitv2.results.colors import Color
from mobilevitv2.scores.detection import RECALLS, DetectionScores

MOST_COUNTED = 9_999  # boxes; beyond, a confusion matrix holds percentages
BACKGROUND = "background"


def write_detection_report(
    out: Path,
    *,
    history: list[dict[str, float]],
    classes: Sequence[str],
    colors: Sequence[Color],
    scores: DetectionScores,
    examples: Sequence[BoxedExample],
    title: str,
    settings: Mapping[str, Any],
    timing: Mapping[str, Any],
) -> Path:
    """Write out/report.html and out/report/*.png; returns the page's path.

    `scores` are of the validation images, of which `examples` may be all or some: those that
    `telling_examples` picks by their F1 are shown. `history` has a row for each epoch; its numbers
    that end in loss, val_map, val_map_50, and lr, are drawn. Numbers of seconds in `timing` are
    those whose name ends in seconds.
    """
    if not len(classes) == len(colors) == len(scores.classes):
        raise ValueError(
            f"There are {len(classes)} names of classes and {len(colors)} colors, but the scores "
            f"are of {len(scores.classes)} classes."
        )
    confusion = scores.confusion()
    names = [*classes, BACKGROUND]
    counted = bool(confusion.max() <= MOST_COUNTED)
    figures: dict[str, bytes] = {}
    if len(history) > 1:
        figures["map"] = charts.map_curves(history)
        figures["loss"] = charts.loss_curves(history)
        figures["learning_rate"] = charts.learning_rate(history)
    if scores.objects[0].any():
        figures["precision_recall"] = charts.precision_recall(
            RECALLS, scores.precision, classes, colors
        )
    if len(names) <= MOST_CELLS:
        matrix = charts.confusion_matrix if counted else charts.confusion_shares
        figures["confusion"] = matrix(confusion, names)
    chosen = telling_examples([example.f1 for example in examples])
    return write_page(
        out,
        "detection.html.jinja",
        figures,
        title=title,
        headline=_headline(scores, confusion),
        threshold=f"{100 * scores.threshold:g} %",
        pairs=confused_pairs(confusion, names) if len(names) > MOST_CELLS else [],
        counted=counted,
        rows=_class_rows(scores, confusion, classes, colors),
        groups={
            kind: [_shown(examples[index], classes, colors, scores) for index in indices]
            for kind, indices in chosen.items()
        },
        settings=settings,
        timing=timing,
    )


def _headline(scores: DetectionScores, confusion: np.ndarray) -> dict[str, str]:
    summary = scores.summary
    found, right = int(confusion[:, :-1].sum()), int(np.diagonal(confusion)[:-1].sum())
    objects = int(scores.objects[0].sum())
    sizes = [_number(100 * summary[f"map_{size}"]) for size in ("small", "medium", "large")]
    return {
        "map": _percent(summary["map"]),
        "map_50": _percent(summary["map_50"]),
        "map_75": _percent(summary["map_75"]),
        "recall": _percent(summary["mar_100"]),
        "sizes": " / ".join(sizes),
        "occurring": f"{np.count_nonzero(scores.objects[0]):,}",
        "images": f"{scores.images:,}",
        "objects": f"{objects:,}",
        "found": f"{right:,} of {objects:,}",
        "false": f"{found - right:,} of {found:,}",
    }


def _class_rows(
    scores: DetectionScores,
    confusion: np.ndarray,
    classes: Sequence[str],
    colors: Sequence[Color],
) -> list[dict[str, Any]]:
    """The figures of each class, None where undefined; worst average precision first."""
    right = np.diagonal(confusion)[:-1].astype(float)
    with np.errstate(invalid="ignore"):
        precision = right / confusion[:, :-1].sum(0)
        recall = right / scores.objects[0]
    columns = {"ap": scores.ap, "ap_50": scores.ap_50, "precision": precision, "recall": recall}
    rows = [
        {
            "name": name,
            "color": "#{:02x}{:02x}{:02x}".format(*colors[i]),
            "objects": int(scores.objects[0, i]),
            "found": int(right[i]),
        }
        | {key: _known(100 * values[i]) for key, values in columns.items()}
        for i, name in enumerate(classes)
    ]
    return sorted(rows, key=lambda row: 101 if row["ap"] is None else row["ap"])


def _shown(
    example: BoxedExample,
    classes: Sequence[str],
    colors: Sequence[Color],
    scores: DetectionScores,
) -> dict[str, Any]:
    drawn = panels(example, classes, colors, scores.threshold)
    return {
        "name": example.name,
        "f1": _percent(example.f1),
        "counts": {"right": drawn.right, "missed": drawn.missed, "wrong": drawn.wrong},
        "panels": {
            "truth": picture_uri(drawn.truth, SIDE),
            "found": picture_uri(drawn.found, SIDE),
        },
    }


def _known(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.1f}"  # noqa: RUF001 - a dash


def _percent(share: float) -> str:
    return _number(100 * share) + ("" if math.isnan(share) else " %")
