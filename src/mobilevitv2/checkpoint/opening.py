"""Opens any checkpoint: its tensors under our names, and what else is known about it."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from mobilevitv2.bundle import is_timm, settings_beside
from mobilevitv2.checkpoint.files import check_finite, find_weights, read_weights
from mobilevitv2.checkpoint.layouts import recognize, rename, task_of
from mobilevitv2.checkpoint.shapes import infer_config
from mobilevitv2.class_names import ADE20K, COCO, VOC, palette
from mobilevitv2.config import CONFIG_NAME
from mobilevitv2.files.source import is_loose, read_json, resolve_file

logger = logging.getLogger(__name__)

SEGMENTED_AT = 512  # px: the short side at which ml-cvnets trains and evaluates segmenters
# ml-cvnets' published segmenters by their number of classes: names, output stride, dilations.
SEGMENTERS: dict[int, tuple[tuple[str, ...], int, list[int]]] = {
    len(VOC): (VOC, 16, [6, 12, 18]),
    len(ADE20K): (ADE20K, 8, [12, 24, 36]),
}
DETECTED_AT = 320  # px: the published detectors take 320x320 images


@dataclass
class Checkpoint:
    """Weights under our names, the keys that have none, and all else that is known about them."""

    name: str
    layout: str
    task: str  # of its head, by `layouts.task_of`
    state: dict[str, Tensor]
    unknown: list[str]
    config: dict[str, Any]  # fields of a `MobileViTV2Config`


def open_checkpoint(
    source: str | Path | nn.Module | Checkpoint, config: Mapping[str, Any] | None = None, **hub: Any
) -> Checkpoint:
    """Open a folder, file, hub id (`hub` are `resolve_file`'s options) or live module.

    The config is the one given; else the source's config.json, also for a single file with a
    bundle's file name; else what the tensors' shapes say. Raises CheckpointError, ConfigError or
    FileNotFoundError.
    """
    if isinstance(source, Checkpoint):
        return source
    labels = noted = None
    if isinstance(source, nn.Module):
        name = f"a live {type(source).__name__}"
        state = dict(source.state_dict())
        check_finite(state, name)
        to_dict = getattr(getattr(source, "config", None), "to_dict", lambda: None)
        fields, images = config or to_dict(), {}
    else:
        name = str(source)
        path = find_weights(source, **hub)
        fields, images = config or _config_beside(source, **hub), settings_beside(source, **hub)
        state, labels, noted = read_weights(path)
    layout = recognize(state)
    renamed, unknown = rename(state, layout)
    if fields is None and noted:
        classes = infer_config(renamed).get("num_labels")
        if classes in (None, len(noted.get("id2label") or ())):  # the head is still the same
            fields = noted | _names(name, noted, labels)
    if fields is None or is_timm(fields):
        theirs = (fields or {}).get("pretrained_cfg") or getattr(source, "pretrained_cfg", {}) or {}
        names = theirs.get("label_names")
        labels = labels or (names if isinstance(names, list) else None)
        fields = _inferred(name, renamed, labels) | _of_timm(source, theirs)
    return Checkpoint(name, layout, task_of(state), renamed, unknown, {**fields, **images})


def _inferred(name: str, state: dict[str, Tensor], labels: list[str] | None) -> dict[str, Any]:
    fields = infer_config(state)
    if "segmentation_head" in fields:
        fields |= _published_segmenter(name, fields["num_labels"])
    elif task_of(state) == "detection":
        fields["image_size"] = DETECTED_AT
        if fields.get("num_labels") == len(COCO):
            fields["id2label"] = dict(enumerate(COCO))
    return fields | _names(name, fields, labels)


def _names(name: str, fields: Mapping[str, Any], labels: list[str] | None) -> dict[str, Any]:
    """The class names that came with the weights, if they fit the head."""
    if labels and len(labels) == fields.get("num_labels"):
        return {"id2label": dict(enumerate(labels))}
    if labels:
        logger.warning(
            "%s: its %d class names don't fit its head, so they aren't used", name, len(labels)
        )
    return {}


def _published_segmenter(name: str, classes: int) -> dict[str, Any]:
    """What a segmenter's tensors don't show, as in the published weights with as many classes."""
    if classes not in SEGMENTERS:
        logger.warning(
            "%s has %d classes, so its output stride isn't known, as it would be with %s; using 16 "
            "and dilations of 6, 12 and 18. Pass output_stride and atrous_rates for others",
            name,
            classes,
            " or ".join(map(str, SEGMENTERS)),
        )
        return {"output_stride": 16, "image_size": SEGMENTED_AT}
    names, stride, rates = SEGMENTERS[classes]
    first = int(names is ADE20K)
    return {
        "id2label": dict(enumerate(names)),
        "output_stride": stride,
        "atrous_rates": rates,
        "image_size": SEGMENTED_AT,
        "class_colors": [list(color) for color in palette(first + classes)[first:]],
    }


def _config_beside(source: str | Path, **hub: Any) -> dict[str, Any] | None:
    if is_loose(source):
        return None
    try:
        return read_json(resolve_file(source, CONFIG_NAME, **hub))
    except FileNotFoundError:
        logger.warning("%s has no config.json; inferring the config from the weights", source)
        return None


def _of_timm(source: Any, pretrained_cfg: Mapping[str, Any]) -> dict[str, Any]:
    """A live timm model's output stride and the weights' image size, which tensors don't show."""
    fields = {}
    if info := getattr(source, "feature_info", None):
        strides = info.reduction() if hasattr(info, "reduction") else [f["reduction"] for f in info]
        if len(strides) == 5:
            fields["output_stride"] = max(strides)
    found = pretrained_cfg.get("input_size")
    if isinstance(found, list | tuple) and len(found) == 3 and found[1] == found[2]:
        fields["image_size"] = found[2]
    return fields
