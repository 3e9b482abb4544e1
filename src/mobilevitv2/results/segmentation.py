"""The class of every pixel of an image, drawn over it or written as a lossless mask."""

import math
import os
from collections.abc import Sequence
from dataclasses import InitVar, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mobilevitv2.results import drawing
from mobilevitv2.results.colors import Color, class_colors, overlay
from mobilevitv2.results.drawing import INK, PAPER, percent
from mobilevitv2.results.result import ImageResult, check_numbers

FONT = 0.025  # of the picture's width
MOST_ROWS = 40  # classes in a legend
NAMED = 3  # classes in the result's name
LOSSLESS = (".png", ".tif", ".tiff")
FAINT = "#98a2b1"


@dataclass(frozen=True, eq=False)
class Segmentation(ImageResult):
    """The class of every pixel of one image.

    `mask` [H, W], at the image's own size, holds numbers into `classes`: uint8, or uint16 beyond
    255 classes. `colors` are RGB, by default `distinct_colors`. `certainty` [H, W] in [0, 1] is
    the probability of the chosen class. Raises ValueError if they don't match each other.
    """

    mask: np.ndarray = field(repr=False)
    classes: list[str]
    colors: list[Color] = field(default_factory=list, repr=False)
    source: str | None = None
    image: Image.Image | None = field(default=None, repr=False)
    certainty: np.ndarray | None = field(default=None, repr=False)
    colours: InitVar[Sequence[Color]] = ()  # how 0.1.0 spelled it

    def __post_init__(self, colours: Sequence[Color]) -> None:
        count = len(self.classes)
        if self.mask.ndim != 2 or self.mask.size == 0 or self.mask.dtype.kind not in "iu":
            raise ValueError(
                f"A mask must hold a class number for each pixel [H, W], but this is "
                f"{self.mask.dtype} of shape {self.mask.shape}."
            )
        check_numbers(self.mask, count)
        small = np.uint8 if count <= 255 else np.uint16  # 255 stays free to mean no class
        object.__setattr__(self, "mask", self.mask.astype(small, copy=False))
        object.__setattr__(self, "colors", class_colors(self.colors or colours, count))
        if self.certainty is not None and self.certainty.shape != self.mask.shape:
            raise ValueError(
                f"Certainty {self.certainty.shape} doesn't match the mask {self.mask.shape}."
            )

    @cached_property
    def shares(self) -> dict[str, float]:
        """The share of the pixels that each class in the image has, largest first."""
        counts = np.bincount(self.mask.ravel(), minlength=len(self.classes))
        found: dict[str, float] = {}
        for number in np.argsort(-counts, kind="stable")[: np.count_nonzero(counts)]:
            name = self.classes[number]  # classes of the same name count as one here
            found[name] = found.get(name, 0) + float(counts[number] / self.mask.size)
        return dict(sorted(found.items(), key=lambda item: -item[1]))

    @property
    def label(self) -> str:
        """The class with the most pixels."""
        return next(iter(self.shares))

    def __str__(self) -> str:
        named = [f"{name} {percent(share)}" for name, share in self.shares.items()]
        more = len(named) - NAMED
        return ", ".join(named[:NAMED]) + (f" and {more} more" if more > 0 else "")

    def to_dict(self) -> dict[str, Any]:
        """Plain values: source, width, height in px, shares."""
        height, width = self.mask.shape
        size = {"width": width, "height": height}
        return {"source": self.source, **size, "shares": dict(self.shares)}

    def pairs(self) -> list[tuple[str, float]]:
        return list(self.shares.items())

    @classmethod
    def csv_header(cls, classes: Sequence[str], top_k: int) -> list[str]:
        return ["image", *classes]

    def csv_rows(self) -> list[list[Any]]:
        return [[self.source, *(self.shares.get(name, 0.0) for name in self.classes)]]

    def draw(self, image: Any = None) -> Image.Image:
        """The picture under the classes' colors, with a legend beneath, as a new RGB image.

        Without `image` (whatever `load_image` takes) it is the one predicted from, or its file.
        """
        height, width = self.mask.shape
        picture = self._picture(image, (height, width))
        scale = drawing.enlargement(picture)
        mask = self.mask.repeat(scale, axis=0).repeat(scale, axis=1) if scale > 1 else self.mask
        painted = overlay(drawing.enlarged(picture), mask, self.colors)
        width = max(painted.width, drawing.SHORTEST_PICTURE)
        by_name = dict(zip(self.classes, self.colors, strict=True))
        rows = _legend(self.shares, by_name, width, drawing.font_size_for(painted, FONT))
        return drawing.stacked(painted, rows)

    def index_image(self) -> Image.Image:
        """The mask as a palette image: indices are classes, and the palette holds their colors.

        Beyond 255 classes it is 16-bit gray (I;16).
        """
        image = Image.fromarray(self.mask)
        if self.mask.dtype == np.uint8:
            image.putpalette([channel for color in self.colors for channel in color])
        return image

    def save_mask(self, path: str | os.PathLike) -> Path:
        """Write `index_image`, as .png or .tif. Returns the path."""
        if Path(path).suffix.lower() not in LOSSLESS:
            raise ValueError(f"{path} would change the class numbers. Name it .png or .tif.")
        return drawing.written(self.index_image(), path)


setattr(Segmentation, "colours", property(lambda self: self.colors))  # noqa: B010 - below the class, where the name is a parameter


def _legend(
    shares: dict[str, float], colors: dict[str, Color], width: int, font_size: int
) -> Image.Image:
    """The classes' colors, shares and names, in as many columns as fit."""
    font = ImageFont.load_default(size=font_size)
    gap = font_size // 2
    rows: list[tuple[Color | str, str, str, str]] = [
        (colors[name], percent(share), name, INK) for name, share in shares.items()
    ]
    if len(rows) > MOST_ROWS:
        rows[MOST_ROWS:] = [(PAPER, "", f"and {len(rows) - MOST_ROWS} more", FAINT)]

    measure = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    number = math.ceil(max(measure.textlength(share, font=font) for _, share, _, _ in rows))
    before_name = 3 * gap + font_size + number
    names = [drawing.shortened(name, width, measure, font) for _, _, name, _ in rows]
    longest = math.ceil(max(measure.textlength(name, font=font) for name in names))
    columns = max(1, min(len(rows), (width - gap) // (before_name + longest + 2 * gap)))
    cell = (width - gap) // columns
    lines = math.ceil(len(rows) / columns)
    line = round(1.6 * font_size)

    sheet = Image.new("RGB", (width, lines * line + 2 * gap), PAPER)
    draw = ImageDraw.Draw(sheet)
    for index, (color, share, name, ink) in enumerate(rows):
        left, top = gap + index // lines * cell, gap + index % lines * line
        middle = top + line / 2
        swatch = (left, middle - font_size / 2, left + font_size - 1, middle + font_size / 2 - 1)
        draw.rounded_rectangle(swatch, font_size // 5, fill=color)
        right = left + before_name - gap
        draw.text((right, middle), share, FAINT, font, anchor="rm")
        text = drawing.shortened(name, cell - before_name - gap, draw, font)
        draw.text((right + gap, middle), text, ink, font, anchor="lm")
    return sheet
