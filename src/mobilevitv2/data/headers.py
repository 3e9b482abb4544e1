"""A quick look at the header of every image: can it be read, how large is it, which way is up?"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

ORIENTATION = 0x0112  # the EXIF tag
THREADS = min(32, 2 * (os.cpu_count() or 1))  # that read files


class Header(NamedTuple):
    """What is known of an image that is turned upright by its EXIF `orientation`, 1 to 8."""

    size: tuple[int, int]  # width and height once it is upright [px]
    orientation: int

    @property
    def on_its_side(self) -> bool:
        """Does turning it upright swap the sides?"""
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


def read_headers(paths: Sequence[Path]) -> tuple[dict[Path, Header], dict[str, str]]:
    """The headers of the images that can be read, and the reasons why others can't.

    The pixels are not decoded, so an image that is cut short may pass.
    """
    with ThreadPoolExecutor(THREADS) as pool:
        found = list(zip(paths, pool.map(_read_header, paths), strict=True))
    return (
        {path: header for path, header in found if isinstance(header, Header)},
        {str(path): reason for path, reason in found if isinstance(reason, str)},
    )


def _read_header(path: Path) -> Header | str:
    try:
        with Image.open(path) as image:
            width, height = image.size
            if image.format == "EPS":
                return "is PostScript, a program, and isn't run"
            orientation = _orientation(image)
            image.verify()
    except UnidentifiedImageError:
        return "is not an image that Pillow can read" if path.stat().st_size else "is empty"
    except Exception as error:  # parsers of damaged headers raise almost anything
        return f"is damaged ({str(error) or type(error).__name__})"
    if min(width, height) < 2:
        return f"has {width}x{height} px"
    return Header((height, width) if orientation >= 5 else (width, height), orientation)


def _orientation(image: Image.Image) -> int:
    # Pillow has turned a TIFF already, and getexif would decode a PNG without EXIF
    if image.format == "TIFF" or (image.format == "PNG" and "exif" not in image.info):
        return 1
    try:
        given = image.getexif().get(ORIENTATION, 1)
    except Exception:  # as `load_image`: what can't be read says nothing of a rotation
        return 1
    return given if given in range(1, 9) else 1
