"""`MobileViTV2Config`: every number that shapes a model, and all that follows from them.

It holds what `config.json` holds, under transformers' names; channels and strides are derived only
here.
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar

from mobilevitv2.class_names import ClassFacts
from mobilevitv2.errors import ConfigError
from mobilevitv2.files.source import read_json, resolve_file
from mobilevitv2.files.writing import write_atomic

logger = logging.getLogger(__name__)

CONFIG_NAME = "config.json"
SMALLEST = 32  # px of an image side: five halvings leave one pixel
ACTIVATIONS = ("swish", "silu", "relu", "gelu", "hardswish", "hard_swish", "relu6", "mish")
SEGMENTATION_HEADS = ("deeplabv3", "pspnet")
PROBLEM_TYPES = ("regression", "single_label_classification", "multi_label_classification")
# What transformers writes into every config.json and no MobileViTv2 needs: kept, not logged.
BOOKKEEPING = {"_name_or_path", "_commit_hash", "transformers_version", "is_encoder_decoder"}
BOOKKEEPING |= {"_attn_implementation", "attn_implementation", "output_attentions"}
BOOKKEEPING |= {"dtype", "torch_dtype", "chunk_size_feed_forward"}

THREE, SOME = {"count": 3}, {"count": None}  # of positive integers in the list of a field


def number(default: float, least: float, most: float) -> Any:
    """A field for a number from `least` to `most`."""
    return field(default=default, metadata={"range": (least, most)})


def choice(default: Any, choices: tuple[Any, ...]) -> Any:
    """A field for one of a few values."""
    return field(default=default, metadata={"choices": choices})


def round_channels(value: float, multiple: int, least: int | None = None) -> int:
    """`value` rounded to a multiple, at least `least`, never more than 10 % below `value`.

    Source: ml-cvnets `utils/math_utils.py` (the rule of MobileNetV2).
    """
    rounded = max(least or multiple, int(value + multiple / 2) // multiple * multiple)
    return rounded + multiple if rounded < 0.9 * value else rounded


@dataclass(kw_only=True)
class MobileViTV2Config:
    """transformers' `MobileViTV2Config`, with its names and defaults, and more fields.

    Those are `drop_path_rate` and, for segmentation, `segmentation_head` (with `pool_scales` for
    PSPNet; `aspp_out_channels` and `aspp_dropout_prob` are for either head), `use_auxiliary_head`
    with `auxiliary_loss_weight`, and `class_colors`.

    Values are checked when the config is made; a wrong type or range raises ConfigError. Setting
    `num_labels` later renames the labels to LABEL_0, LABEL_1, ...; setting `id2label` sets their
    number. `image_size` and `initializer_range` change nothing in the network: it takes any size,
    and is initialized like ml-cvnets.
    """

    model_type: ClassVar[str] = "mobilevitv2"

    num_channels: int = number(3, 1, 4096)
    image_size: int | list[int] = 256
    patch_size: int | list[int] = 2
    expand_ratio: float = number(2.0, 0.1, 64)
    hidden_act: str = choice("swish", ACTIVATIONS)
    conv_kernel_size: int = number(3, 1, 31)
    output_stride: int = choice(32, (8, 16, 32))
    classifier_dropout_prob: float = number(0.1, 0, 1)
    initializer_range: float = number(0.02, 0, 100)
    layer_norm_eps: float = number(1e-5, 0, 1)
    aspp_out_channels: int = number(512, 1, 65536)
    atrous_rates: list[int] = field(default_factory=lambda: [6, 12, 18], metadata=THREE)
    aspp_dropout_prob: float = number(0.1, 0, 1)
    semantic_loss_ignore_index: int = number(255, -(2**31), 2**31)
    n_attn_blocks: list[int] = field(default_factory=lambda: [2, 4, 3], metadata=THREE)
    base_attn_unit_dims: list[int] = field(default_factory=lambda: [128, 192, 256], metadata=THREE)
    width_multiplier: float = number(1.0, 0.05, 16)
    ffn_multiplier: float = number(2, 0.25, 64)
    attn_dropout: float = number(0.0, 0, 1)
    ffn_dropout: float = number(0.0, 0, 1)
    drop_path_rate: float = number(0.0, 0, 0.999)
    segmentation_head: str = choice("deeplabv3", SEGMENTATION_HEADS)
    pool_scales: list[int] = field(default_factory=lambda: [1, 2, 3, 6], metadata=SOME)
    use_auxiliary_head: bool = choice(False, (True, False))
    auxiliary_loss_weight: float = number(0.4, 0, 100)
    class_colors: list[list[int]] | None = None  # RGB, one for each class, to draw with
    num_labels: int | None = None  # an int once made
    id2label: dict[int, str] | None = None  # a dict once made
    label2id: dict[str, int] | None = None  # a dict once made
    problem_type: str | None = choice(None, (None, *PROBLEM_TYPES))
    output_hidden_states: bool = False
    return_dict: bool = True
    architectures: list[str] | None = None
    preprocessor_config: dict[str, Any] | None = None  # how images are prepared, if known
    label_thresholds: list[float] | None = None  # a multi-label model's, in [0, 1], for each class
    unknown: dict[str, Any] = field(default_factory=dict)  # a file's other fields

    def __post_init__(self) -> None:
        self._check()
        count, names = self.num_labels, self.id2label
        if names is None:
            self.num_labels = 2 if count is None else count
        elif count is not None and count != len(names):
            raise ConfigError(
                f"num_labels is {count}, but id2label names {len(names)}. Pass only one."
            )
        else:
            self.id2label = names
        given = self.label_thresholds
        fits = isinstance(given, list) and len(given) == self.num_labels
        fits = fits and all(isinstance(v, int | float) and 0 <= v <= 1 for v in given or ())
        if given is not None and not fits:
            raise ConfigError(
                f"label_thresholds is {given!r:.80}; expected a number in [0, 1] for each of "
                f"{self.num_labels} classes."
            )

    def __setattr__(self, name: str, value: Any) -> None:
        """Keep `num_labels`, `id2label` and `label2id` consistent, once all fields are there."""
        if "unknown" not in self.__dict__:  # the last field: `__init__` is still running
            return object.__setattr__(self, name, value)
        if name == "id2label" and value is not None:
            value = checked_labels(value)
            if len(self.__dict__["id2label"] or value) != len(value):  # these were about others
                self.forget_class_facts()
            object.__setattr__(self, "num_labels", len(value))
            object.__setattr__(self, "label2id", {label: i for i, label in value.items()})
        object.__setattr__(self, name, value)
        if name == "num_labels" and value is not None:
            names = self.__dict__.get("id2label")
            if names is None or len(names) != value:
                self.id2label = {i: f"LABEL_{i}" for i in range(value)}

    def forget_class_facts(self) -> None:
        """Drop what was known of the classes besides their names."""
        self.class_colors = self.label_thresholds = None

    # Derived values

    @property
    def class_facts(self) -> ClassFacts:
        """What it says of the classes."""
        labels = list((self.id2label or {}).values())
        return ClassFacts(labels=labels, colors=self.class_colors, thresholds=self.label_thresholds)

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

    # Reading and writing

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
                f"this config's model type is {found!r}; expected {cls.model_type!r}. Open it with "
                "the library that made it."
            )
        if overrides.keys() & {"num_labels", "id2label"}:
            labels = {"num_labels", "id2label", "label2id", "class_colors", "label_thresholds"}
            values = {name: value for name, value in values.items() if name not in labels}
        merged = {**values, **overrides}
        merged.pop("model_type", None)
        known = {f.name for f in fields(cls)} - {"unknown"}
        unknown = {name: value for name, value in merged.items() if name not in known}
        if strange := sorted(unknown.keys() - BOOKKEEPING):
            logger.warning("keeping unknown config fields: %s", ", ".join(strange))
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
        """The config of a folder or hub id. A damaged or unfit `config.json` is a ConfigError."""
        hub: dict[str, Any] = {"revision": revision, "cache_dir": cache_dir, "token": token}
        path = resolve_file(source, CONFIG_NAME, local_files_only=local_files_only, **hub)
        return cls.from_dict(read_json(path), **overrides)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write `config.json`; an interrupted write leaves the old file."""
        text = json.dumps(self.to_dict(), indent=2, sort_keys=True) + "\n"
        write_atomic(Path(folder) / CONFIG_NAME, text.encode())

    # Checking

    def _check(self) -> None:
        for checked in fields(self):
            name, value, limits = checked.name, getattr(self, checked.name), checked.metadata
            if "range" in limits:
                kind = int if checked.type is int else int | float
                _check_number(name, value, kind, *limits["range"])
            if "count" in limits:
                _check_integers(name, value, limits["count"])
                setattr(self, name, list(value))
            if value not in limits.get("choices", (value,)):
                listed = ", ".join(map(repr, limits["choices"]))
                raise ConfigError(f"{name} is {value!r}; expected one of {listed}.")
            if name in ("image_size", "patch_size") and not isinstance(value, int):
                _check_integers(name, value, 2)
        _check_number("patch_size", self.patch, int, 1, 64)
        if not isinstance(self.patch_size, int) and len(set(self.patch_size)) > 1:
            raise ConfigError(f"patch_size is {self.patch_size}; patches must be square.")
        self.expand_ratio = float(self.expand_ratio)  # transformers takes no other type
        if self.ffn_multiplier == int(self.ffn_multiplier):
            self.ffn_multiplier = int(self.ffn_multiplier)
        if self.conv_kernel_size % 2 == 0:
            raise ConfigError(f"conv_kernel_size is {self.conv_kernel_size}; it must be odd.")
        if self.num_labels is not None:
            _check_number("num_labels", self.num_labels, int, 0, 10_000_000)
        if not isinstance(self.preprocessor_config, dict | None):
            given = f"{self.preprocessor_config!r:.80}"
            raise ConfigError(f"preprocessor_config is {given}; expected what its .json holds.")
        if self.class_colors is not None:
            try:
                colors = [[int(part) for part in color] for color in self.class_colors]
            except (TypeError, ValueError):
                colors = [[]]
            if any(len(c) != 3 or not all(0 <= part <= 255 for part in c) for c in colors):
                given = f"{self.class_colors!r:.80}"
                raise ConfigError(f"class_colors is {given}; expected three numbers of 0 to 255.")
            self.class_colors = colors


def _check_number(name: str, value: Any, kind: Any, low: float, high: float) -> None:
    if isinstance(value, bool) or not isinstance(value, kind):
        expected = "an integer" if kind is int else "a number"
        raise ConfigError(f"{name} is the {type(value).__name__} {value!r}; expected {expected}.")
    if not low <= value <= high:  # NaN fails here too
        raise ConfigError(f"{name} is {value}; it must be between {low} and {high}.")


def _check_integers(name: str, value: Any, length: int | None) -> None:
    """Raise ConfigError for anything but a list of positive integers, of any length if None."""
    good = isinstance(value, list | tuple) and value and length in (None, len(value))
    if not good or not all(type(v) is int and v > 0 for v in value):
        count = f"{length} " if length else ""
        raise ConfigError(f"{name} is {value!r}; expected a list of {count}positive integers.")


def checked_labels(value: Any) -> dict[int, str]:
    """Class index to name, from `config.json`'s string keys or a list of names."""
    if isinstance(value, list | tuple):
        value = dict(enumerate(value))
    try:
        names = {int(index): str(label) for index, label in value.items()}
    except (AttributeError, TypeError, ValueError):
        raise ConfigError(f"id2label is {value!r:.80}; expected a name for each number.") from None
    if sorted(names) != list(range(len(names))):
        raise ConfigError(
            f"id2label has the numbers {sorted(names)[:8]}...; expected all up to {len(names) - 1}."
        )
    return dict(sorted(names.items()))


def image_sides(size: Any) -> tuple[int, int]:
    """(height, width) [px] of an image size given as one number or two. Raises ConfigError."""
    sides = (size, size) if isinstance(size, int) else size
    _check_integers("image size", sides, 2)
    if min(sides) < SMALLEST:
        raise ConfigError(
            f"the image size is {size}; MobileViTv2 halves an image five times and needs at least "
            f"{SMALLEST} px a side."
        )
    height, width = sides
    return height, width
