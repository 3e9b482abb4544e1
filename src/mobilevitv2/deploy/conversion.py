"""A checkpoint from one published layout to another: `convert`."""

import logging
from pathlib import Path
from typing import Literal

from mobilevitv2.bundle import bundle_of, files_of_model
from mobilevitv2.config import CONFIG_NAME
from mobilevitv2.errors import CheckpointError
from mobilevitv2.files.replacing import Place
from mobilevitv2.files.source import WEIGHTS_NAME
from mobilevitv2.model.opening import open_model, open_processor, task_of_model
from mobilevitv2.processor_settings import FILE_NAME
from mobilevitv2.tasks import task_named

logger = logging.getLogger(__name__)

Layout = Literal["transformers", "timm", "cvnets"]

SUFFIXES = {"timm": (".safetensors", ".pth", ".pt"), "cvnets": (".pt", ".pth")}  # that each opens
BUNDLE = (CONFIG_NAME, WEIGHTS_NAME, FILE_NAME)


def convert(
    source: str | Path, *, layout: Layout, out: str | Path, overwrite: bool = False
) -> Path:
    """Write a model to `out`: for transformers a bundle's folder, else one weights file.

    A folder holds the class names and how images are prepared; a file for timm or ml-cvnets has
    both as metadata, which only this package reads. Raises FileExistsError if `out` exists, unless
    `overwrite` and an earlier conversion made it; CheckpointError for what can't be opened, and for
    a wrong suffix.
    """
    source, out = bundle_of(source), Path(out).expanduser()
    _check(out, layout, overwrite=overwrite)
    is_folder, inputs = layout == "transformers", files_of_model(source)
    place = Place(out, "convert") if is_folder else Place.beside(out, "convert")[0]
    names = BUNDLE if is_folder else (out.name,)
    place.check(names, overwrite=overwrite, inputs=inputs)
    model = open_model(source)
    task = task_named(task_of_model(model))
    if layout not in task.layouts:
        raise CheckpointError(
            f"{source} is for {task.name}, and {layout} has no such model. Convert it to "
            f"{' and '.join(task.layouts)}."
        )
    processor = open_processor(source, model)
    head = getattr(model, "segmentation_head", None) and model.config.segmentation_head
    if is_folder and head == "pspnet":
        raise CheckpointError(
            f"{source} has PSPNet's head, which transformers lacks: it would put a random one in "
            "its place. ml-cvnets has it."
        )
    if not is_folder and processor.channel_order == "bgr":
        logger.warning(
            "%s takes BGR images; a %s file can't say so: its library feeds RGB.", source, layout
        )
    with place.replaced(overwrite=overwrite, names=names, inputs=inputs) as stage:
        model.save_as(stage if is_folder else stage / out.name, layout=layout)
        if is_folder:
            processor.save_pretrained(stage)
    return out


def _check(out: Path, layout: Layout, *, overwrite: bool) -> None:
    suffixes = SUFFIXES.get(layout)
    if suffixes is None and out.is_file():
        raise FileExistsError(f"{out} is a file; the transformers layout is a folder.")
    if suffixes and out.is_dir():
        raise FileExistsError(
            f"{out} is a folder; the {layout} layout is one file, such as "
            f"{out / 'model'}{suffixes[0]}."
        )
    if suffixes and out.suffix not in suffixes:
        raise CheckpointError(f"{out} must end in {' or '.join(suffixes)} for {layout}.")
    taken = any(out.iterdir()) if out.is_dir() else out.exists()
    if taken and not overwrite:
        raise FileExistsError(f"{out} exists already. Choose another place, or overwrite it.")
