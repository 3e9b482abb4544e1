"""The table of tasks: what differs between them, in a row each.

The rest of the package asks a row instead of comparing names. Code about a task is a module named
after it in the room that needs it: segmentation's `part("evaluation")` is
`mobilevitv2.evaluation.segmentation`. A new task is a row here and such modules.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

from mobilevitv2.errors import CheckpointError, ConfigError


@dataclass(frozen=True, kw_only=True)
class Task:
    """A row of the table."""

    name: str  # in checkpoints, in records of exported files, and in messages
    verb: str  # on the command line: `train --task`
    module: str  # the name of its modules
    model: str  # its model class, a public name of the package
    result: str  # the class of its results, too
    data: str  # what it is trained and measured on, for a message
    rename: str  # how to make the class names of such data match a model's, for a message
    fit: Literal["crop", "whole", "stretch"]  # how images are brought to the model's size
    batch_size: int = 16  # images at a time in prediction
    outputs: tuple[str, ...]  # what an exported file can give, the default first
    layouts: tuple[str, ...]  # whose libraries have such a model
    engine_precisions: tuple[Literal["fp32", "bf16", "int8"], ...] = ("fp32", "bf16", "int8")
    """Those of the engine whose answers are good enough to be chosen."""
    figures: Mapping[str, str]  # scores in [0, 1] that training keeps, with titles; see `metric`
    options: frozenset[str] = frozenset()  # of prediction and evaluation, that only some tasks have
    recipe: str = "default"  # the recipe to train with unless another is named

    @property
    def metric(self) -> str:
        """The first of the figures, which decides on the best epoch."""
        return next(iter(self.figures))

    def part(self, room: str) -> Any:
        """The module about this task in a room of the package."""
        return import_module(f"mobilevitv2.{room}.{self.module}")

    @property
    def model_class(self) -> Any:
        """Raises ImportError without PyTorch."""
        return getattr(import_module("mobilevitv2"), self.model)

    @property
    def result_class(self) -> Any:
        """Of what `Predictor` gives for an image."""
        return getattr(import_module("mobilevitv2"), self.result)


ROWS = (
    Task(
        name="classification", verb="classify", module="classification",
        model="MobileViTV2ForImageClassification", result="Classification",
        data="a folder for each class", rename="Rename the folders", fit="crop",
        outputs=("logits", "top_k"), layouts=("transformers", "timm", "cvnets"),
        figures={"accuracy": "accuracy"}, options=frozenset({"top_k", "channel_orders"}),
    ),
    Task(
        name="multi-label classification", verb="multi-label", module="multi_label",
        model="MobileViTV2ForImageClassification", result="MultiLabel",
        data="images with a table of labels (labels.csv)",
        rename="Correct the names in the table", fit="crop", outputs=("logits", "scores"),
        layouts=("transformers", "timm", "cvnets"),
        figures={"map": "mAP", "macro_f1": "macro F1"}, options=frozenset({"threshold"}),
        recipe="multi_label",
    ),
    Task(
        name="segmentation", verb="segment", module="segmentation",
        model="MobileViTV2ForSemanticSegmentation", result="Segmentation",
        data="images with masks", rename="Give the classes of the masks with --classes",
        fit="whole", batch_size=4, outputs=("logits", "mask"), layouts=("transformers", "cvnets"),
        figures={"miou": "mIoU"}, options=frozenset({"image_size", "flip", "window", "masks"}),
        recipe="segmentation",
    ),
    Task(
        name="detection", verb="detect", module="detection",
        model="MobileViTV2ForObjectDetection", result="Detection", data="images with boxes",
        rename="Correct the names in the annotations", fit="stretch",
        outputs=("logits", "boxes", "detections"), layouts=("cvnets",),
        engine_precisions=("fp32", "bf16"), figures={"map": "mAP", "map_50": "mAP@0.5"},
        options=frozenset({"threshold", "yolo", "coco"}), recipe="detection",
    ),
)  # fmt: skip
TASKS = {row.name: row for row in ROWS}
BY_VERB = {task.verb: task for task in TASKS.values()}


def task_named(name: str, source: object = "this") -> Task:
    """The row of a task. Raises CheckpointError, about the model `source`, for any other name."""
    if name == "backbone":
        raise CheckpointError(
            f"{source} is a backbone without a head, so it can't name classes. Train one first: "
            "mobilevitv2 train DATA --model."
        )
    if name not in TASKS:
        raise CheckpointError(
            f"{source} is a model for {name}; this version knows {', '.join(TASKS)}. Update "
            "mobilevitv2 if the model is newer."
        )
    return TASKS[name]


def check_options(task: Task, **options: Any) -> dict[str, Any]:
    """The options that aren't None. Raises ConfigError for one that only other tasks have."""
    given = {name: value for name, value in options.items() if value is not None}
    for name in given.keys() - task.options:
        if owners := [other.name for other in TASKS.values() if name in other.options]:
            raise ConfigError(
                f"{name} is for {' and '.join(owners)}, and this model is for {task.name}."
            )
    return given
