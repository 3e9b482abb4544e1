"""The charts of a report, each as a PNG's bytes; drawn without matplotlib's global state."""

import io
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mobilevitv2.class_names import Color
from mobilevitv2.errors import require

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 160
PAPER, INK, FAINT, GRID = "#ffffff", "#1d2430", "#6b7482", "#e6e9ee"
BLUE, TEAL, GRAY = "#2563eb", "#0d9488", "#9aa5b5"
CURVES = {  # charts of a history: title, and what is drawn, with its name in the legend
    "accuracy": ("Accuracy", {"val_accuracy": "validation", "val_top5": "validation top 5"}),
    "miou": ("Mean IoU", {"val_miou": "validation"}),
    "map": (
        "Mean average precision",
        {"val_map": "at IoU 0.5 to 0.95", "val_map_50": "at IoU 0.5"},
    ),
    "macro_f1": ("Macro F1", {"val_macro_f1": "validation"}),
    "loss": ("Loss", {"train_loss": "training", "val_loss": "validation"}),
    "learning_rate": ("Learning rate", {"lr": "learning rate"}),
}
COLORS = {"train_loss": GRAY, "val_top5": TEAL, "val_map_50": TEAL}  # the others are blue
PLAIN = ("Loss", "Learning rate")  # the others are in percent
MOST_CURVES = 12  # classes with a curve each, in their colors
BEST = ("val_accuracy", "val_miou", "val_map")  # one of them judges the run
LONGEST_NAME = 22  # letters


def learning_curves(history: Sequence[Mapping[str, float]]) -> dict[str, bytes]:
    """A chart by epoch for each of `CURVES` that the history has; none for a single epoch.

    The best epoch by the score that judges the run is marked.
    """
    if len(history) < 2:
        return {}
    there = [name for name, (_, curves) in CURVES.items() if curves.keys() & history[0].keys()]
    return {name: _lines(history, *CURVES[name]) for name in there}


def precision_recall(
    recalls: np.ndarray, precision: np.ndarray, classes: Sequence[str], colors: Sequence[Color]
) -> bytes:
    """A curve for each class of `precision` [R, N] at `recalls` [R], both in [0, 1], and the mean.

    Classes of nan, which have nothing to find, get none.
    """
    there = np.flatnonzero(~np.isnan(precision).any(axis=0))
    few = len(there) <= MOST_CURVES
    figure, axes = _figure(6, 3.6)
    for i in there.tolist():
        color = np.array(colors[i]) / 255 if few else GRID
        name = _literal(classes[i]) if few else None
        curve = np.where(precision[:, i] > 0, 100 * precision[:, i], np.nan)  # as far as it gets
        axes.plot(100 * recalls, curve, color=color, linewidth=1.8, label=name)
    if len(there) > 1:
        mean = 100 * precision[:, there].mean(axis=1)
        dashes = (0, (4, 2)) if few else "solid"
        name = "mean" if few else f"mean of {len(there)} classes"
        axes.plot(100 * recalls, mean, color=INK, linewidth=1.8, linestyle=dashes, label=name)
    axes.set_xlim(0, 100)
    axes.set_ylim(0, 102)
    axes.set_xlabel("recall (%)", color=FAINT)
    axes.set_ylabel("precision (%)", color=FAINT)
    _plain_axes(axes)
    axes.legend(
        frameon=False, fontsize=9, labelcolor=INK, loc="upper left", bbox_to_anchor=(1.01, 1.02)
    )
    return _png(figure)


def confusion_matrix(confusion: np.ndarray, classes: Sequence[str]) -> bytes:
    """`confusion` int [true, predicted]; shaded by the share of the true class."""
    return _matrix(_shares(confusion), [[str(n or "") for n in row] for row in confusion], classes)


def confusion_shares(confusion: np.ndarray, classes: Sequence[str]) -> bytes:
    """`confusion` int [true, predicted], as percentages of the true class; below 0.5 % is blank."""
    shares = _shares(confusion)
    texts = [[f"{100 * share:.0f}" if share >= 0.005 else "" for share in row] for row in shares]
    return _matrix(shares, texts, classes)


def _shares(confusion: np.ndarray) -> np.ndarray:
    return confusion / np.maximum(confusion.sum(1, keepdims=True), 1)


def _matrix(shares: np.ndarray, texts: list[list[str]], classes: Sequence[str]) -> bytes:
    count = len(classes)
    side = max(4.5, 1.6 + 0.35 * count) if count > 5 else 1.6 + 0.62 * count
    figure, axes = _figure(side + 0.4, side)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    size = 9 if count <= 15 else 8
    if count <= 30:
        for (i, j), share in np.ndenumerate(shares):
            color = "white" if share > 0.55 else INK
            axes.text(j, i, texts[i][j], ha="center", va="center", fontsize=size, color=color)
    labels = [_literal(name) for name in classes]
    longest = max(map(len, labels))
    upright = longest <= 2 or (count <= 6 and longest <= 11)
    turned: dict[str, Any] = {} if upright else {"rotation": 45, "ha": "right"}
    axes.set_xticks(range(count), labels, fontsize=size, rotation_mode="anchor", **turned)
    axes.set_yticks(range(count), labels, fontsize=size)
    axes.set_xticks(np.arange(1, count) - 0.5, minor=True)
    axes.set_yticks(np.arange(1, count) - 0.5, minor=True)
    axes.grid(which="minor", color=PAPER, linewidth=1)
    axes.tick_params(which="both", length=0, labelcolor=INK)
    axes.set_xlabel("predicted", color=FAINT)
    axes.set_ylabel("true", color=FAINT)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return _png(figure)


def _lines(history: Sequence[Mapping[str, float]], title: str, names: dict[str, str]) -> bytes:
    figure, axes = _figure(4, 2.8)
    epochs = [row.get("epoch", i + 1) for i, row in enumerate(history)]
    scale = 1 if title in PLAIN else 100
    keys = [key for key in names if key in history[0]]
    for key in keys:
        values = [scale * row.get(key, math.nan) for row in history]
        axes.plot(epochs, values, color=COLORS.get(key, BLUE), linewidth=1.8, label=names[key])
        if key in BEST and not np.isnan(values).all():
            top = int(np.nanargmax(values))
            axes.plot(epochs[top], values[top], "o", color=BLUE, markersize=5)
    unit = " (%)" if scale == 100 else ""
    axes.set_title(title + unit, loc="left", fontsize=11, color=INK, pad=10)
    axes.set_xlabel("epoch", color=FAINT)
    _plain_axes(axes)
    ticker = require("matplotlib.ticker", extra="train")
    axes.xaxis.set_major_locator(ticker.MaxNLocator(nbins=6, integer=True))
    if title == "Learning rate":
        axes.set_ylim(bottom=0)
        axes.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3), useMathText=True)
    if len(keys) > 1:
        axes.legend(frameon=False, fontsize=9, labelcolor=INK)
    return _png(figure)


def _plain_axes(axes: "Axes") -> None:
    """Level lines without a frame."""
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for name, spine in axes.spines.items():
        spine.set_visible(name == "bottom")
        spine.set_color(GRID)
    axes.tick_params(length=0, colors=FAINT)


def _literal(name: str) -> str:
    """A class name as matplotlib text: one short line without formulas."""
    name = " ".join(name.split()).replace("\\", "\\\\").replace("$", r"\$")
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1].rstrip()}…"


def _figure(width: float, height: float) -> "tuple[Figure, Axes]":
    figures: Any = require("matplotlib.figure", extra="train")
    backend: Any = require("matplotlib.backends.backend_agg", extra="train")
    figure = figures.Figure(figsize=(width, height), dpi=DPI, facecolor=PAPER, layout="constrained")
    backend.FigureCanvasAgg(figure)
    return figure, figure.add_subplot(facecolor=PAPER)


def _png(figure: "Figure") -> bytes:
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # the font lacks some scripts
        figure.savefig(file, format="png")
    return file.getvalue()
