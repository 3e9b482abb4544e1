"""A bundle without its weights: its place, its task, and how its images are prepared. No torch."""

import json
import logging
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from mobilevitv2.class_names import ClassFacts
from mobilevitv2.config import CONFIG_NAME, MobileViTV2Config
from mobilevitv2.errors import CheckpointError, ConfigError
from mobilevitv2.files.source import WEIGHTS_NAME, is_hub_id, is_loose, read_json, resolve_file
from mobilevitv2.processor import MobileViTImageProcessor
from mobilevitv2.processor_settings import FILE_NAME
from mobilevitv2.tasks import TASKS

logger = logging.getLogger(__name__)

BACKBONE = "mobilevitv2."  # how keys begin in transformers' layout
LONGEST_HEADER = 64 << 20  # bytes; of a safetensors file


class Bundle:
    """A folder with config.json and model.safetensors, each read once and only if needed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def fields(self) -> dict[str, Any]:
        """config.json, with preprocessor_config.json as its field."""
        return read_json(self.folder / CONFIG_NAME) | settings_beside(self.folder)

    @cached_property
    def config(self) -> MobileViTV2Config:
        """The checked fields. Raises ConfigError."""
        return MobileViTV2Config.from_dict(self.fields)

    def is_ours(self) -> bool:
        """Whether both files are there, in transformers' layout, even with damaged weights."""
        if not all((self.folder / name).is_file() for name in (CONFIG_NAME, WEIGHTS_NAME)):
            return False
        if is_timm(self.fields):
            return False
        with (self.folder / WEIGHTS_NAME).open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            try:
                keys = json.loads(file.read(min(length, LONGEST_HEADER)))
            except ValueError:
                return True
        return not isinstance(keys, dict) or any(key.startswith(BACKBONE) for key in keys)


def is_timm(fields: Mapping[str, Any]) -> bool:
    """Whether these are the fields of timm's config.json."""
    return "architecture" in fields and "model_type" not in fields


def find_bundle(source: str | Path) -> Bundle | None:
    """The bundle at a folder, its weights file or a hub id, from where it is fetched.

    None for every other checkpoint. Raises FileNotFoundError for a source that neither exists nor
    reads like a hub id.
    """
    path = Path(source).expanduser()
    if path.name == WEIGHTS_NAME and path.is_file():
        path = path.parent
    elif not path.exists():
        path = _hub_folder(source)
    bundle = Bundle(path) if path else None
    return bundle if bundle and bundle.is_ours() else None


def _hub_folder(source: str | Path) -> Path | None:
    found = set()
    for name in (CONFIG_NAME, WEIGHTS_NAME, FILE_NAME):
        try:
            found.add(resolve_file(source, name).parent)
        except FileNotFoundError:
            if not is_hub_id(source):
                raise
            if name != FILE_NAME:
                return None
    return found.pop() if len(found) == 1 else None


def bundle_of(source: str | Path) -> str | Path:
    """The bundle of a training run's best epoch; any other source as it is."""
    folder = Path(source).expanduser()
    is_run = (folder / "best" / CONFIG_NAME).is_file() and not (folder / CONFIG_NAME).exists()
    return folder / "best" if is_run else source


def files_of_model(source: str | Path) -> list[Path]:
    """The files on this disk that may be read to open a model."""
    path = Path(source).expanduser()
    if path.is_file():
        return [path, *path.parent.glob("*.json")]
    return [file for file in path.iterdir() if file.is_file()] if path.is_dir() else []


def task_of_config(config: MobileViTV2Config, head: str) -> str:
    """The task of a model with this config and the head of the task `head`.

    A classifier is multi-label if its `problem_type` says so, or if it has a single label that
    isn't a number to estimate.
    """
    if head != "classification" or config.problem_type == "regression":
        return head
    each = config.problem_type == "multi_label_classification" or config.num_labels == 1
    return "multi-label classification" if each else head


def facts_of(config: MobileViTV2Config) -> ClassFacts:
    """What a config says of the classes.

    Raises CheckpointError for a model that doesn't take color images or doesn't name classes.
    """
    if config.problem_type == "regression":
        raise CheckpointError(
            "a model with problem_type regression estimates numbers, so it can't name what is in "
            "an image. Use the model itself: its logits are the numbers."
        )
    channels, classes = config.num_channels, len(config.id2label or {})
    if channels != 3 or classes < 1:
        raise CheckpointError(
            f"a model with {channels} input channels and {classes} classes can't name what is "
            "in an image; expected 3 channels and at least one class."
        )
    return config.class_facts


def processor_of(
    source: str | Path, *, task: str, config: MobileViTV2Config, layout: Any = "transformers"
) -> MobileViTImageProcessor:
    """A checkpoint's processor, from its file or config, or else the usual one of its layout.

    It fits images as the task needs them, whatever the file says: segmenters and detectors get
    whole images, so that every pixel gets a class and every object a box.
    """
    processor = stored_processor(source, config)
    if processor is None:
        side = config.image_size if isinstance(config.image_size, int) else config.image_size[0]
        processor = MobileViTImageProcessor.for_checkpoint(layout, side)
        logger.warning(
            "%s has no preprocessor_config.json; images are prepared as for %s weights: %d px, %s",
            source,
            layout,
            processor.crop_size["height"],
            processor.channel_order.upper(),
        )
    fit = TASKS[task].fit
    if fit == "crop" or not processor.do_center_crop:
        return processor
    if fit == "stretch":
        return processor.stretched(**processor.crop_size)
    short_side = min(processor.crop_size.values())
    return replace(processor, do_center_crop=False, size={"shortest_edge": short_side})


def stored_processor(
    source: str | Path, config: MobileViTV2Config | None
) -> MobileViTImageProcessor | None:
    """The processor in a model's config or beside its weights. Raises ConfigError if damaged."""
    if config is not None and config.preprocessor_config is not None:
        try:
            return MobileViTImageProcessor.from_dict(config.preprocessor_config)
        except ConfigError as error:
            raise ConfigError(f"{source}, {FILE_NAME}: {error}") from error
    if is_loose(source):
        return None
    fetched = config is not None  # with the config, if there is one
    try:
        return MobileViTImageProcessor.from_pretrained(source, local_files_only=fetched)
    except FileNotFoundError:
        return None


def settings_beside(source: str | Path, **hub: Any) -> dict[str, Any]:
    """The config's field `preprocessor_config`, from the file beside the weights.

    With it a model is saved again. Empty without a file; None for a damaged one, about which
    `stored_processor` raises. `hub` are `resolve_file`'s options.
    """
    if is_loose(source):
        return {}
    try:
        return {"preprocessor_config": read_json(resolve_file(source, FILE_NAME, **hub))}
    except FileNotFoundError:
        return {}
    except ConfigError:
        return {"preprocessor_config": None}
