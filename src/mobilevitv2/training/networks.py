"""The network of a run and how its images are prepared: from scratch, or from a checkpoint."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mobilevitv2.checkpoint.files import WEIGHTS_NAME, write_weights
from mobilevitv2.config import MobileViTV2Config
from mobilevitv2.data import ClassificationData
from mobilevitv2.errors import ConfigError
from mobilevitv2.model.classification import MobileViTV2ForImageClassification
from mobilevitv2.processor import MobileViTImageProcessor
from mobilevitv2.training.augment import seed_of
from mobilevitv2.training.recipe import Recipe

TINY = 96  # px: below, no border is cut off to validate


def choose_image_size(recipe: Recipe, data: ClassificationData) -> int:
    """The recipe's, or that of the median image as a multiple of 32, from 32 to 256 [px]."""
    if recipe.image_size is not None:
        return recipe.image_size
    return min(max(round(data.short_side / 32) * 32, 32), 256)


def from_scratch(
    width: float, recipe: Recipe, image_size: int, classes: list[str]
) -> MobileViTV2ForImageClassification:
    """A fresh network, by the recipe's seed."""
    torch.manual_seed(seed_of(recipe.seed, "weights"))
    config = MobileViTV2Config(
        width_multiplier=width,
        image_size=image_size,
        drop_path_rate=recipe.drop_path,
        id2label=dict(enumerate(classes)),
    )
    return MobileViTV2ForImageClassification(config)


def from_checkpoint(
    source: Any, recipe: Recipe, image_size: int, classes: list[str]
) -> tuple[MobileViTV2ForImageClassification, str]:
    """The network of a checkpoint; with a new head, unless its classes are these. Says which."""
    torch.manual_seed(seed_of(recipe.seed, "weights"))
    network = MobileViTV2ForImageClassification.from_pretrained(
        source, drop_path_rate=recipe.drop_path
    )
    network.config.image_size = image_size
    labels = network.config.id2label or {}
    if list(labels.values()) == classes:
        return network, "its own head, whose classes are the same"
    network.reset_classifier(len(classes), classes)
    return network, f"a new head for {len(classes)} classes"


def fresh_processor(image_size: int) -> MobileViTImageProcessor:
    """RGB, and the reference's margin around the crop; none for tiny images."""
    return _sized(MobileViTImageProcessor(do_flip_channel_order=False), image_size)


def processor_of(source: Any, network: nn.Module, image_size: int) -> MobileViTImageProcessor:
    """The checkpoint's own settings at another size; without any, those of its layout."""
    if isinstance(source, str | Path):
        try:
            return _sized(MobileViTImageProcessor.from_pretrained(source), image_size)
        except FileNotFoundError:
            pass
    layout: Any = getattr(network, "checkpoint_layout", None) or "cvnets"
    return _sized(MobileViTImageProcessor.for_checkpoint(layout), image_size)


def of_run(
    bundle: Path,
) -> tuple[MobileViTV2ForImageClassification, MobileViTImageProcessor]:
    """The network of a run's bundle, without its weights, and its processor."""
    network = MobileViTV2ForImageClassification(MobileViTV2Config.from_pretrained(bundle))
    return network, MobileViTImageProcessor.from_pretrained(bundle)


def save_bundle(
    network: nn.Module,
    processor: MobileViTImageProcessor,
    classes: list[str],
    folder: Path,
    state: dict[str, Tensor],
) -> None:
    """Weights, config, processor and labels; of a network of another kind, no config."""
    folder.mkdir(parents=True, exist_ok=True)
    processor.save_pretrained(folder)
    if isinstance(network, MobileViTV2ForImageClassification):
        network.save_pretrained(folder, state_dict=state)
    else:
        write_weights(state, folder / WEIGHTS_NAME, {"classes": json.dumps(classes)})


def freeze(network: nn.Module, stages: int | None) -> None:
    """Freeze the stem and so many stages of one of our networks."""
    if stages is None:
        return
    if not isinstance(network, MobileViTV2ForImageClassification):
        raise ConfigError(f"freeze is {stages}, but a {type(network).__name__} has no such stages.")
    network.freeze(stages)


def _sized(processor: MobileViTImageProcessor, image_size: int) -> MobileViTImageProcessor:
    margin = MobileViTImageProcessor.for_checkpoint("cvnets", image_size).size
    return replace(
        processor,
        do_resize=True,
        do_center_crop=True,
        size={"shortest_edge": image_size} if image_size < TINY else margin,
        crop_size={"height": image_size, "width": image_size},
    )
