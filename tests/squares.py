"""A tiny detector that knows colored rectangles: trained in seconds, no download."""

from pathlib import Path

import numpy as np
import torch
from once import once
from PIL import Image
from shapes import CLASSES, scene

from mobilevitv2 import MobileViTImageProcessor, MobileViTV2Config
from mobilevitv2.model.detection import MobileViTV2ForObjectDetection

SIDE = 64  # px
NAMES = CLASSES[1:]


def processor(order: str = "rgb", side: int = SIDE) -> MobileViTImageProcessor:
    return MobileViTImageProcessor(
        size={"height": side, "width": side},
        do_center_crop=False,
        do_flip_channel_order=order == "bgr",
    )


def boxes_of(mask: np.ndarray) -> tuple[list[int], list[list[float]]]:
    """Labels, and center x, center y, width, height in parts of the image."""
    labels, boxes = [], []
    for label in (1, 2):
        rows, columns = np.nonzero(mask == label)
        if len(rows):
            low = np.array([columns.min(), rows.min()]) / mask.shape[::-1]
            high = (np.array([columns.max(), rows.max()]) + 1) / mask.shape[::-1]
            labels.append(label - 1)
            boxes.append([*((low + high) / 2), *(high - low)])
    return labels, boxes


@once
def trained_detector(folder: Path) -> MobileViTV2ForObjectDetection:
    """Finds red and blue rectangles."""
    scenes = [scene(i, (SIDE, SIDE)) for i in range(32)]
    pixels = processor()([image for image, _ in scenes], return_tensors="pt").pixel_values
    labels = []
    for _, mask in scenes:
        kinds, boxes = boxes_of(mask)
        labels.append({"class_labels": torch.tensor(kinds), "boxes": torch.tensor(boxes).float()})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = MobileViTV2Config(
            width_multiplier=0.25,
            n_attn_blocks=[1, 2, 1],  # what is exported costs by its operators
            image_size=SIDE,
            id2label=dict(enumerate(NAMES)),
        )
        model = MobileViTV2ForObjectDetection(config).train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
        for i in range(40):
            some = torch.arange(16) + 16 * (i % 2)
            model(pixels[some], labels=[labels[k] for k in some]).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        for norm in (m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)):
            norm.reset_running_stats()
            norm.momentum = None  # statistics of the last weights alone
        with torch.no_grad():
            model(pixels)
    return model.eval()


def save_detector(folder: Path, order: str = "rgb") -> Path:
    trained_detector().save_pretrained(folder)
    processor(order).save_pretrained(folder)
    return folder


def save_pictures(folder: Path, count: int = 12) -> Path:
    folder.mkdir()
    for i in range(count):
        image: Image.Image = scene(100 + i, (SIDE, SIDE - 16))[0]
        image.save(folder / f"{i}.png")
    return folder
