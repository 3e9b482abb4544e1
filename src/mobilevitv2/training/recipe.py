"""`Recipe`: every setting of a training run, what each may be, and the files that hold them."""

import contextlib
import difflib
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Self

from mobilevitv2.config import SEGMENTATION_HEADS
from mobilevitv2.errors import ConfigError, require
from mobilevitv2.tasks import TASKS

SHIPPED = Path(__file__).parent / "recipes"

Check = Callable[[str, Any], Any]


LARGEST = sys.float_info.max  # of finite numbers


def _number(low: float, high: float = LARGEST, *, whole: bool = False) -> Check:
    def check(name: str, value: Any) -> int | float:
        if isinstance(value, str):  # YAML reads 2e-3, without a point, as text
            with contextlib.suppress(ValueError):
                value = float(value)
        kind = "a whole number" if whole else "a number"
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ConfigError(f"{name} must be {kind}, not {value!r}.")
        if not low <= value <= high:  # NaN and infinity fail here too
            allowed = f"of at least {low}" if high == LARGEST else f"between {low} and {high}"
            raise ConfigError(f"{name} must be {kind} {allowed}, not {value}.")
        if whole and value != int(value):
            raise ConfigError(f"{name} must be {kind}, not {value}.")
        return int(value) if whole else float(value)

    return check


def _range(low: float, high: float) -> Check:
    number = _number(low, high)

    def check(name: str, value: Any) -> tuple[float, float]:
        if not isinstance(value, list | tuple) or len(value) != 2:
            raise ConfigError(f"{name} must be two numbers, low and high, not {value!r}.")
        first, last = (float(number(name, v)) for v in value)
        if first > last:
            raise ConfigError(f"{name} is {value!r}; the first can't be larger than the last.")
        return first, last

    return check


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise ConfigError(f"{name} must be true or false, not {value!r}.")
    return value


def _choice(*choices: Any) -> Check:
    def check(name: str, value: Any) -> Any:
        if value not in choices:
            listed = ", ".join(map(str, choices))
            raise ConfigError(f"{name} must be one of {listed}, not {value!r}.")
        return value

    return check


def _setting(default: Any, check: Check, *tasks: str, optional: bool = False) -> Any:
    """A field; `tasks` are those that it applies to, by default all."""
    return field(default=default, metadata={"check": check, "tasks": tasks, "optional": optional})


COUNT = _number(0, whole=True)
SHARE = _number(0, 1)
CLASSES = tuple(task.name for task in TASKS.values() if task.fit == "crop")  # of whole images
MASKS, BOXES = "segmentation", "detection"
NEEDS: dict[str, tuple[str, Callable[["Recipe"], Any]]] = {  # what a setting has no effect without
    "momentum": ("optimizer sgd", lambda recipe: recipe.optimizer == "sgd"),
    "min_lr": ("schedule cosine", lambda recipe: recipe.schedule == "cosine"),
    "warmup_lr": ("a warmup", lambda recipe: recipe.warmup),
    "class_share": ("a resize_range", lambda recipe: recipe.resize_range),
    "randaugment_magnitude": ("randaugment_ops", lambda recipe: recipe.randaugment_ops),
    "mix_prob": ("mixup or cutmix", lambda recipe: recipe.mixup or recipe.cutmix),
}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Every setting of a training run. Wrong values raise ConfigError; None means "auto" or "off".

    The defaults make a plain run without augmentation; `Recipe.load("default")` is the one to train
    with. A recipe file may leave out what it doesn't change.
    """

    # The run
    epochs: int = _setting(100, _number(1, whole=True))
    batch_size: int = _setting(32, _number(1, whole=True))
    accumulate: int = _setting(1, _number(1, whole=True))  # batches per step
    seed: int = _setting(0, COUNT)
    early_stopping: int | None = _setting(None, _number(1, whole=True), optional=True)  # epochs
    # The optimizer
    optimizer: str = _setting("adamw", _choice("adamw", "sgd"))
    lr: float = _setting(1e-3, _number(0))
    min_lr: float = _setting(0.0, _number(0))
    warmup_lr: float = _setting(0.0, _number(0))  # where warm-up begins
    warmup: float = _setting(0.05, _number(0))  # below 1: share of all steps; from 1: steps
    schedule: str = _setting("cosine", _choice("cosine", "constant"))
    momentum: float = _setting(0.9, SHARE)  # sgd's
    weight_decay: float = _setting(0.0, _number(0))  # never on parameters of one dimension
    clip_norm: float | None = _setting(None, _number(0), optional=True)
    ema_decay: float | None = _setting(None, SHARE, optional=True)  # smaller in the first steps
    # The network
    drop_path: float = _setting(0.0, _number(0, 0.999))
    freeze: int | None = _setting(None, _number(0, 5, whole=True), optional=True)  # stages
    backbone_lr: float = _setting(1.0, SHARE)  # the backbone's share of lr
    # The segmentation head; a checkpoint's own is kept
    segmentation_head: str = _setting("deeplabv3", _choice(*SEGMENTATION_HEADS), MASKS)
    head_channels: int = _setting(512, _number(8, 4096, whole=True), MASKS)
    output_stride: int = _setting(16, _choice(8, 16, 32), MASKS)
    auxiliary_loss: float = _setting(0.4, _number(0), MASKS)  # its weight; 0: no auxiliary head
    class_balance: float = _setting(0.0, SHARE, MASKS)  # of the loss: 0 by pixels, 1 by classes
    # The pictures
    image_size: int | None = _setting(None, _number(32, 4096, whole=True), optional=True)  # px
    crop_scale: tuple[float, float] = _setting((1.0, 1.0), _range(0.01, 1), *CLASSES)  # of the area
    crop_ratio: tuple[float, float] = _setting(
        (1.0, 1.0), _range(0.1, 10), *CLASSES
    )  # width / height
    resize_range: tuple[float, float] | None = _setting(None, _range(0.1, 10), MASKS, optional=True)
    # ^ the short side before a random crop, in multiples of the image size
    class_share: float = _setting(1.0, _number(0.01, 1), MASKS)  # of a crop's largest class
    box_crop: float = _setting(0.0, SHARE, BOXES)  # how often to crop, as in SSD
    hflip: float = _setting(0.0, SHARE)
    vflip: float = _setting(0.0, SHARE)
    photometric: float = _setting(0.0, SHARE, MASKS, BOXES)  # for each of five color changes
    blur: float = _setting(0.0, SHARE, MASKS)
    rotate: float = _setting(0.0, _number(0, 180), *CLASSES, MASKS)  # up to +- degrees
    shift: float = _setting(0.0, SHARE, *CLASSES)  # up to +- this share of the side
    zoom: float = _setting(0.0, _number(0, 0.9), *CLASSES)  # up to +- this share of the size
    randaugment_ops: int = _setting(0, COUNT, *CLASSES)
    randaugment_magnitude: int = _setting(9, _number(0, 30, whole=True), *CLASSES)
    random_erasing: float = _setting(0.0, SHARE, *CLASSES)
    mixup: float = _setting(0.0, _number(0), *CLASSES)  # alpha; 0 is off
    cutmix: float = _setting(0.0, _number(0), *CLASSES)
    mix_prob: float = _setting(1.0, SHARE, *CLASSES)  # for each batch, if either is on
    label_smoothing: float = _setting(0.0, _number(0, 0.999), *CLASSES, MASKS)
    # The machine
    precision: str = _setting("auto", _choice("auto", "fp32", "bf16", "fp16"))
    channels_last: bool = _setting(True, _flag)
    workers: int | None = _setting(None, COUNT, optional=True)  # loading processes
    threads: int | None = _setting(None, _number(1, whole=True), optional=True)  # torch's

    def __post_init__(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            if value is None and f.metadata["optional"]:
                continue
            object.__setattr__(self, f.name, f.metadata["check"](f.name, value))
        if self.min_lr > self.lr:
            raise ConfigError(f"min_lr is {self.min_lr}, larger than lr, which is {self.lr}.")

    @classmethod
    def load(cls, source: "str | Path | Recipe", **overrides: Any) -> Self:
        """A YAML file's recipe, or a shipped one by name, with single settings replaced."""
        if isinstance(source, Recipe):
            values = asdict(source)
        else:
            path = Path(source)
            if path.suffix not in (".yaml", ".yml"):
                path = SHIPPED / f"{source}.yaml"
            if not path.is_file():
                raise ConfigError(
                    f"there is no recipe {source}. Give a .yaml file, or one of "
                    f"{', '.join(cls.shipped())}."
                )
            values = _read(path)
            if len(values) < len(fields(cls)):  # a run's own is complete, with what is off too
                cls._checked(values).check_needs(values)
        recipe = cls._checked({**values, **overrides})
        recipe.check_needs(overrides)
        return recipe

    @classmethod
    def shipped(cls) -> list[str]:
        """The names of the recipes that come with the package."""
        return sorted(path.stem for path in SHIPPED.glob("*.yaml"))

    def to_yaml(self) -> str:
        """All settings, as a recipe file holds them."""
        values = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}
        return require("yaml", extra="train").safe_dump(values, sort_keys=False)

    def with_(self, **changes: Any) -> Self:
        """A copy with some settings replaced."""
        return replace(self, **changes)

    def check_for(self, task: str, asked: Iterable[str] = ()) -> None:
        """Raises ConfigError for a setting of another task that differs from a plain run's.

        Of those `asked` for by name, being on is enough.
        """
        for f in fields(self):
            tasks, value = f.metadata["tasks"], getattr(self, f.name)
            if tasks and task not in tasks and (value != f.default or (f.name in asked and value)):
                raise ConfigError(
                    f"{f.name} is {value}, but it is a setting for {', '.join(tasks)}, and this "
                    f"is {task}. Leave it out."
                )

    def check_needs(self, asked: Iterable[str]) -> None:
        """Raises ConfigError for a setting asked for that has no effect without another."""
        plain = {f.name: f.default for f in fields(self)}
        for name in asked:
            needed, is_there = NEEDS.get(name, ("", bool))
            value = getattr(self, name)
            if value != plain[name] and not is_there(self):
                raise ConfigError(
                    f"{name} is {value}, which has no effect without {needed}. Add that, or leave "
                    f"{name} out."
                )

    @classmethod
    def _checked(cls, values: dict[str, Any]) -> Self:
        known = [f.name for f in fields(cls)]
        if unknown := [key for key in values if key not in known]:
            close = difflib.get_close_matches(str(unknown[0]), known, n=1)
            meant = f" Did you mean {close[0]}?" if close else ""
            raise ConfigError(
                f"a recipe has no setting {', '.join(map(repr, unknown))}.{meant} "
                f"The settings are: {', '.join(known)}."
            )
        return cls(**values)


def _read(path: Path) -> dict[str, Any]:
    yaml = require("yaml", extra="train")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{path} is not valid YAML ({reason}).") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path} has no settings; expected lines such as `epochs: 100`.")
    return values
