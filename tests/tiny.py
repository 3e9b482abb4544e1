"""Tiny classifiers that know colors, and folders of colored images: no training, no download."""

from pathlib import Path

import numpy as np
import torch
from once import once
from PIL import Image

from mobilevitv2 import (
    MobileViTImageProcessor,
    MobileViTV2Config,
    MobileViTV2ForImageClassification,
)
from mobilevitv2.deploy import Export, export
from mobilevitv2.predict.backends.torch import TorchBackend
from mobilevitv2.predict.predictor import Predictor

SIZE = 64  # px
COLORS = {"blue": (30, 40, 220), "green": (40, 200, 50), "red": (220, 40, 30)}
CLASSES = list(COLORS)


def picture(color: str, seed: int = 0, size: tuple[int, int] = (SIZE, SIZE)) -> Image.Image:
    """A noisy image of one color."""
    noise = np.random.default_rng(seed).integers(-25, 26, (size[1], size[0], 3))
    return Image.fromarray((np.array(COLORS[color]) + noise).clip(0, 255).astype(np.uint8))


def processor(order: str = "rgb") -> MobileViTImageProcessor:
    return MobileViTImageProcessor(
        size={"shortest_edge": SIZE},
        crop_size={"height": SIZE, "width": SIZE},
        do_flip_channel_order=order == "bgr",
    )


def color_model(classes: list[str] = CLASSES) -> MobileViTV2ForImageClassification:
    """Random features; the head picks the color, given as RGB, whose features are nearest."""
    torch.manual_seed(0)
    names = dict(enumerate(classes))
    model = MobileViTV2ForImageClassification(
        MobileViTV2Config(width_multiplier=0.25, image_size=SIZE, id2label=names)
    ).eval()
    pixels = torch.cat([processor()(picture(c), return_tensors="pt").pixel_values for c in classes])
    with torch.no_grad():
        features = model.mobilevitv2(pixels).pooler_output
        middle = features.mean(0)
        centered = (features - middle) / (features - middle).norm()
        head = {"weight": 40 * centered, "bias": -40 * (centered * (features + middle) / 2).sum(1)}
    model.classifier.load_state_dict(head)
    return model


@once
def trained_model(folder: Path) -> MobileViTV2ForImageClassification:
    """Names colors after a short training, so its features depend on the image."""
    fewer = {"n_attn_blocks": [1, 1, 1]}  # what is exported costs by its operators
    config = MobileViTV2Config.from_dict(color_model().config.to_dict(), **fewer)
    sizes = ((SIZE, SIZE), (90, 70))
    shown = [picture(c, seed, size) for seed in range(4) for size in sizes for c in CLASSES]
    pixels = processor()(shown, return_tensors="pt").pixel_values
    targets = torch.arange(len(CLASSES)).repeat(4 * len(sizes))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = MobileViTV2ForImageClassification(config).train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
        for _ in range(40):
            model(pixels, labels=targets).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        for norm in (m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)):
            norm.reset_running_stats()
            norm.momentum = None  # statistics of the last weights alone
        with torch.no_grad():
            model(pixels)
    return model.eval()


def save_trained(folder: Path, order: str = "rgb") -> Path:
    trained_model().save_pretrained(folder)
    processor(order).save_pretrained(folder)
    return folder


@once
def exported(folder: Path) -> Export:
    """The trained classifier as an ONNX file, with nothing asked for."""
    return export(save_trained(folder / "colors"), to="onnx", out=folder / "colors.onnx")


def color_predictor(classes: list[str] = CLASSES, order: str = "rgb", **options) -> Predictor:
    return Predictor(color_model(classes), processor(order), **options)


def model_of(predictor: Predictor) -> MobileViTV2ForImageClassification:
    """The live model that it asks."""
    assert isinstance(predictor.backend, TorchBackend)
    assert isinstance(predictor.backend.model, MobileViTV2ForImageClassification)
    return predictor.backend.model


def save_bundle(folder: Path, classes: list[str] = CLASSES, order: str = "rgb") -> Path:
    color_model(classes).save_pretrained(folder)
    processor(order).save_pretrained(folder)
    return folder


def save_images(folder: Path, count: int = 4, *, wrong: int = 0) -> Path:
    """A folder for each color; `wrong` images of each show the next color instead."""
    for i, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True)
        for k in range(count):
            shown = CLASSES[(i + 1) % len(CLASSES)] if k < wrong else name
            picture(shown, seed=100 * i + k).save(folder / name / f"{k}.png")
    return folder
