"""Exported segmenters: what a file gives, and when it agrees with its model."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mobilevitv2.class_names import ClassFacts
from mobilevitv2.deploy.request import Request
from mobilevitv2.deploy.verify import Agreement, as_good, logits_agreement, scale_of
from mobilevitv2.predict.answers import PixelClasses, PixelLogits
from mobilevitv2.predict.classification import same

__all__ = ["agreement", "same", "stage"]

OUTPUT_NAMES = {"logits": ["logits"], "mask": ["mask"]}
CLASSIFIES = False
COUNTED = "pixels"
SAME = "same class of pixels"
MAY_DIFFER = {"fp32": (0, 0.0), "half": (0, 0.01)}


def stage(model: Any, request: Request) -> Callable[[Tensor], Any]:
    """Logits [B, classes, h, w]; or classes [B, H, W], uint8, beyond 256 of them int64."""
    kind = torch.uint8 if len(model.config.id2label or {}) <= 256 else torch.int64

    def outputs(pixels: Tensor) -> Tensor:
        logits = model(pixels, return_dict=True).logits
        if request.output == "logits":
            return logits
        return F.interpolate(logits, pixels.shape[2:], mode="bilinear").argmax(1).to(kind)

    return outputs


def agreement(
    expected: PixelLogits, found: PixelLogits | PixelClasses, close: float, _: ClassFacts
) -> Agreement:
    """How far a file's answer is from its model's."""
    if isinstance(found, PixelLogits):
        return logits_agreement(expected.logits, found.logits, close)
    logits = torch.from_numpy(expected.logits).double()
    logits = F.interpolate(logits, found.classes.shape[1:], mode="bilinear").numpy()
    scale = scale_of(logits)
    return Agreement(0.0, scale, as_good(logits, found.classes[:, None].astype(int), close * scale))
