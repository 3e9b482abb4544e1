"""Real street scenes with their masks, and how far the pixels of two processors are apart."""

from pathlib import Path

import numpy as np
from PIL import Image


def street_scenes(folder: Path) -> tuple[list[Image.Image], list[Image.Image]]:
    names = [path.name for path in sorted((folder / "val").glob("*.png"))[::12]]
    return (
        [Image.open(folder / "val" / name) for name in names],
        [Image.open(folder / "valannot" / name) for name in names],
    )


def difference(ours: list[np.ndarray], theirs: list[np.ndarray]) -> tuple[float, float]:
    """The largest and the mean absolute difference over a list of arrays of equal shapes."""
    assert [a.shape for a in ours] == [b.shape for b in theirs]
    parts = [np.abs(a - b) for a, b in zip(ours, theirs, strict=True)]
    return max(p.max() for p in parts), float(np.mean([p.mean() for p in parts]))


def agree(ours: list[np.ndarray], theirs: list[np.ndarray]) -> bool:
    if [a.shape for a in ours] != [b.shape for b in theirs]:
        return False
    largest, mean = difference(ours, theirs)
    return largest <= 1 / 255 and mean <= 1e-4
