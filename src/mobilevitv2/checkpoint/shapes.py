"""What the shapes of a checkpoint's tensors say about its model."""

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

from mobilevitv2.checkpoint.layouts import count_attention_layers, key_table
from mobilevitv2.config import MobileViTV2Config
from mobilevitv2.errors import CheckpointError

BACKBONE = "mobilevitv2."
CLASSIFIER = "classifier.weight"
SEGMENTER = "segmentation_head.classifier.convolution.weight"
MIXED = {  # the tensor that tells a segmentation head
    "deeplabv3": "segmentation_head.aspp.project.convolution.weight",
    "pspnet": "segmentation_head.pyramid.fusion.convolution.weight",
}
DETECTOR = "detection_head.predictors.5.conv_1x1.convolution.weight"
DETECTOR_ANCHORS = 4  # that it answers for, each with four numbers for its box, then the scores
STEPS = (4, 20, 100, 1000, 10000)  # numbers with few digits are tried first: 0.5, 0.85, 0.333


def infer_config(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Fields of a `MobileViTV2Config` whose model has exactly these tensors, under our names.

    Fields that weights don't show are left out, such as `output_stride`. Raises CheckpointError if
    backbone tensors are missing, or if no config gives their shapes.
    """
    depths = [max(depth, 1) for depth in count_attention_layers(state)]
    table = key_table("transformers", depths)
    missing = [key for key in table if key.startswith(BACKBONE) and key not in state]
    if missing:
        raise CheckpointError(
            f"the checkpoint lacks {len(missing)} tensors of the backbone, so its config can't be "
            f"inferred from the weights: {', '.join(missing)}."
        )

    def size(module: str, axis: int = 0) -> int:
        shape = list(state[f"{BACKBONE}{module}.weight"].shape)
        if len(shape) != 4 or 0 in shape:
            raise CheckpointError(f"{module}.weight is {shape}; expected a convolution's 4 sizes.")
        return shape[axis]

    blocks = [f"encoder.layer.{i}" for i in (2, 3, 4)]
    channels = (
        size("conv_stem.convolution"),
        size("encoder.layer.0.layer.0.reduce_1x1.convolution"),
        size("encoder.layer.1.layer.1.reduce_1x1.convolution"),
        *(size(f"{block}.conv_projection.convolution") for block in blocks),
    )
    dims = tuple(size(f"{block}.conv_1x1.convolution") for block in blocks)
    hidden = tuple(size(f"{block}.transformer.layer.0.ffn.conv1.convolution") for block in blocks)
    widening = "encoder.layer.4.downsampling_layer.expand_1x1.convolution"
    fields: dict[str, Any] = {
        "num_channels": size("conv_stem.convolution", axis=1),
        "conv_kernel_size": size("encoder.layer.2.conv_kxk.convolution", axis=3),
        "n_attn_blocks": depths,
        "width_multiplier": _width(channels, dims),
        "ffn_multiplier": _ffn_multiplier(dims, hidden),
        "expand_ratio": size(widening) / size(widening, axis=1),
    }
    return fields | _of_head(state)


def _of_head(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """What the shapes of a head say; empty for a backbone."""
    first = {key: tensor.shape[0] for key, tensor in state.items() if tensor.ndim}
    fields: dict[str, Any] = {}
    for key in (CLASSIFIER, SEGMENTER):
        if key in first:
            fields["num_labels"] = first[key]
    for name, mixed in MIXED.items():
        if mixed in first and "segmentation_head" not in fields:
            fields |= {"segmentation_head": name, "aspp_out_channels": first[mixed]}
            fields["use_auxiliary_head"] = any(k.startswith("auxiliary_head.") for k in state)
    if DETECTOR in first:
        answers, rest = divmod(first[DETECTOR], DETECTOR_ANCHORS)
        if rest or answers < 6:
            raise CheckpointError(
                f"{DETECTOR} is {list(state[DETECTOR].shape)}; expected {DETECTOR_ANCHORS} times 5 "
                "plus the number of classes first, so these aren't a detector's weights."
            )
        fields["num_labels"] = answers - 5  # without the background
    return fields


def _width(channels: tuple[int, ...], dims: tuple[int, ...]) -> float:
    for width in _numbers((channels[-1] - 8) / 512, (channels[-1] + 8) / 512):
        if not 0.05 <= width <= 16:
            continue
        config = MobileViTV2Config(width_multiplier=width)
        derived = (config.stem_channels, *config.stage_channels)
        if derived == channels and config.attention_dims == dims:
            return width
    raise CheckpointError(
        f"no width_multiplier gives {channels} channels (stem and stages) with {dims} in the "
        "attention. Put the weights into a folder with their config.json, or pass config."
    )


def _ffn_multiplier(dims: tuple[int, ...], hidden: tuple[int, ...]) -> float:
    near = hidden[-1] / dims[-1]
    for multiplier in _numbers(near, near + 16 / dims[-1]):
        config = MobileViTV2Config(ffn_multiplier=max(multiplier, 0.25))
        if tuple(map(config.ffn_dim, dims)) == hidden:
            return int(multiplier) if multiplier == int(multiplier) else multiplier
    raise CheckpointError(
        f"no ffn_multiplier gives {hidden} hidden channels at {dims}. Put the weights into a "
        "folder with their config.json, or pass config."
    )


def _numbers(low: float, high: float) -> Iterable[float]:
    """Numbers from `low` to `high`, with few digits first."""
    for step in STEPS:
        yield from (n / step for n in range(round(low * step), round(high * step) + 1))
