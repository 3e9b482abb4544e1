"""The size of images as they are seen, and how their EXIF rotation moves what is marked on them."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from mobilevitv2.data.headers import read_headers

ORIENTATION = 0x0112  # the tag


class Upright(NamedTuple):
    """An image that is turned upright by its EXIF `orientation`, 1 to 8."""

    size: tuple[int, int]
    """Width and height once it is [px]."""
    orientation: int

    @property
    def on_its_side(self) -> bool:
        """Are the sides swapped by the turning?"""
        return self.orientation >= 5

    @property
    def stored(self) -> tuple[int, int]:
        """Width and height as it is stored [px]."""
        width, height = self.size
        return (height, width) if self.on_its_side else (width, height)

    def turn(self, corners: np.ndarray) -> np.ndarray:
        """Corners [n, 4] that were drawn on the image as it is stored, on the upright one."""
        (width, height), (x1, y1, x2, y2) = self.stored, corners.T
        across, down = (x1, x2), (y1, y2)
        if self.orientation in (2, 3, 7, 8):  # mirrored left to right before a swap
            across = width - x2, width - x1
        if self.orientation in (3, 4, 6, 7):  # upside down
            down = height - y2, height - y1
        if self.on_its_side:
            across, down = down, across
        return np.stack([across[0], down[0], across[1], down[1]], axis=1)


def read_upright(paths: Sequence[Path]) -> list[Upright | str]:
    """Each image's, or the reason why it can't be read; the pixels are not decoded."""
    headers = read_headers(paths)
    with ThreadPoolExecutor() as pool:
        turned = list(pool.map(_orientation, paths))
    found: list[Upright | str] = []
    for header, how in zip(headers, turned, strict=True):
        if isinstance(header, str):
            found.append(header)
            continue
        width, height = header
        found.append(Upright((height, width) if how > 4 else (width, height), how))
    return found


def _orientation(path: Path) -> int:
    try:
        with Image.open(path) as image:
            if image.format == "TIFF":  # Pillow has turned it already
                return 1
            if image.format == "PNG" and "exif" not in image.info:  # getexif would decode it
                return 1
            how = image.getexif().get(ORIENTATION, 1)
            return how if how in range(1, 9) else 1
    except Exception:  # as `load_image`: what can't be read says nothing of a rotation
        return 1
