"""What is particular to segmentation on a report's page and in the pictures of a data set."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mobilevitv2.class_names import Color
from mobilevitv2.errors import require
from mobilevitv2.report import charts
from mobilevitv2.report.contact_sheet import VOID, Tile, fitting
from mobilevitv2.report.page import (
    WRONG,
    check_classes,
    class_rows,
    css,
    groups_of,
    percentage,
    picture_uri,
    shrunk,
    write_page,
)
from mobilevitv2.results.colors import overlay, painted
from mobilevitv2.results.label_maps import nearest
from mobilevitv2.scores.segmentation import SegmentationScores

HARDEST = 5  # classes of an example that are named
SIDE = 480  # px, longest side of a panel
STRIPE = 6  # px
DARK, LESS_DARK = (24, 27, 33), (62, 68, 79)


@dataclass(frozen=True)
class Example:
    """An image with masks [H, W] of class numbers at its size; `score` is its mIoU.

    `certainty` [H, W] in [0, 1] is the probability of the predicted class. Raises ValueError where
    sizes differ.
    """

    name: str
    image: Image.Image
    truth: np.ndarray
    predicted: np.ndarray
    score: float
    certainty: np.ndarray | None = None

    def __post_init__(self) -> None:
        masks = [self.truth, self.predicted, self.certainty]
        shapes = [mask.shape for mask in masks if mask is not None]
        own = (self.image.height, self.image.width)
        if strange := [shape for shape in shapes if shape != own]:
            raise ValueError(f"{self.name} is {own} px, [H, W], but has a mask of {strange[0]}.")


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
    example: Example, classes: Sequence[str], colors: Sequence[Color], scores: SegmentationScores
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


def panels(
    example: Example, colors: Sequence[Color], scores: SegmentationScores
) -> dict[str, Image.Image]:
    """RGB images of one size by caption; `scores` says which pixels of the truth count."""
    image = shrunk(example.image, SIDE)
    size = image.height, image.width
    truth, predicted = nearest(example.truth, size), nearest(example.predicted, size)
    counted = scores.counted(truth)
    found = {
        "image": image,
        "truth": _hatched(overlay(image, np.where(counted, truth, 0), colors), counted),
        "prediction": overlay(image, predicted, colors),
        "wrong": _hatched(_errors(image, predicted != truth), counted),
    }
    if example.certainty is not None:
        certainty = Image.fromarray(example.certainty.astype(np.float32)).resize(image.size)
        found["unsure"] = _heat(1 - np.asarray(certainty), len(colors))
    return found


def doubt_scale(width: int) -> Image.Image:
    """The colors of doubt, from none on the left to a mere guess on the right."""
    return _heat(np.linspace(0, 1, width)[None].repeat(2, axis=0), 0)


def _errors(image: Image.Image, wrong: np.ndarray) -> Image.Image:
    """Wrong pixels in red on a faint gray image."""
    gray = Image.blend(
        image.convert("L").convert("RGB"), Image.new("RGB", image.size, "white"), 0.6
    )
    return Image.composite(Image.new("RGB", image.size, WRONG), gray, Image.fromarray(wrong))


def _hatched(picture: Image.Image, counted: np.ndarray) -> Image.Image:
    """Dark stripes where pixels don't count."""
    height, width = counted.shape
    stripes = (np.arange(height)[:, None] + np.arange(width)) // STRIPE % 2
    return Image.composite(picture, painted(stripes, [DARK, LESS_DARK]), Image.fromarray(counted))


def _heat(doubt: np.ndarray, classes: int) -> Image.Image:
    """Doubt in [0, 1]; a guess among all classes is the brightest."""
    colormaps = require("matplotlib", extra="train").colormaps
    most = 1 - 1 / classes if classes > 1 else 1
    return Image.fromarray(colormaps["inferno"](doubt / most, bytes=True)[..., :3])


def colors_of(data: Any) -> list[Color]:
    """Each class's color."""
    return data.colors


def labeled(tile: Tile, sample: Any, data: Any, colors: Sequence[Color]) -> Tile:
    """An image of the data set under its mask."""
    small, mask = fitting(tile.picture), Image.fromarray(data.read_mask(sample[1]))
    reduced = np.asarray(mask.resize(small.size, Image.Resampling.NEAREST))
    every = [*colors, *[VOID] * (256 - len(colors))]
    return tile._replace(picture=overlay(small, reduced, every))
