"""A run's network and how its images are prepared: from scratch, or from a checkpoint."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mobilevitv2.bundle import stored_processor, task_of_config
from mobilevitv2.checkpoint.files import write_weights
from mobilevitv2.checkpoint.opening import open_checkpoint
from mobilevitv2.config import MobileViTV2Config
from mobilevitv2.errors import ConfigError
from mobilevitv2.files.source import WEIGHTS_NAME
from mobilevitv2.model.pretrained import MobileViTV2PreTrainedModel
from mobilevitv2.processor import MobileViTImageProcessor
from mobilevitv2.tasks import TASKS
from mobilevitv2.training.augment import seed_of
from mobilevitv2.training.goal import Goal
from mobilevitv2.training.recipe import Recipe

KEPT = {  # a head's settings, and their fields in the config of one that is kept
    "segmentation_head": "segmentation_head",
    "head_channels": "aspp_out_channels",
    "output_stride": "output_stride",
    "auxiliary_loss": "use_auxiliary_head",
}


def from_scratch(
    goal: Goal, width: float, recipe: Recipe, image_size: int
) -> MobileViTV2PreTrainedModel:
    """A new network, drawn by the recipe's seed."""
    torch.manual_seed(seed_of(recipe.seed, "weights"))
    config = MobileViTV2Config(
        width_multiplier=width,
        image_size=image_size,
        drop_path_rate=recipe.drop_path,
        id2label=dict(enumerate(goal.data.classes)),
        **goal.config(recipe),
    )
    return goal.task.model_class(config)


def from_checkpoint(
    goal: Goal, source: Any, recipe: Recipe, image_size: int, asked: Iterable[str] = ()
) -> tuple[MobileViTV2PreTrainedModel, str]:
    """A checkpoint's network, with a new head unless its own fits; says which, for people.

    Raises ConfigError where settings `asked` for by name contradict a head that is kept.
    """
    torch.manual_seed(seed_of(recipe.seed, "weights"))
    checkpoint, classes = open_checkpoint(source), goal.data.classes
    model_class: Any = goal.task.model_class
    fields, new = goal.config(recipe), f"a new head for {len(classes)} classes"
    head = TASKS.get(checkpoint.task)
    if head and head.model != goal.task.model:
        head = None
    options = {} if head else fields | {"id2label": dict(enumerate(classes))}
    network = model_class.from_pretrained(checkpoint, drop_path_rate=recipe.drop_path, **options)
    if head:
        _check_kept(network.config, recipe, asked)
        task = task_of_config(network.config, head.name)
        if task == goal.task.name and list((network.config.id2label or {}).values()) == classes:
            new, colors = "its own head, whose classes are the same", network.config.class_colors
        else:
            network.reset_classifier(len(classes), classes)
            colors = fields.get("class_colors")
        network.config.problem_type = fields.get("problem_type")
        network.config.forget_class_facts()  # thresholds are chosen anew
        network.config.class_colors = colors
    network.config.image_size = image_size
    return network, new


def _check_kept(config: MobileViTV2Config, recipe: Recipe, asked: Iterable[str]) -> None:
    for setting, kept in KEPT.items():
        value, own = getattr(recipe, setting), getattr(config, kept)
        if setting in asked and value != own and own is not True:  # its auxiliary head is there
            raise ConfigError(
                f"{setting} is {value}, but the model keeps its own head, whose {kept} is {own}. "
                "Leave it out, or train from a backbone."
            )


def fresh_processor(goal: Goal, image_size: int) -> MobileViTImageProcessor:
    """RGB, and otherwise as the task needs it."""
    return goal.sized(MobileViTImageProcessor(do_flip_channel_order=False), image_size)


def processor_of(
    goal: Goal, source: Any, network: nn.Module, image_size: int
) -> MobileViTImageProcessor:
    """The checkpoint's own settings at another size, else those of its layout."""
    if isinstance(source, str | Path):
        stored = stored_processor(source, getattr(network, "config", None))
        if stored is not None:
            return goal.sized(stored, image_size)
    layout: Any = getattr(network, "checkpoint_layout", None) or "cvnets"
    return goal.sized(MobileViTImageProcessor.for_checkpoint(layout), image_size)


def of_run(goal: Goal, bundle: Path) -> tuple[MobileViTV2PreTrainedModel, MobileViTImageProcessor]:
    """The network of a run's bundle, without its weights, and the processor."""
    network = goal.task.model_class(MobileViTV2Config.from_pretrained(bundle))
    return network, MobileViTImageProcessor.from_pretrained(bundle)


def save_bundle(
    network: nn.Module,
    processor: MobileViTImageProcessor,
    classes: list[str],
    folder: Path,
    state: dict[str, Tensor],
) -> None:
    """Write weights, config, processor and labels; no config for a network from elsewhere."""
    folder.mkdir(parents=True, exist_ok=True)
    processor.save_pretrained(folder)
    if isinstance(network, MobileViTV2PreTrainedModel):
        network.config.preprocessor_config = processor.to_dict()
        network.save_pretrained(folder, state_dict=state)
    else:
        write_weights(state, folder / WEIGHTS_NAME, {"classes": json.dumps(classes)})


def freeze(network: nn.Module, stages: int | None) -> None:
    """Freeze the stem and so many stages, where the network has them."""
    if stages is None:
        return
    if not hasattr(network, "freeze"):
        raise ConfigError(f"freeze is {stages}, but a {type(network).__name__} has no such stages.")
    network.freeze(stages)  # pyright: ignore[reportCallIssue]
