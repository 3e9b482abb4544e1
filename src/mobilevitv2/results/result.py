"""What all results share: plain values, rows for the terminal and for CSV, a drawing."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mobilevitv2.images.reading import load_image
from mobilevitv2.results import drawing
from mobilevitv2.results.drawing import Bar, with_bars


class ImageResult:
    """What a model says about one image: `source` is its name, and `image` the image itself."""

    source: str | None
    image: Image.Image | None

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        raise NotImplementedError

    def to_json(self) -> str:
        """`to_dict` as one line of JSON."""
        return json.dumps(self.to_dict(), ensure_ascii=False)

    def pairs(self) -> list[tuple[str, float]]:
        """Labels and scores in [0, 1] for one line of a list of images, best first."""
        raise NotImplementedError

    def bars(self) -> list[Bar]:
        """The same in full, for a single image; by default a bar for each, the first one strong."""
        return [Bar(label, score, row == 0) for row, (label, score) in enumerate(self.pairs())]

    def table(self) -> list[list[str]]:
        """Headings and rows of text to show instead of `bars`, if they tell more."""
        return []

    @classmethod
    def csv_header(cls, classes: Sequence[str], top_k: int) -> list[str]:
        """Names of the columns, for a model with these classes that keeps the `top_k` best."""
        raise NotImplementedError

    def csv_rows(self) -> list[list[Any]]:
        """Text and numbers: a row for the image, or for each object in it."""
        raise NotImplementedError

    def draw(self, image: Any = None) -> Image.Image:
        """The picture with `bars` beneath it, as a new RGB image.

        Without `image` (whatever `load_image` takes) it is the one predicted from, or its file.
        """
        return with_bars(self._picture(image), self.bars())

    def save(self, path: str | os.PathLike, image: Any = None) -> Path:
        """Draw, and write the picture; the suffix sets the format, as in .png. Returns the path."""
        return drawing.written(self.draw(image), path)

    def show(self, image: Any = None) -> None:
        """Draw, and open the picture in the desktop's viewer or the notebook."""
        self.draw(image).show(title=str(self))

    def _picture(self, given: Any, size: tuple[int, int] | None = None) -> Image.Image:
        """The RGB picture to draw on, which must have this (height, width)."""
        chosen = next((p for p in (given, self.image, self.source) if p is not None), None)
        if chosen is None:
            raise ValueError("This prediction came without its image. Pass it: draw(image).")
        picture = load_image(chosen)
        if size is not None and picture.size[::-1] != size:
            raise ValueError(
                f"The image has {picture.width}x{picture.height} px, but the prediction is for "
                f"one of {size[1]}x{size[0]} px."
            )
        return picture


def check_numbers(numbers: np.ndarray, count: int) -> None:
    """Raise ValueError unless all are class numbers, from 0 to `count` - 1."""
    low, high = int(numbers.min(initial=0)), int(numbers.max(initial=0))
    if low < 0 or high >= count:
        raise ValueError(
            f"There is no class {low if low < 0 else high}: {count} classes have names, so numbers "
            f"from 0 to {count - 1} are expected."
        )
