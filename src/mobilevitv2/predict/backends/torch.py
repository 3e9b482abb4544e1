"""Models in PyTorch, opened with all that belongs to them, and run on arrays."""

from pathlib import Path

import numpy as np
import torch

from mobilevitv2.bundle import check_names, check_task, processor_of
from mobilevitv2.checkpoint.opening import open_checkpoint
from mobilevitv2.model.classification import MobileViTV2ForImageClassification
from mobilevitv2.model.detection import MobileViTV2ForObjectDetection
from mobilevitv2.model.segmentation import MobileViTV2ForSemanticSegmentation
from mobilevitv2.processor import MobileViTImageProcessor

TaskModel = (
    MobileViTV2ForImageClassification
    | MobileViTV2ForSemanticSegmentation
    | MobileViTV2ForObjectDetection
)

MODELS: dict[str, type[TaskModel]] = {
    "classification": MobileViTV2ForImageClassification,
    "segmentation": MobileViTV2ForSemanticSegmentation,
    "detection": MobileViTV2ForObjectDetection,
}

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


def task_of_model(model: TaskModel) -> str:
    """The name of what a model does."""
    return next(task for task, kind in MODELS.items() if isinstance(model, kind))


def open_model(source: str | Path) -> TaskModel:
    """The model of a checkpoint; CheckpointError where its head would be untrained."""
    task = open_checkpoint(source).task
    check_task(source, task)
    return MODELS[task].from_pretrained(source)


def open_processor(source: str | Path, model: TaskModel) -> MobileViTImageProcessor:
    """The processor that belongs to a checkpoint; see `processor_of`."""
    return processor_of(
        source,
        task=task_of_model(model),
        config=model.config,
        layout=model.checkpoint_layout or "transformers",
    )
