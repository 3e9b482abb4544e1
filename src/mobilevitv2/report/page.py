"""What the pages about runs and evaluations share: look, curves, confusion, examples, settings.

A page is one HTML file that can be mailed or kept; its charts also lie beside it as PNG files.
"""

import base64
import io
import math
import platform
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mobilevitv2.class_names import Color
from mobilevitv2.devices import versions_of
from mobilevitv2.errors import ImageError, require
from mobilevitv2.files.writing import write_atomic
from mobilevitv2.report import charts
from mobilevitv2.results.drawing import percent

MOST_CELLS = 40  # classes; beyond, a confusion matrix can't be read
MOST_PAIRS = 20
THUMBNAIL = 256  # px, longest side of a mistake's picture
EACH = 2  # examples of the worst, of the middle, of the best
WRONG: Color = (220, 38, 38)  # in pictures
PACKAGES = ("mobilevitv2", "torch", "torchvision", "lightning", "numpy", "pillow")

Labels = dict[str, list[tuple[str, float]]]
"""Of an image with mistakes: the names and probabilities of `wrong`, `right` and `missed` ones."""


def write_page(
    out: Path,
    task: str,
    *,
    classes: Sequence[str],
    confusion: np.ndarray | None = None,
    matrix: Callable[[np.ndarray, Sequence[str]], bytes] = charts.confusion_matrix,
    history: Sequence[Mapping[str, float]],
    settings: Mapping[str, Any],
    timing: Mapping[str, Any],
    figures: Mapping[str, bytes] | None = None,
    **values: Any,
) -> Path:
    """Write out/report.html and out/report/*.png; returns the page's path.

    `task` names a template beside this file, which gets the `values`. `confusion` counts [true,
    predicted], if classes exclude each other, drawn by `matrix`; for many classes the most frequent
    mistakes are listed instead.
    `history` has a row for each epoch. Numbers of seconds in `timing` have a name that ends in
    seconds. `figures` are more PNGs by name.
    """
    figures = {**charts.learning_curves(history), **(figures or {})}
    many = len(classes) > MOST_CELLS
    if confusion is not None and not many:
        figures["confusion"] = matrix(confusion, classes)
    jinja2 = require("jinja2", extra="train")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    html = environment.get_template(f"{task}.html.jinja").render(
        **values,
        pairs=_confused_pairs(confusion, classes) if many and confusion is not None else [],
        figures={name: _figure(png) for name, png in figures.items()},
        curves={name: title for name, (title, _) in charts.CURVES.items()},
        settings={name: _plain(value) for name, value in settings.items()},
        timing={
            name.removesuffix("seconds").strip(" _") or "time": _plain_time(name, value)
            for name, value in timing.items()
        },
        versions={
            "Python": platform.python_version(),
            **versions_of(PACKAGES),
            "machine": f"{platform.system()} {platform.machine()}",
        },
    )
    folder = out / "report"
    (folder if figures else out).mkdir(parents=True, exist_ok=True)
    for name, png in figures.items():
        write_atomic(folder / f"{name}.png", png)
    path = out / "report.html"
    write_atomic(path, html.encode())
    return path


def class_rows(shares: Mapping[str, np.ndarray], **others: Sequence[Any]) -> list[dict[str, Any]]:
    """A row of the table for each class, the worst by the first of the `shares` first.

    Shares [N] in [0, 1] become percentages, None where nothing defines them; `others` [N] stay.
    """
    percents = {
        name: [None if math.isnan(share) else 100 * float(share) for share in column]
        for name, column in shares.items()
    }
    columns = {**others, **percents}
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    first = next(iter(shares))
    return sorted(rows, key=lambda row: math.inf if row[first] is None else row[first])


def check_classes(classes: Sequence[str], colors: Sequence[Color], count: int) -> None:
    """Raises ValueError where names or colors aren't those of the scores' classes."""
    if not len(classes) == len(colors) == count:
        raise ValueError(
            f"There are {len(classes)} class names and {len(colors)} colors, but the scores are "
            f"for {count} classes."
        )


def shrunk(image: Image.Image, side: int) -> Image.Image:
    """The RGB image with a longest side of at most `side` [px]."""
    scale = min(1, side / max(image.size))
    width, height = (max(1, round(length * scale)) for length in image.size)
    return image.convert("RGB").resize((width, height), Image.Resampling.BOX)


def picture_uri(image: Image.Image, longest_side: int) -> str:
    """A data URI of the RGB image, shrunk to at most `longest_side` px."""
    tiny = max(image.size) < longest_side // 4
    image = image.copy()
    image.thumbnail((longest_side, longest_side))
    file = io.BytesIO()
    kind = "png" if tiny else "jpeg"
    image.save(file, kind)
    return _data_uri(file.getvalue(), kind)


def gallery(
    mistakes: Mapping[int, Labels], names: list[str], images: Callable[[int], Image.Image]
) -> list[dict[str, Any]]:
    """What the page shows of images with mistakes; `images(i)` opens the one with `names[i]`."""
    shown = []
    for i, labels in mistakes.items():
        try:
            uri = picture_uri(images(i).convert("RGB"), THUMBNAIL)
        except (ImageError, OSError):  # moved or damaged since; the rest of the page still counts
            uri = None
        rows = [(kind, label, percent(p)) for kind, some in labels.items() for label, p in some]
        shown.append({"name": names[i], "picture": uri, "labels": rows})
    return shown


def told_of(scores: Mapping[int, float]) -> list[int]:
    """The keys of those that `telling_examples` picks, worst first."""
    keys = list(scores)
    groups = telling_examples(list(scores.values()))
    return [keys[i] for group in groups.values() for i in group]


def groups_of(examples: Sequence[Any], show: Callable[[Any], Any]) -> dict[str, list[Any]]:
    """What `show` makes of the examples that `telling_examples` picks by their `score`."""
    chosen = telling_examples([example.score for example in examples])
    return {kind: [show(examples[i]) for i in indices] for kind, indices in chosen.items()}


def telling_examples(scores: Sequence[float]) -> dict[str, list[int]]:
    """Which images to look at, by their own score: the worst, some in the middle, the best.

    None is named twice; where there are few, the worst come first. Images without a score, nan,
    have nothing that counts and are left out.
    """
    known = [index for index, score in enumerate(scores) if not math.isnan(score)]
    order = sorted(known, key=scores.__getitem__)
    worst, rest = order[:EACH], order[EACH:]
    best, rest = rest[-EACH:][::-1], rest[:-EACH]
    start = max(0, len(rest) - EACH) // 2
    return {"worst": worst, "median": rest[start : start + EACH], "best": best}


def number(value: float) -> str:
    """With one decimal; a dash for nan."""
    return "–" if math.isnan(value) else f"{value:.1f}"  # noqa: RUF001 - a dash


def percentage(share: float) -> str:
    """A share in [0, 1] in percent; a dash for nan."""
    return number(100 * share) + ("" if math.isnan(share) else " %")


def css(color: Color) -> str:
    """A color as CSS writes it."""
    return "#{:02x}{:02x}{:02x}".format(*color)


def _confused_pairs(confusion: np.ndarray, classes: Sequence[str]) -> list[dict[str, Any]]:
    """The most frequent mistakes, from counts [true, predicted]."""
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
