"""The page that tells how good a model became: curves, confusion, classes, the worst mistakes.

`report.html` holds all of it, pictures included, so that it can be mailed or kept; the same charts
lie beside it as PNG files in `report/`.
"""

import base64
import io
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mobilevitv2.errors import ImageError, require
from mobilevitv2.predictions import percent
from mobilevitv2.source import write_atomic
from mobilevitv2.training import charts

TEMPLATE = Path(__file__).with_name("report.html.jinja")
MOST_CELLS = 40  # classes; beyond, a confusion matrix can't be read
MOST_PAIRS = 20
MOST_MISTAKES = 24
THUMBNAIL = 256  # px, longest side
PACKAGES = ("mobilevitv2", "torch", "torchvision", "lightning", "numpy", "pillow")


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

    page = _environment().from_string(TEMPLATE.read_text(encoding="utf-8"))
    html = page.render(
        title=title,
        headline=_headline(targets, probabilities),
        figures={name: _figure(png) for name, png in figures.items()},
        pairs=_pairs(confusion, classes) if len(classes) > MOST_CELLS else [],
        rows=_class_rows(targets, predicted, classes),
        mistakes=_mistakes(targets, probabilities, classes, images, name_of),
        settings={name: _plain(value) for name, value in settings.items()},
        timing={
            name.removesuffix("seconds").strip(" _") or "time": _plain_time(name, value)
            for name, value in timing.items()
        },
        versions=_versions(),
    )
    folder = out / "report"
    (folder if figures else out).mkdir(parents=True, exist_ok=True)
    for name, png in figures.items():
        write_atomic(folder / f"{name}.png", png)
    path = out / "report.html"
    write_atomic(path, html.encode())
    return path


def _environment() -> Any:
    jinja2 = require("jinja2", extra="train")
    return jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
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


def _pairs(confusion: np.ndarray, classes: Sequence[str]) -> list[dict[str, Any]]:
    """The kinds of mistake that happen most often."""
    wrong = confusion.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:MOST_PAIRS]
    cells = [divmod(int(index), len(classes)) for index in order]
    return [
        {
            "true": classes[i],
            "predicted": classes[j],
            "count": int(wrong[i, j]),
            "share": f"{100 * wrong[i, j] / confusion[i].sum():.0f} %",
        }
        for i, j in cells
        if wrong[i, j] > 0
    ]


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
        image = images(index).convert("RGB")
    except (ImageError, OSError):  # moved or damaged since; the rest of the page still counts
        return None
    tiny = max(image.size) < THUMBNAIL // 4
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    file = io.BytesIO()
    kind = "png" if tiny else "jpeg"
    image.save(file, kind)
    return _data_uri(file.getvalue(), kind)


def _figure(png: bytes) -> dict[str, Any]:
    with Image.open(io.BytesIO(png)) as image:
        inches = image.width / charts.DPI
    return {"uri": _data_uri(png, "png"), "inches": round(inches, 2)}


def _data_uri(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _plain(value: Any) -> str:
    if value is None:
        return "–"  # noqa: RUF001 - a dash in a table
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
    return ", ".join(map(_plain, value)) if isinstance(value, list | tuple) else str(value)


def _plain_time(name: str, value: Any) -> str:
    if not name.endswith("seconds") or isinstance(value, str):
        return _plain(value)
    if value < 60:
        return f"{value:.1f} s"
    minutes, seconds = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"


def _versions() -> dict[str, str]:
    found = {"Python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found | {"machine": f"{platform.system()} {platform.machine()}"}
