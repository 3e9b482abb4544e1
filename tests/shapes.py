"""Images of colored squares and their masks: what a tiny segmenter learns in seconds."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from once import once
from PIL import Image

from mobilevitv2 import MobileViTV2Config, MobileViTV2Model
from mobilevitv2.training import TrainingResult, train

SIZE = 64  # px
CLASSES = ["ground", "red", "blue"]
COLORS = ((120, 120, 120), (220, 40, 30), (30, 40, 220))


def scene(seed: int, size: tuple[int, int] = (SIZE, SIZE)) -> tuple[Image.Image, np.ndarray]:
    """A picture of (width, height) px with a red and a blue rectangle, and its mask."""
    generator = np.random.default_rng(seed)
    width, height = size
    mask = np.zeros((height, width), np.uint8)
    for label in (1, 2):
        tall, wide = (int(generator.integers(side // 3, side // 2)) for side in (height, width))
        top, left = generator.integers(0, height - tall), generator.integers(0, width - wide)
        mask[top : top + tall, left : left + wide] = label
    noise = generator.integers(-20, 21, (height, width, 3))
    pixels = (np.array(COLORS)[mask] + noise).clip(0, 255).astype(np.uint8)
    return Image.fromarray(pixels), mask


def save_scenes(folder: Path, train_count: int = 24, val_count: int = 6) -> Path:
    """CamVid's layout, with the names of the classes beside it."""
    for split, count, start in (("train", train_count, 0), ("val", val_count, 1000)):
        for kind in (split, f"{split}annot"):
            (folder / kind).mkdir(parents=True)
        for i in range(count):
            image, mask = scene(start + i, (SIZE + 16 * (i % 2), SIZE))
            image.save(folder / split / f"{i}.png")
            Image.fromarray(mask).save(folder / f"{split}annot" / f"{i}.png")
    lines = (f"{name} {r} {g} {b}" for name, (r, g, b) in zip(CLASSES, COLORS, strict=True))
    (folder / "classes.txt").write_text("\n".join(lines) + "\n")
    return folder


QUICK: dict[str, Any] = {
    "width": 0.25,
    "epochs": 12,
    "lr": 0.01,
    "batch_size": 8,
    "image_size": SIZE,
    "head_channels": 16,
    "output_stride": 8,
    "ema_decay": 0.9,
    "photometric": 0.0,  # colors are what there is to learn
    "threads": 1,
}


def quick(**changes: Any) -> dict[str, Any]:
    """The settings of a quick run, with some changed; None leaves one out."""
    return {key: value for key, value in (QUICK | changes).items() if value is not None}


@once
def trained(folder: Path) -> tuple[Path, TrainingResult]:
    """A folder of scenes and a run on it that knows the colors; made once."""
    data = save_scenes(folder / "data")
    fewer = [1, 1, 1]  # what is exported costs by its operators
    with torch.random.fork_rng():
        torch.manual_seed(0)
        backbone = MobileViTV2Model(MobileViTV2Config(width_multiplier=0.25, n_attn_blocks=fewer))
    backbone.save_pretrained(folder / "backbone")
    settings = quick(width=None, model=folder / "backbone", epochs=16)
    return data, train(data, out=folder / "run", quiet=True, **settings)
