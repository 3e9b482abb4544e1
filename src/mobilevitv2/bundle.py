"""A bundle, without its weights: where it lies, what it is for, how its images are prepared.

Nothing here needs torch, so a bundle that runs in the engine or as an exported file doesn't either.
"""

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

from mobilevitv2.config import CONFIG_NAME, MobileViTV2Config
from mobilevitv2.errors import CheckpointError
from mobilevitv2.files.source import WEIGHTS_NAME, is_hub_id, is_loose, read_json, resolve_file
from mobilevitv2.processor import MobileViTImageProcessor
from mobilevitv2.processor_settings import FILE_NAME
from mobilevitv2.tasks import TASKS

logger = logging.getLogger(__name__)

BACKBONE = "mobilevitv2."  # how keys begin in transformers' layout
LONGEST_HEADER = 64 << 20  # bytes; of a safetensors file


def bundle_of(source: str | Path) -> str | Path:
    """The same, but for the folder of a training run the bundle of its best epoch."""
    folder = Path(source).expanduser()
    is_run = (folder / "best" / CONFIG_NAME).is_file() and not (folder / CONFIG_NAME).exists()
    return folder / "best" if is_run else source


def files_of_model(source: str | Path) -> list[Path]:
    """The files on this disk that may be read to open a model."""
    path = Path(source).expanduser()
    if path.is_file():
        return [path, *path.parent.glob("*.json")]
    return [file for file in path.iterdir() if file.is_file()] if path.is_dir() else []


def bundle_folder(source: str | Path) -> Path | None:
    """The folder with config.json and model.safetensors that is meant, in transformers' layout.

    By itself, by its weights file, or as a hub id, whose files are fetched where the cache has
    none. None for every other checkpoint: only `checkpoint` knows what that is. Raises
    FileNotFoundError for what is neither here nor reads like a hub id.
    """
    path = Path(source).expanduser()
    if path.name == WEIGHTS_NAME and path.is_file():
        path = path.parent
    elif not path.exists():
        return _hub_folder(source)
    return path if _is_bundle(path) else None


def task_of_config(config: MobileViTV2Config, head: str) -> str:
    """The task of a model with this config, whose head is that of the task `head`.

    A classifier says yes or no to each label, instead of choosing one, where its `problem_type`
    says so, and where it has a single label, unless that is a number to estimate.
    """
    if head != "classification" or config.problem_type == "regression":
        return head
    yes_or_no = config.problem_type == "multi_label_classification" or config.num_labels == 1
    return "multi-label classification" if yes_or_no else head


def check_names(config: MobileViTV2Config) -> None:
    """Raise CheckpointError for a model that takes no pictures, or that has no classes."""
    channels, classes = config.num_channels, len(config.id2label or {})
    if channels != 3 or classes < 1:
        raise CheckpointError(
            f"a model with {channels} input channels and {classes} classes can't name what is "
            "in an image: 3 channels and at least one class are wanted."
        )


def processor_of(
    source: str | Path, *, task: str, config: MobileViTV2Config, layout: str = "transformers"
) -> MobileViTImageProcessor:
    """The processor that belongs to a checkpoint: its file's, its config's, or its layout's.

    It fits images as the task needs them, whatever the file says: for a segmenter and a detector
    nothing is cut off, since every pixel gets a class and every thing a box.
    """
    processor = stored_processor(source, config) or _usual_processor(source, config, layout)
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
    """The processor of the file beside the weights, or else what their config noted of it."""
    if not is_loose(source):
        try:
            return MobileViTImageProcessor.from_pretrained(source)
        except FileNotFoundError:
            pass
    noted = None if config is None else config.preprocessor_config
    return None if noted is None else MobileViTImageProcessor.from_dict(noted)


def _usual_processor(
    source: str | Path, config: MobileViTV2Config, layout: Any
) -> MobileViTImageProcessor:
    image_size = config.image_size
    processor = MobileViTImageProcessor.for_checkpoint(
        layout, image_size if isinstance(image_size, int) else image_size[0]
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


def _is_bundle(folder: Path) -> bool:
    if not (folder / CONFIG_NAME).is_file() or not (folder / WEIGHTS_NAME).is_file():
        return False
    config = read_json(folder / CONFIG_NAME)
    if "architecture" in config and "model_type" not in config:  # timm's own
        return False
    return _has_our_keys(folder / WEIGHTS_NAME)


def _has_our_keys(weights: Path) -> bool:
    """Whether tensors are called as transformers calls them; so are those of a damaged file."""
    with weights.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        try:
            keys = json.loads(file.read(min(length, LONGEST_HEADER)))
        except ValueError:
            return True
    return not isinstance(keys, dict) or any(key.startswith(BACKBONE) for key in keys)


def _hub_folder(source: str | Path) -> Path | None:
    found = []
    for name in (CONFIG_NAME, WEIGHTS_NAME, FILE_NAME):
        try:
            found.append(resolve_file(source, name).parent)
        except FileNotFoundError:
            if not is_hub_id(source):
                raise
            if name != FILE_NAME:
                return None
    same = len(set(found)) == 1
    return found[0] if same and _is_bundle(found[0]) else None
