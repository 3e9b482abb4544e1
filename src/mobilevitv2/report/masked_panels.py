"""One segmented image side by side: itself, truth, prediction, errors, doubt."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from mobilevitv2.errors import require
from mobilevitv2.results.colors import Color, overlay, painted
from mobilevitv2.scores.segmentation import SegmentationScores

SIDE = 480  # px, longest side of a panel
STRIPE = 6  # px
WRONG, DARK, LESS_DARK = (220, 38, 38), (24, 27, 33), (62, 68, 79)


@dataclass(frozen=True)
class Example:
    """An image of a report with masks [H, W] of class numbers at its size; `score` is its mIoU.

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


def panels(
    example: Example, colors: Sequence[Color], scores: SegmentationScores
) -> dict[str, Image.Image]:
    """RGB images of one size by caption; `scores` says which pixels of the truth count."""
    image = shrunk(example.image, SIDE)
    truth, predicted = (_resized(mask, image.size) for mask in (example.truth, example.predicted))
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


def shrunk(image: Image.Image, side: int) -> Image.Image:
    """The RGB image with a longest side of at most `side` [px]."""
    scale = min(1, side / max(image.size))
    width, height = (max(1, round(length * scale)) for length in image.size)
    return image.convert("RGB").resize((width, height), Image.Resampling.BOX)


def doubt_scale(width: int) -> Image.Image:
    """The colors of doubt, from none on the left to a mere guess on the right."""
    return _heat(np.linspace(0, 1, width)[None].repeat(2, axis=0), 0)


def _resized(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """[H, W] to (width, height) by the nearest pixels."""
    width, height = size
    rows = (np.arange(height) + 0.5) * mask.shape[0] // height
    columns = (np.arange(width) + 0.5) * mask.shape[1] // width
    return mask[rows.astype(int)[:, None], columns.astype(int)]


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
