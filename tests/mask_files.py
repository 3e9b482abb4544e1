"""Images with masks, written as files."""

from pathlib import Path

import numpy as np
from PIL import Image

SIZE = (40, 30)  # px, width and height
TURNED = (30, 40)


def mask_of(*values: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """uint8 [H, W]: columns of one value each, in turn."""
    columns = np.array(values)[np.arange(size[0]) % len(values)]
    return np.tile(columns, (size[1], 1)).astype(np.uint8)


def put(image: Path, mask: Path, values: np.ndarray, brightness: int = 0) -> None:
    """An image, gray of this brightness, and its mask."""
    for path in (image, mask):
        path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (values.shape[1], values.shape[0]), (brightness,) * 3).save(image)
    Image.fromarray(values).save(mask)


def fill(images: Path, masks: Path, count: int = 3, values: tuple[int, ...] = (0, 1, 2)) -> None:
    for i in range(count):
        put(images / f"{i}.jpg", masks / f"{i}.png", mask_of(*values), 10 * i)


def flat(folder: Path, count: int = 5, values: tuple[int, ...] = (0, 1, 2)) -> Path:
    fill(folder / "images", folder / "masks", count, values)
    return folder
