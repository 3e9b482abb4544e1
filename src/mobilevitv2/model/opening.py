"""Opens any checkpoint as the model of its task."""

from pathlib import Path

from mobilevitv2.bundle import processor_of, task_of_config
from mobilevitv2.checkpoint.opening import open_checkpoint
from mobilevitv2.model.pretrained import MobileViTV2TaskModel as TaskModel
from mobilevitv2.processor import MobileViTImageProcessor
from mobilevitv2.tasks import TASKS, task_named

__all__ = ["TaskModel", "open_model", "open_processor", "task_of_model"]


def task_of_model(model: TaskModel) -> str:
    """The name of a model's task."""
    head = next(task.name for task in TASKS.values() if isinstance(model, task.model_class))
    return task_of_config(model.config, head)


def open_model(source: str | Path) -> TaskModel:
    """The model of a checkpoint, which is read once. CheckpointError for one without a head."""
    checkpoint = open_checkpoint(source)
    return task_named(checkpoint.task, source).model_class.from_pretrained(checkpoint)


def open_processor(source: str | Path, model: TaskModel) -> MobileViTImageProcessor:
    """The processor that belongs to the checkpoint of a model; see `processor_of`."""
    return processor_of(
        source,
        task=task_of_model(model),
        config=model.config,
        layout=model.checkpoint_layout or "transformers",
    )
