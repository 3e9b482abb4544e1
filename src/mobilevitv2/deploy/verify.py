"""Is the file's answer the model's answer? Run in its real runtime, on real images."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from mobilevitv2.exported import ExportedNetwork
from mobilevitv2.images import ImageSource
from mobilevitv2.live import TaskModel

CLOSE = 1e-4  # largest difference of fp32 files, relative to the largest logit
HALF = 0.01  # share of images that may get another first class in fp16 and bf16
BATCH = 8


@dataclass(frozen=True)
class Verification:
    """What a comparison of a file with its model found."""

    images: int
    size: tuple[int, int]
    """Height and width in px."""
    precision: str
    """What the runtime computed in; int8 for a quantised file."""
    difference: float
    """Largest difference of a logit (of a probability, where the file gives classes)."""
    scale: float
    """The largest logit, or 1."""
    agreement: float
    """Share of images, of a segmenter of pixels, with the same first class, in [0, 1]."""
    masks: bool = False
    """Whether it is a segmenter."""

    @property
    def passed(self) -> bool:
        """Whether this is the same model; an int8 file is judged by its accuracy instead."""
        close = self.precision != "fp32" or self.difference <= CLOSE * self.scale
        others = 1 - self.agreement
        if not self.masks:  # whole images differ, or none
            others = round(self.images * others) / self.images
        return close and others <= self._allowed

    @property
    def _allowed(self) -> float:
        """Share that may get another first class: in half precision 0.01, and always one image."""
        if self.precision == "int8":
            return 1.0
        if self.precision == "fp32":
            return 0.0
        return HALF if self.masks else max(1 / self.images, HALF)

    def __str__(self) -> str:
        what = "same class of pixels" if self.masks else "same first class"
        return (
            f"{self.precision}, {self.size[0]}x{self.size[1]} px, {self.images} images: "
            f"largest difference {self.difference / self.scale:.1e} of scale, "
            f"{what} {100 * self.agreement:.1f} %"
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self) | {"passed": self.passed}


def verify(
    exported: ExportedNetwork,
    model: TaskModel,
    pixels: Sequence[np.ndarray],
    given: Sequence[np.ndarray] | None = None,
) -> Verification:
    """Compare on prepared images, float32 [3, H, W] of one size.

    `given` are the same images as the file wants them prepared, where that is not the same. First
    classes that the model itself holds for equal, to within the allowed difference, do not count
    as different.
    """
    difference = scale = 0.0
    agreed = []
    for start in range(0, len(pixels), BATCH):
        batch, same = (np.stack(p[start : start + BATCH]) for p in (pixels, given or pixels))
        with torch.inference_mode():
            logits = model(torch.from_numpy(batch), return_dict=True).logits.double()
        apart, largest, agrees = _compared(exported, logits, exported(same))
        difference, scale = max(difference, apart), max(scale, largest)
        agreed.append(agrees)
    quantised = exported.record.precision == "int8"
    return Verification(
        images=len(pixels),
        size=(pixels[0].shape[1], pixels[0].shape[2]),
        precision="int8" if quantised else _precision(exported),
        difference=difference,
        scale=scale,
        agreement=float(np.concatenate(agreed).mean()),
        masks=exported.task == "segmentation",
    )


def _compared(
    exported: ExportedNetwork, logits: Tensor, found: np.ndarray
) -> tuple[float, float, np.ndarray]:
    """Largest difference, scale, and which first classes agree, of one batch."""
    wanted, close = logits.numpy(), CLOSE if exported.runtime.precision == "fp32" else 0.0
    if exported.record.output == "mask":
        wanted = F.interpolate(logits, found.shape[1:], mode="bilinear").numpy()
        scale = max(float(np.abs(wanted).max()), 1e-12)
        return 0.0, scale, _agrees(wanted, found[:, None].astype(int), close * scale)
    found = found.astype(np.float64)
    if exported.record.output == "top_k":
        wanted, found, scale = _softmax(wanted), _softmax(found), 1.0
        kept = np.argsort(-found, axis=1)[:, : exported.record.top_k]
        apart = np.abs(np.take_along_axis(wanted - found, kept, 1)).max()
    else:
        apart, scale = np.abs(wanted - found).max(), max(float(np.abs(wanted).max()), 1e-12)
    first = found.argmax(1, keepdims=True)
    return float(apart), scale, _agrees(wanted, first, close * scale)


def _agrees(wanted: np.ndarray, first: np.ndarray, close: float) -> np.ndarray:
    """Whether the first classes [B, 1, ...] are the model's, or as good to within `close`."""
    behind = wanted.max(1, keepdims=True) - np.take_along_axis(wanted, first, 1)
    return behind.ravel() <= close


def _precision(exported: ExportedNetwork) -> str:
    of_file, of_runtime = exported.record.precision, exported.runtime.precision
    return of_file if of_file != "fp32" else of_runtime


def _softmax(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits - logits.max(1, keepdims=True))
    return weights / weights.sum(1, keepdims=True)


def pictures(count: int = 32) -> tuple[list[ImageSource], str]:
    """Images to verify with where none are given, and what they are.

    Parts of the two photos that scikit-learn brings; without it, drawn noise.
    """
    generator = np.random.default_rng(0)
    try:
        from sklearn.datasets import load_sample_images
    except ImportError:
        return [_noise(generator) for _ in range(count)], "drawn noise, for want of photos"
    photos = load_sample_images().images
    parts: list[ImageSource] = []
    for i in range(count):
        photo = photos[i % len(photos)]
        side = int(generator.integers(96, min(photo.shape[:2])))
        top, left = (int(generator.integers(0, n - side + 1)) for n in photo.shape[:2])
        parts.append(Image.fromarray(photo[top : top + side, left : left + side]))
    return parts, "parts of scikit-learn's two photos"


def _noise(generator: np.random.Generator) -> Image.Image:
    """Smooth noise, from 3 to 48 blots a side."""
    blots = int(generator.integers(3, 49))
    pixels = generator.integers(0, 256, (blots, blots, 3), np.uint8)
    return Image.fromarray(pixels).resize((320, 320), Image.Resampling.BICUBIC)


def images_below(folder: str | Path, count: int) -> list[ImageSource]:
    """Up to `count` images of a folder and the folders in it, evenly taken from all."""
    from mobilevitv2.collect import collect_images

    found = [item.source for item in collect_images([str(folder)])]
    step = max(len(found) / count, 1)
    return [found[int(i * step)] for i in range(min(count, len(found)))]
