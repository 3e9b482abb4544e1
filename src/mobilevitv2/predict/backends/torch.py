"""Models in PyTorch, opened with all that belongs to them, and run on arrays."""

import numpy as np
import torch

from mobilevitv2.bundle import check_names
from mobilevitv2.model.opening import (
    MODELS,
    TaskModel,
    open_model,
    open_processor,
    task_of_model,
)

__all__ = ["MODELS", "LiveNetwork", "TaskModel", "open_model", "open_processor", "task_of_model"]

SHORT = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}


class LiveNetwork:
    """A live model as `Predictor` uses it: float32 [B, 3, H, W] to logits, both arrays."""

    def __init__(self, model: TaskModel) -> None:
        check_names(model.config)
        self.model = model.eval()

    @property
    def task(self) -> str:
        """classification, segmentation or detection"""
        return task_of_model(self.model)

    @property
    def classes(self) -> list[str]:
        """The names of the classes, in the order of the logits."""
        return list((self.model.config.id2label or {}).values())

    @property
    def colors(self) -> list[tuple[int, int, int]]:
        """RGB of each class; empty where nobody chose them."""
        return [(r, g, b) for r, g, b in self.model.config.class_colors or []]

    @property
    def runs_in(self) -> str:
        """The runtime, where it computes, and in what precision."""
        dtype = str(self.model.dtype).removeprefix("torch.")
        return f"PyTorch, {self.model.device}, {SHORT.get(dtype, dtype)}"

    @torch.inference_mode()
    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """float32 [B, classes], or [B, classes, h, w] of a segmenter.

        Of a detector [B, anchors, 4 + 1 + classes]: its `pred_boxes`, then its `logits`.
        """
        batch = torch.from_numpy(pixels).to(self.model.device, self.model.dtype)
        output = self.model(batch, return_dict=True)
        answers = output.logits.float()
        if self.task == "detection":
            answers = torch.cat([output.pred_boxes.float(), answers], -1)
        return answers.cpu().numpy()
