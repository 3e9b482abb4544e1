"""What a model returns: read by attribute, by key or as a tuple, like transformers' outputs."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

from torch import Tensor
from torch.utils import _pytree


@dataclass
class ModelOutput:
    """Named tensors; those that are None are absent from keys, length and tuple."""

    def keys(self) -> tuple[str, ...]:
        return tuple(f.name for f in fields(self) if getattr(self, f.name) is not None)

    def values(self) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name in self.keys())

    to_tuple = values

    def items(self) -> tuple[tuple[str, Any], ...]:
        return tuple(zip(self.keys(), self.values(), strict=True))

    def get(self, key: str, default: Any = None) -> Any:
        return dict(self.items()).get(key, default)

    def __getitem__(self, key: str | int | slice) -> Any:
        if not isinstance(key, str):
            return self.values()[key]
        if key not in self:
            raise KeyError(f"{key!r} is not among this output's {', '.join(self.keys())}")
        return getattr(self, key)

    def __contains__(self, key: object) -> bool:
        return key in self.keys()

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __len__(self) -> int:
        return len(self.keys())


@dataclass
class BackboneFeatures(ModelOutput):
    """Feature maps [B, C, H, W], in the order of the backbone's `out_indices`."""

    feature_maps: tuple[Tensor, ...] | None = None


@dataclass
class BaseModelOutput(ModelOutput):
    """`last_hidden_state` [B, C, H, W], its mean over the map [B, C], and the five stages' maps."""

    last_hidden_state: Tensor | None = None
    pooler_output: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None


@dataclass
class ImageClassifierOutput(ModelOutput):
    """`logits` [B, num_labels], the loss where labels were given, and the five stages' maps."""

    loss: Tensor | None = None
    logits: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None


@dataclass
class SemanticSegmenterOutput(ModelOutput):
    """`logits` [B, num_labels, H/stride, W/stride], the loss, and the five stages' maps.

    `auxiliary_logits` are the auxiliary head's, on the fourth stage's map; in training only.
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None
    auxiliary_logits: Tensor | None = None


@dataclass
class ObjectDetectionOutput(ModelOutput):
    """What each anchor shows, and where: `logits` [B, anchors, 1 + num_labels], background first.

    `pred_boxes` [B, anchors, 4] are center x, center y, width and height as fractions of the image,
    not clipped to it. With labels there are `loss` and, in `loss_dict`, its two parts.
    """

    loss: Tensor | None = None
    loss_dict: dict[str, Tensor] | None = None
    logits: Tensor | None = None
    pred_boxes: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None


for _output in ModelOutput.__subclasses__():
    _pytree.register_dataclass(_output)  # so that torch.export can return it
