"""Does a file answer as its model does? In its real runtime, on real images."""

# B batch, C classes

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mobilevitv2.model.opening import TaskModel
from mobilevitv2.predict.backends.exported import ExportedBackend
from mobilevitv2.predict.backends.torch import TorchBackend
from mobilevitv2.tasks import task_named

CLOSE = 1e-4  # largest difference of an fp32 file, relative to the largest logit
BATCH = 8


@dataclass(frozen=True)
class Agreement:
    """A model's answer and a file's to the same images."""

    difference: float  # largest difference of logits; of probabilities, where the file gives those
    scale: float  # the largest logit, or 1
    same: np.ndarray  # bool [n], of the images, pixels or detections: whether both say the same
    box_difference: float | None = None  # a detector's largest, as a fraction of the image


def logits_agreement(expected: np.ndarray, found: np.ndarray, close: float) -> Agreement:
    """Logits [B, C, ...]. A class within `close` of the best, in parts of the scale, is as good."""
    expected, found = expected.astype(np.float64), found.astype(np.float64)
    scale = scale_of(expected)
    same = as_good(expected, found.argmax(1, keepdims=True), close * scale)
    return Agreement(float(np.abs(expected - found).max()), scale, same)


def scale_of(logits: np.ndarray) -> float:
    """The largest absolute logit."""
    return max(float(np.abs(logits).max()), 1e-12)


def as_good(scores: np.ndarray, classes: np.ndarray, close: float) -> np.ndarray:
    """Whether `classes` [B, 1, ...] are the best of scores [B, C, ...] to within `close`."""
    behind = scores.max(1, keepdims=True) - np.take_along_axis(scores, classes, 1)
    return behind.ravel() <= close


@dataclass(frozen=True)
class Verification:
    """A file compared with its model."""

    images: int
    size: tuple[int, int]  # height and width in px
    precision: str  # what the runtime computed in; int8 for a quantized file
    difference: float  # largest difference of a logit, or of a probability if the file gives those
    scale: float  # the largest logit, or 1
    agreement: float  # share of images, pixels or detections that are the same in both, in [0, 1]
    box_difference: float | None = None  # a detector's largest, as a fraction of the image
    detections: int | None = None  # of a detector, how many in both answers were compared
    task: str = "classification"

    @property
    def passed(self) -> bool:
        """Whether this is the same model; int8 files are judged by their accuracy instead."""
        apart = max(self.difference / self.scale, self.box_difference or 0.0)
        close = self.precision != "fp32" or apart <= CLOSE
        if self.precision == "int8":
            return close
        count = self.images if self.detections is None else self.detections
        may_differ = task_named(self.task).part("deploy").MAY_DIFFER
        least, share = may_differ["fp32" if self.precision == "fp32" else "half"]
        allowed = max(least / max(count, least, 1), share)
        return close and 1 - self.agreement <= allowed + 1e-9  # for rounding

    def __str__(self) -> str:
        same = task_named(self.task).part("deploy").SAME.format(detections=self.detections)
        boxes = ""
        if self.box_difference is not None:
            boxes = f", of boxes {self.box_difference:.1e} of the image"
        return (
            f"{self.precision}, {self.size[0]}x{self.size[1]} px, {self.images} images: "
            f"largest difference {self.difference / self.scale:.1e} of scale{boxes}, "
            f"{same} {100 * self.agreement:.1f} %"
        )

    def to_dict(self) -> dict[str, Any]:
        masks = task_named(self.task).part("deploy").COUNTED == "pixels"
        return asdict(self) | {"masks": masks, "passed": self.passed}


def verify(
    exported: ExportedBackend,
    model: TaskModel,
    pixels: Sequence[np.ndarray],
    given: Sequence[np.ndarray],
) -> Verification:
    """Compare on images of one size, float32 [3, H, W], prepared for the model and for the file.

    Classes that the model rates equal to within the allowed difference don't count as different.
    Detectors agree where both show the same class in the same place.
    """
    live, part = TorchBackend(model), task_named(exported.task).part("deploy")
    close = CLOSE if exported.runtime.precision == "fp32" else 0.0
    found: list[Agreement] = []
    for start in range(0, len(pixels), BATCH):
        batch, same = (np.stack(p[start : start + BATCH]) for p in (pixels, given))
        found.append(part.agreement(live(batch), exported(same), close, exported.facts))
    together = np.concatenate([agreement.same for agreement in found])
    boxes = [a.box_difference for a in found if a.box_difference is not None]
    made, computed = exported.record.precision, exported.runtime.precision
    return Verification(
        images=len(pixels),
        size=(pixels[0].shape[1], pixels[0].shape[2]),
        precision=computed if made == "fp32" else made,
        difference=max(agreement.difference for agreement in found),
        scale=max(agreement.scale for agreement in found),
        agreement=float(together.mean()) if len(together) else 1.0,
        box_difference=max(boxes, default=None),
        detections=len(together) if part.COUNTED == "detections" else None,
        task=exported.task,
    )
