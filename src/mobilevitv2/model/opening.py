"""Opens any checkpoint as the model of its task."""

from pathlib import Path

from mobilevitv2.bundle import processor_of, task_of_config
from mobilevitv2.checkpoint.opening import open_checkpoint
from mobilevitv2.model.classification import MobileViTV2ForImageClassification
from mobilevitv2.model.detection import MobileViTV2ForObjectDetection
from mobilevitv2.model.segmentation import MobileViTV2ForSemanticSegmentation
from mobilevitv2.processor import MobileViTImageProcessor
from mobilevitv2.tasks import TASKS, task_named

TaskModel = (
    MobileViTV2ForImageClassification
    | MobileViTV2ForSemanticSegmentation
    | MobileViTV2ForObjectDetection
)
MODELS: dict[str, type[TaskModel]] = {task.name: task.model_class for task in TASKS.values()}


def task_of_model(model: TaskModel) -> str:
    """The name of a model's task."""
    head = next(task for task, model_class in MODELS.items() if isinstance(model, model_class))
    return task_of_config(model.config, head)


def open_model(source: str | Path) -> TaskModel:
    """The model of a checkpoint, which is read once. CheckpointError for one without a head."""
    checkpoint = open_checkpoint(source)
    return MODELS[task_named(checkpoint.task, source).name].from_pretrained(checkpoint)


def open_processor(source: str | Path, model: TaskModel) -> MobileViTImageProcessor:
    """The processor that belongs to the checkpoint of a model; see `processor_of`."""
    return processor_of(
        source,
        task=task_of_model(model),
        config=model.config,
        layout=model.checkpoint_layout or "transformers",
    )
