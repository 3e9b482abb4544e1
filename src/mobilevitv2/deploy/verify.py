"""Is the file's answer the model's answer? Run in its real runtime, on real images."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mobilevitv2.deploy.agreement import box_agreement
from mobilevitv2.predict.backends.exported import ExportedBackend
from mobilevitv2.predict.backends.torch import TaskModel, TorchBackend

CLOSE = 1e-4  # largest difference of fp32 files, relative to the largest logit
HALF = 0.01  # share of images that may get another first class in fp16 and bf16
HALF_OF_BOXES = 0.05  # of detections: of two nearly as good boxes another one may be kept
BATCH = 8


@dataclass(frozen=True)
class Verification:
    """What a comparison of a file with its model found."""

    images: int
    size: tuple[int, int]
    """Height and width in px."""
    precision: str
    """What the runtime computed in; int8 for a quantized file."""
    difference: float
    """Largest difference of a logit (of a probability, where the file gives classes)."""
    scale: float
    """The largest logit, or 1."""
    agreement: float
    """Share of images, of a segmenter of pixels, with the same first class, in [0, 1]; of a
    detector, of detections that both have."""
    masks: bool = False
    """Whether it is a segmenter."""
    box_difference: float | None = None
    """Of a detector: largest difference of a box's number, in parts of the image."""
    detections: int | None = None
    """Of a detector: how many were looked for in the other answer, of both answers."""

    @property
    def passed(self) -> bool:
        """Whether this is the same model; an int8 file is judged by its accuracy instead."""
        apart = max(self.difference / self.scale, self.box_difference or 0.0)
        close = self.precision != "fp32" or apart <= CLOSE
        others = 1 - self.agreement
        if not self.masks and self.detections is None:  # whole images differ, or none
            others = round(self.images * others) / self.images
        return close and others <= self._allowed

    @property
    def _allowed(self) -> float:
        """Share that may get another first class: in half precision 0.01, and always one image.

        Of detections 0.05, in fp32 0.01, and always one with its counterpart: which of two equal
        ones is kept is left to rounding.
        """
        if self.precision == "int8":
            return 1.0
        if self.detections is not None:
            one = 2 / max(self.detections, 2)
            return max(one, HALF if self.precision == "fp32" else HALF_OF_BOXES)
        if self.precision == "fp32":
            return 0.0
        return HALF if self.masks else max(1 / self.images, HALF)

    def __str__(self) -> str:
        what = "same class of pixels" if self.masks else "same first class"
        boxes = ""
        if self.detections is not None:
            what = f"same detections ({self.detections} in both)"
            boxes = f", of boxes {self.box_difference:.1e} of the image"
        return (
            f"{self.precision}, {self.size[0]}x{self.size[1]} px, {self.images} images: "
            f"largest difference {self.difference / self.scale:.1e} of scale{boxes}, "
            f"{what} {100 * self.agreement:.1f} %"
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self) | {"passed": self.passed}


def verify(
    exported: ExportedBackend,
    model: TaskModel,
    pixels: Sequence[np.ndarray],
    given: Sequence[np.ndarray] | None = None,
) -> Verification:
    """Compare on prepared images, float32 [3, H, W] of one size.

    `given` are the same images as the file wants them prepared, where that is not the same. First
    classes that the model itself holds for equal, to within the allowed difference, do not count
    as different. A detector's answers agree where both show the same class in the same place.
    """
    live, detects = TorchBackend(model), exported.task == "detection"
    difference = scale = box_difference = 0.0
    agreed = []
    for start in range(0, len(pixels), BATCH):
        batch, same = (np.stack(p[start : start + BATCH]) for p in (pixels, given or pixels))
        wanted, found = live(batch), exported(same)
        if detects:
            seen = box_agreement(wanted, found, exported.record.output)
            apart, largest, agrees = seen.difference, seen.scale, seen.partners
            box_difference = max(box_difference, seen.box_difference)
        else:
            apart, largest, agrees = _compared(exported, torch.from_numpy(wanted).double(), found)
        difference, scale = max(difference, apart), max(scale, largest)
        agreed.append(agrees)
    together = np.concatenate(agreed)
    quantized = exported.record.precision == "int8"
    return Verification(
        images=len(pixels),
        size=(pixels[0].shape[1], pixels[0].shape[2]),
        precision="int8" if quantized else _precision(exported),
        difference=difference,
        scale=scale,
        agreement=float(together.mean()) if len(together) else 1.0,
        masks=exported.task == "segmentation",
        box_difference=box_difference if detects else None,
        detections=len(together) if detects else None,
    )


def _compared(
    exported: ExportedBackend, logits: Tensor, found: np.ndarray
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


def _precision(exported: ExportedBackend) -> str:
    of_file, of_runtime = exported.record.precision, exported.runtime.precision
    return of_file if of_file != "fp32" else of_runtime


def _softmax(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits - logits.max(1, keepdims=True))
    return weights / weights.sum(1, keepdims=True)
