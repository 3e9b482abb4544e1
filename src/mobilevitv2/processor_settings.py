"""The settings in `preprocessor_config.json`: their values, reading and writing them."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from PIL import Image

from mobilevitv2.errors import ConfigError, require
from mobilevitv2.files.source import read_json, resolve_file
from mobilevitv2.files.writing import write_atomic

FILE_NAME = "preprocessor_config.json"
MULTIPLE = 32  # px: of height and width, where models take any size
LONGEST_SIDE = 8192  # px: of a resize or crop
# The file's type, under the names that it has had; saving writes it anew.
TYPE_FIELDS = ("image_processor_type", "feature_extractor_type", "processor_class")


@dataclass
class ProcessorSettings:
    """The fields of transformers' `MobileViTImageProcessor`, with its names and defaults.

    Only `do_convert_rgb` has another default: true here, unset there. Values are checked when they
    are assigned; a wrong one raises ConfigError. None means the default.
    """

    do_resize: bool = True
    size: dict[str, int] = field(default_factory=lambda: {"shortest_edge": 224})
    resample: int = Image.Resampling.BICUBIC.value
    do_rescale: bool = True
    rescale_factor: float = 1 / 255
    do_center_crop: bool = True
    crop_size: dict[str, int] = field(default_factory=lambda: {"height": 256, "width": 256})
    do_flip_channel_order: bool = True
    do_reduce_labels: bool = False
    do_convert_rgb: bool = True
    unknown: dict[str, Any] = field(default_factory=dict)  # a file's other fields, saved again

    def __setattr__(self, name: str, value: Any) -> None:
        check = CHECKS.get(name)
        super().__setattr__(name, check(name, value) if check else value)

    def to_dict(self) -> dict[str, Any]:
        """All settings and unknown fields, with transformers' name for the type."""
        settings = {name: getattr(self, name) for name in CHECKS}
        copied = json.loads(json.dumps({**self.unknown, **settings}))
        return copied | {"image_processor_type": "MobileViTImageProcessor"}

    def to_json_string(self) -> str:
        return json.dumps(self.to_dict(), indent=2, sort_keys=True) + "\n"

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any], **overrides: Any) -> Self:
        """The processor with a saved file's fields; unknown ones are kept, None means default."""
        kind = settings.get("image_processor_type") or settings.get("feature_extractor_type")
        if kind is not None and not str(kind).startswith("MobileViT"):
            raise ConfigError(
                f"These are settings for a {kind}, which prepares images differently. Load the "
                "MobileViTV2 model's file."
            )
        if strangers := overrides.keys() - CHECKS.keys():
            raise ConfigError(f"Unknown settings {sorted(strangers)}; known are {list(CHECKS)}.")
        merged = {**settings, **{k: v for k, v in overrides.items() if v is not None}}
        known = {name: merged[name] for name in CHECKS if merged.get(name) is not None}
        unknown = {k: v for k, v in settings.items() if k not in CHECKS and k not in TYPE_FIELDS}
        return cls(**known, unknown=unknown)

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
    ) -> Self:
        """The processor of a bundle's folder, a JSON file or a hub id.

        Raises FileNotFoundError for a source without one, ConfigError for a damaged one.
        """
        path = Path(source)
        if path.suffix != ".json" or not path.is_file():
            hub: dict[str, Any] = {"revision": revision, "cache_dir": cache_dir, "token": token}
            path = resolve_file(source, FILE_NAME, local_files_only=local_files_only, **hub)
        settings = read_json(path)
        try:
            return cls.from_dict(settings, **overrides)
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from error

    def save_pretrained(self, folder: str | Path) -> Path:
        """Write preprocessor_config.json, whole or not at all, and return its path."""
        path = Path(folder) / FILE_NAME
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, self.to_json_string().encode())
        return path

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool | None = None,
        revision: str | None = None,
        commit_message: str = "Add the image processor",
        create_pr: bool = False,
        token: str | None = None,
    ) -> str:
        hub = require("huggingface_hub", extra="torch").HfApi(token=token)
        repo_id = hub.create_repo(repo_id, private=private, exist_ok=True).repo_id
        commit = hub.upload_file(
            path_or_fileobj=self.to_json_string().encode(),
            path_in_repo=FILE_NAME,
            repo_id=repo_id,
            revision=revision,
            commit_message=commit_message,
            create_pr=create_pr,
        )
        return commit.pr_url or commit.commit_url


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise ConfigError(f"{name} is {value!r}; expected true or false.")
    return value


def checked_side(name: str, value: Any) -> int:
    """A number of pixels that an image side can have. Raises ConfigError for others."""
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= LONGEST_SIDE:
        raise ConfigError(f"{name} is {value!r}; expected pixels, from 1 to {LONGEST_SIDE}.")
    return value


def _size(name: str, value: Any) -> dict[str, int]:
    """Also in old files' forms: a number for the shortest edge, or [height, width]."""
    forms = (
        {"shortest_edge"},
        {"shortest_edge", "longest_edge"},
        {"height", "width"},
        {"max_height", "max_width"},
    )
    if isinstance(value, int):
        value = {"shortest_edge": value}
    elif isinstance(value, list | tuple) and len(value) == 2:
        value = dict(zip(("height", "width"), value, strict=True))
    if not isinstance(value, Mapping) or set(value) not in forms:
        known = " or ".join(" and ".join(sorted(form)) for form in forms)
        raise ConfigError(f"{name} is {value!r}; expected the keys {known}.")
    return {key: checked_side(f"{name}[{key!r}]", side) for key, side in value.items()}


def _crop_size(name: str, value: Any) -> dict[str, int]:
    value = _size(name, [value, value] if isinstance(value, int) else value)
    if "height" not in value:
        raise ConfigError(f"{name} has the keys {sorted(value)}; expected height and width.")
    return value


def _resample(name: str, value: Any) -> int:
    filters = {resampling.value: resampling.name.lower() for resampling in Image.Resampling}
    if isinstance(value, bool) or not isinstance(value, int) or value not in filters:
        raise ConfigError(f"{name} is {value!r}; expected a Pillow filter's number of {filters}.")
    return int(value)


def _factor(name: str, value: Any) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or value <= 0:
        raise ConfigError(f"{name} is {value!r}; expected a positive number, such as 1/255.")
    return float(value)


# Every setting, and what checks its value.
CHECKS = {
    "do_resize": _flag,
    "size": _size,
    "resample": _resample,
    "do_rescale": _flag,
    "rescale_factor": _factor,
    "do_center_crop": _flag,
    "crop_size": _crop_size,
    "do_flip_channel_order": _flag,
    "do_reduce_labels": _flag,
    "do_convert_rgb": _flag,
}
