"""A quick look at the header of every image file: is it an image at all, and of what size?"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image, UnidentifiedImageError


def read_headers(paths: Sequence[Path]) -> list[tuple[int, int] | str]:
    """The (width, height) of each file, or the reason why it can't be read; several at a time.

    The pixels are not decoded, so a picture that is cut short may pass.
    """
    threads = min(32, 2 * (os.cpu_count() or 1))
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(_read_header, paths))


def _read_header(path: Path) -> tuple[int, int] | str:
    try:
        with Image.open(path) as image:
            size = image.size
            if image.format == "EPS":
                return "is PostScript, a program, and isn't run"
            image.verify()
    except UnidentifiedImageError:
        empty = path.stat().st_size == 0
        return "is empty" if empty else "is not an image that Pillow can read"
    except Exception as error:  # parsers of damaged headers raise almost anything
        return f"is damaged ({error or type(error).__name__})"
    return size if min(size) >= 2 else f"has {size[0]}x{size[1]} px"
