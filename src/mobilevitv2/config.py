"""`MobileViTV2Config`: every number that shapes a model, and all that is derived from them.

It holds what `config.json` holds, under transformers' names; channels and strides are derived here
and nowhere else.
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar

from mobilevitv2.errors import ConfigError
from mobilevitv2.files.source import read_json, resolve_file
from mobilevitv2.files.writing import write_atomic

logger = logging.getLogger(__name__)

CONFIG_NAME = "config.json"
SMALLEST = 32  # px of an image side: five halvings leave one pixel
ACTIVATIONS = ("swish", "silu", "relu", "gelu", "hardswish", "hard_swish", "relu6", "mish")
SEGMENTATION_HEADS = ("deeplabv3", "pspnet")
PROBLEM_TYPES = ("regression", "single_label_classification", "multi_label_classification")
# What transformers writes into every config.json and no MobileViTv2 needs: kept without a word.
BOOKKEEPING = frozenset(
    (
        "_name_or_path",
        "_commit_hash",
        "_attn_implementation",
        "attn_implementation",
        "chunk_size_feed_forward",
        "dtype",
        "torch_dtype",
        "is_encoder_decoder",
        "output_attentions",
        "transformers_version",
    )
)


def round_channels(value: float, multiple: int, least: int | None = None) -> int:
    """`value` rounded to a multiple, at least `least`, never more than 10 % below `value`.

    Source: ml-cvnets `utils/math_utils.py` (the rule of MobileNetV2).
    """
    rounded = max(least or multiple, int(value + multiple / 2) // multiple * multiple)
    return rounded + multiple if rounded < 0.9 * value else rounded


@dataclass(kw_only=True)
class MobileViTV2Config:
    """Names and defaults of transformers' `MobileViTV2Config`, and what only we have.

    Ours alone are `drop_path_rate` and, for segmentation, `segmentation_head` (with `pool_scales`
    for PSPNet; `aspp_out_channels` and `aspp_dropout_prob` count for either head),
    `use_auxiliary_head` with `auxiliary_loss_weight`, and `class_colors`.

    Values are checked when the config is made; a wrong type or range raises `ConfigError`. Setting
    `num_labels` afterwards renames the labels to LABEL_0, LABEL_1, ...; setting `id2label` sets
    the number. `image_size`, `initializer_range` change nothing in the network: it takes any size,
    and is initialized as ml-cvnets trained it.
    """

    model_type: ClassVar[str] = "mobilevitv2"

    num_channels: int = 3
    image_size: int | list[int] = 256
    patch_size: int | list[int] = 2
    expand_ratio: float = 2.0
    hidden_act: str = "swish"
    conv_kernel_size: int = 3
    output_stride: int = 32
    classifier_dropout_prob: float = 0.1
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-5
    aspp_out_channels: int = 512
    atrous_rates: list[int] = field(default_factory=lambda: [6, 12, 18])
    aspp_dropout_prob: float = 0.1
    semantic_loss_ignore_index: int = 255
    n_attn_blocks: list[int] = field(default_factory=lambda: [2, 4, 3])
    base_attn_unit_dims: list[int] = field(default_factory=lambda: [128, 192, 256])
    width_multiplier: float = 1.0
    ffn_multiplier: float = 2
    attn_dropout: float = 0.0
    ffn_dropout: float = 0.0
    drop_path_rate: float = 0.0
    segmentation_head: str = "deeplabv3"
    pool_scales: list[int] = field(default_factory=lambda: [1, 2, 3, 6])
    use_auxiliary_head: bool = False
    auxiliary_loss_weight: float = 0.4
    class_colors: list[list[int]] | None = None  # RGB, one for each class, to draw with
    num_labels: int | None = None  # an int once made
    id2label: dict[int, str] | None = None  # a dict once made
    label2id: dict[str, int] | None = None  # a dict once made
    problem_type: str | None = None
    output_hidden_states: bool = False
    return_dict: bool = True
    architectures: list[str] | None = None
    preprocessor_config: dict[str, Any] | None = None  # how the weights want images, if it is known
    label_thresholds: list[float] | None = None  # of a multi-label model, in [0, 1], for each class
    unknown: dict[str, Any] = field(default_factory=dict)  # fields of a file that are not ours

    def __post_init__(self) -> None:
        self._check()
        wanted, names = self.num_labels, self.id2label
        if names is None:
            self.num_labels = 2 if wanted is None else wanted
        elif wanted is not None and wanted != len(names):
            raise ConfigError(
                f"num_labels is {wanted}, but id2label names {len(names)} classes. "
                "Give one of them, or make them agree."
            )
        else:
            self.id2label = names

    def __setattr__(self, name: str, value: Any) -> None:
        """Keep `num_labels`, `id2label` and `label2id` in agreement, once all fields are there."""
        if "unknown" not in self.__dict__:  # the last field: `__init__` is still running
            return object.__setattr__(self, name, value)
        if name == "id2label" and value is not None:
            value = checked_labels(value)
            object.__setattr__(self, "num_labels", len(value))
            object.__setattr__(self, "label2id", {label: i for i, label in value.items()})
        object.__setattr__(self, name, value)
        if name == "num_labels" and value is not None:
            names = self.__dict__.get("id2label")
            if names is None or len(names) != value:
                self.id2label = {i: f"LABEL_{i}" for i in range(value)}

    # What is derived

    @property
    def stem_channels(self) -> int:
        """Channels after the first convolution."""
        return round_channels(min(max(32 * self.width_multiplier, 16), 64), 8, least=16)

    @property
    def stage_channels(self) -> tuple[int, ...]:
        """Output channels of the five stages."""
        bases = ((64, 16), (128, 8), (256, 8), (384, 8), (512, 8))
        return tuple(round_channels(base * self.width_multiplier, to) for base, to in bases)

    @property
    def attention_dims(self) -> tuple[int, ...]:
        """Channels d inside the attention layers of stages 3, 4 and 5."""
        return tuple(round_channels(d * self.width_multiplier, 8) for d in self.base_attn_unit_dims)

    def ffn_dim(self, dim: int) -> int:
        """Hidden channels of the feed-forward part at `dim` channels."""
        return int(self.ffn_multiplier * dim // 16 * 16)

    @property
    def stage_strides(self) -> tuple[int, ...]:
        """Input pixels per feature-map pixel after each of the five stages."""
        return tuple(min(stride, self.output_stride) for stride in (2, 4, 8, 16, 32))

    @property
    def pool_channels(self) -> int:
        """Channels of each of PSPNet's pooled branches; source: ml-cvnets."""
        return max(self.stage_channels[-1] // len(self.pool_scales) // 16 * 16, 16)

    @property
    def auxiliary_channels(self) -> int:
        """Channels inside the auxiliary head; source: ml-cvnets."""
        return max(self.stage_channels[-2] // 4, 128)

    @property
    def patch(self) -> int:
        """Side of a patch in feature-map pixels."""
        return self.patch_size if isinstance(self.patch_size, int) else self.patch_size[0]

    @property
    def use_return_dict(self) -> bool:
        """transformers' older name of `return_dict`."""
        return self.return_dict

    # In and out

    def to_dict(self) -> dict[str, Any]:
        """What `config.json` holds, in plain types; integer keys in `id2label`."""
        values = asdict(self)
        unknown = values.pop("unknown")
        for ours in ("preprocessor_config", "label_thresholds"):  # which transformers doesn't know
            if values[ours] is None:
                del values[ours]
        return {**unknown, "model_type": self.model_type, **values}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], **overrides: Any) -> "MobileViTV2Config":
        """A config from `config.json`'s content; unknown fields are kept and logged by name.

        `num_labels` or `id2label` among the overrides replace the file's labels.
        """
        found = values.get("model_type", cls.model_type)
        if found != cls.model_type:
            raise ConfigError(
                f"this config is of model type {found!r}, and {cls.model_type!r} was wanted. "
                "Open it with the library that made it."
            )
        if overrides.keys() & {"num_labels", "id2label"}:
            labels = {"num_labels", "id2label", "label2id", "class_colors", "label_thresholds"}
            values = {name: value for name, value in values.items() if name not in labels}
        merged = {**values, **overrides}
        merged.pop("model_type", None)
        known = {f.name for f in fields(cls)} - {"unknown"}
        unknown = {name: value for name, value in merged.items() if name not in known}
        if strange := sorted(unknown.keys() - BOOKKEEPING):
            logger.warning("config fields that are not known here are kept: %s", ", ".join(strange))
        if merged.get("id2label"):
            merged["num_labels"] = None  # the names say how many
        return cls(**{name: merged[name] for name in merged.keys() & known}, unknown=unknown)

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path,
        *,
        revision: str | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        token: str | None = None,
        **overrides: Any,
    ) -> "MobileViTV2Config":
        """The config of a folder or hub id. A damaged or unfit `config.json` is a `ConfigError`."""
        path = resolve_file(
            source,
            CONFIG_NAME,
            revision=revision,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
            token=token,
        )
        values = read_json(path)
        return cls.from_dict(values, **overrides)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write `config.json`; an interrupted write leaves the old file."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        text = json.dumps(self.to_dict(), indent=2, sort_keys=True) + "\n"
        write_atomic(Path(folder) / CONFIG_NAME, text.encode())

    # What is allowed

    def _check(self) -> None:
        for name, (low, high) in _INTEGERS.items():
            _wanted_number(name, getattr(self, name), int, low, high)
        for name, (low, high) in _NUMBERS.items():
            _wanted_number(name, getattr(self, name), (int, float), low, high)
        for name, length in _LISTS.items():
            _wanted_integers(name, getattr(self, name), length)
        for name in ("image_size", "patch_size"):
            if not isinstance(getattr(self, name), int):
                _wanted_integers(name, getattr(self, name), 2)
        _wanted_number("patch_size", self.patch, int, 1, 64)
        if not isinstance(self.patch_size, int) and len(set(self.patch_size)) > 1:
            raise ConfigError(f"patch_size is {self.patch_size}; only square patches are known.")
        if not isinstance(self.pool_scales, list | tuple) or not self.pool_scales:
            raise ConfigError(f"pool_scales is {self.pool_scales!r}; a list of sizes is wanted.")
        _wanted_integers("pool_scales", self.pool_scales, len(self.pool_scales))
        for name in (*_LISTS, "pool_scales"):
            setattr(self, name, list(getattr(self, name)))
        self.expand_ratio = float(self.expand_ratio)  # transformers takes no other type
        if self.ffn_multiplier == int(self.ffn_multiplier):
            self.ffn_multiplier = int(self.ffn_multiplier)
        _wanted_choice("output_stride", self.output_stride, (8, 16, 32))
        _wanted_choice("hidden_act", self.hidden_act, ACTIVATIONS)
        _wanted_choice("segmentation_head", self.segmentation_head, SEGMENTATION_HEADS)
        _wanted_choice("use_auxiliary_head", self.use_auxiliary_head, (True, False))
        _wanted_choice("problem_type", self.problem_type, (None, *PROBLEM_TYPES))
        if self.conv_kernel_size % 2 == 0:
            raise ConfigError(f"conv_kernel_size is {self.conv_kernel_size}; it must be odd.")
        if self.num_labels is not None:
            _wanted_number("num_labels", self.num_labels, int, 0, 10_000_000)
        if not isinstance(self.preprocessor_config, dict | None):
            raise ConfigError(
                f"preprocessor_config is {self.preprocessor_config!r:.80}; the fields of "
                "preprocessor_config.json are expected."
            )
        thresholds = self.label_thresholds
        if thresholds is not None and not (
            isinstance(thresholds, list)
            and len(thresholds) == self.num_labels
            and all(isinstance(value, int | float) and 0 <= value <= 1 for value in thresholds)
        ):
            raise ConfigError(
                f"label_thresholds is {thresholds!r:.80}; expected a number in [0, 1] for each of "
                f"{self.num_labels} classes."
            )
        if self.class_colors is not None:
            self.class_colors = _checked_colors(self.class_colors)


_INTEGERS = {  # name: smallest and largest value
    "num_channels": (1, 4096),
    "conv_kernel_size": (1, 31),
    "aspp_out_channels": (1, 65536),
    "semantic_loss_ignore_index": (-(2**31), 2**31),
}
_NUMBERS = {
    "expand_ratio": (0.1, 64),
    "classifier_dropout_prob": (0, 1),
    "initializer_range": (0, 100),
    "layer_norm_eps": (0, 1),
    "aspp_dropout_prob": (0, 1),
    "width_multiplier": (0.05, 16),
    "ffn_multiplier": (0.25, 64),
    "attn_dropout": (0, 1),
    "ffn_dropout": (0, 1),
    "drop_path_rate": (0, 0.999),
    "auxiliary_loss_weight": (0, 100),
}
_LISTS = {"n_attn_blocks": 3, "base_attn_unit_dims": 3, "atrous_rates": 3}  # name: length


def _wanted_number(name: str, value: Any, kind: Any, low: float, high: float) -> None:
    if isinstance(value, bool) or not isinstance(value, kind):
        wanted = "an integer" if kind is int else "a number"
        raise ConfigError(
            f"{name} is {value!r}, of type {type(value).__name__}; {wanted} is wanted."
        )
    if not low <= value <= high:  # NaN fails here too
        raise ConfigError(f"{name} is {value}; it must be between {low} and {high}.")


def _wanted_integers(name: str, value: Any, length: int) -> None:
    good = isinstance(value, list | tuple) and len(value) == length
    if not good or not all(type(v) is int and v > 0 for v in value):
        raise ConfigError(f"{name} is {value!r}; a list of {length} positive integers is wanted.")


def _wanted_choice(name: str, value: Any, choices: tuple[Any, ...]) -> None:
    if value not in choices:
        listed = ", ".join(repr(choice) for choice in choices)
        raise ConfigError(f"{name} is {value!r}; one of {listed} is wanted.")


def _checked_colors(value: Any) -> list[list[int]]:
    try:
        colors = [[int(part) for part in color] for color in value]
    except (TypeError, ValueError):
        colors = [[]]
    if any(len(color) != 3 or not all(0 <= part <= 255 for part in color) for color in colors):
        raise ConfigError(
            f"class_colors is {value!r:.80}; three numbers of 0 to 255 for each class are wanted."
        )
    return colors


def checked_labels(value: Any) -> dict[int, str]:
    """Class index to name, from `config.json`'s string keys or a list of names."""
    if isinstance(value, list | tuple):
        value = dict(enumerate(value))
    try:
        names = {int(index): str(label) for index, label in value.items()}
    except (AttributeError, TypeError, ValueError):
        raise ConfigError(
            f"id2label is {value!r:.80}; a map from class index to name is wanted."
        ) from None
    if sorted(names) != list(range(len(names))):
        raise ConfigError(
            f"id2label has the indices {sorted(names)[:8]}...; they must run from 0 to "
            f"{len(names) - 1} without a gap."
        )
    return dict(sorted(names.items()))


def image_sides(size: Any) -> tuple[int, int]:
    """(height, width) in px of an image size given as one number or as two. Raises ConfigError."""
    sides = (size, size) if isinstance(size, int) else size
    _wanted_integers("image size", sides, 2)
    if min(sides) < SMALLEST:
        raise ConfigError(
            f"the image size is {size}; MobileViTv2 halves an image five times and needs at least "
            f"{SMALLEST} px a side."
        )
    height, width = sides
    return height, width
