"""Models in PyTorch, opened with all that belongs to them, and run on arrays."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mobilevitv2.checkpoint.files import FOLDER_NAMES
from mobilevitv2.checkpoint.opening import open_checkpoint
from mobilevitv2.config import CONFIG_NAME
from mobilevitv2.errors import CheckpointError
from mobilevitv2.model.classification import MobileViTV2ForImageClassification
from mobilevitv2.model.detection import MobileViTV2ForObjectDetection
from mobilevitv2.model.segmentation import MobileViTV2ForSemanticSegmentation
from mobilevitv2.processor import MobileViTImageProcessor
from mobilevitv2.views import stretched

logger = logging.getLogger(__name__)

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


class LiveNetwork:
    """A live model as `Predictor` uses it: float32 [B, 3, H, W] to logits, both arrays."""

    def __init__(self, model: TaskModel) -> None:
        channels, classes = model.config.num_channels, len(model.config.id2label or {})
        if channels != 3 or classes < 1:
            raise CheckpointError(
                f"a model with {channels} input channels and {classes} classes can't name what is "
                "in an image: "
                "3 channels and at least one class are wanted."
            )
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
    def colours(self) -> list[tuple[int, int, int]]:
        """RGB of each class; empty where nobody chose them."""
        return [(r, g, b) for r, g, b in self.model.config.class_colors or []]

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


def bundle_of(source: str | Path) -> str | Path:
    """The same, but for the folder of a training run the bundle of its best epoch."""
    folder = Path(source).expanduser()
    is_run = (folder / "best" / CONFIG_NAME).is_file() and not (folder / CONFIG_NAME).exists()
    return folder / "best" if is_run else source


def open_model(source: str | Path) -> TaskModel:
    """The model of a checkpoint; CheckpointError where its head would be untrained."""
    task = open_checkpoint(source).task
    if task not in MODELS:
        raise CheckpointError(
            f"{source} is a backbone without a head, so it can't name classes. Train one first: "
            "mobilevitv2 train DATA --model."
            if task == "backbone"
            else f"{source} is a {task} checkpoint, and only {', '.join(MODELS)} is known here."
        )
    return MODELS[task].from_pretrained(source)


def open_processor(source: str | Path, model: TaskModel) -> MobileViTImageProcessor:
    """The processor that belongs to a checkpoint: its file's, or else that of its layout.

    For a segmenter and a detector it cuts nothing off, whatever the file says: every pixel is to
    get a class, every thing a box. For a detector images are stretched to where the crop was.
    """
    processor = _processor_of(source, model)
    if isinstance(model, MobileViTV2ForObjectDetection) and processor.do_center_crop:
        return stretched(processor, **processor.crop_size)
    if isinstance(model, MobileViTV2ForSemanticSegmentation) and processor.do_center_crop:
        short_side = min(processor.crop_size.values())
        return replace(processor, do_center_crop=False, size={"shortest_edge": short_side})
    return processor


def _processor_of(source: str | Path, model: TaskModel) -> MobileViTImageProcessor:
    path = Path(source).expanduser()
    if not path.is_file() or path.name in FOLDER_NAMES:  # else what lies beside it is another's
        try:
            return MobileViTImageProcessor.from_pretrained(source)
        except FileNotFoundError:
            pass
    size = model.config.image_size
    layout: Any = model.checkpoint_layout or "transformers"
    processor = MobileViTImageProcessor.for_checkpoint(
        layout, size if isinstance(size, int) else size[0]
    )
    logger.warning(
        "%s has no preprocessor_config.json; images are prepared as %s weights want them: "
        "%d px, %s",
        source,
        layout,
        processor.crop_size["height"],
        processor.channel_order.upper(),
    )
    return processor
