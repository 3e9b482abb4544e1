"""A data.yaml, which tells where a data set's images are and what its classes are called.

Read as Ultralytics documents it (docs.ultralytics.com/datasets/detect), but forgiving: people's
files are often wrong about the place where they lie now.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mobilevitv2.data.split_names import SPLIT_NAMES
from mobilevitv2.errors import DataError, first_of, require

YAML = (".yaml", ".yml")
USUAL = ("data.yaml", "data.yml", "dataset.yaml")
KEYS = (
    re.compile(r"^(train|val|valid)\s*:", re.MULTILINE),
    re.compile(r"^names\s*:", re.MULTILINE),
)


@dataclass(frozen=True)
class YoloLayout:
    """The folders and lists of images of each split: train, val, test, or `all`."""

    root: Path
    splits: dict[str, list[Path]]
    names: list[str] | Path | None = None
    """Of the classes, or the file that lists them."""
    origin: Path | None = None
    """The data.yaml, where there is one."""
    keypoints: bool = False
    """Do points follow the box in a line?"""


def yaml_in(folder: Path) -> Path | None:
    """The data.yaml in a folder, under its usual name or another one."""
    usual = [folder / name for name in USUAL if (folder / name).is_file()]
    found = [path for path in sorted(folder.glob("*.y*ml")) if says_where(path)]
    return next((path for path in usual if path in found), found[0] if len(found) == 1 else None)


def says_where(path: Path) -> bool:
    """Does the file look like a data.yaml?"""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return False
    return all(key.search(text) for key in KEYS)


def read_yaml(path: Path) -> YoloLayout:
    """What it says. Raises DataError where it can't be followed."""
    yaml = require("yaml", extra="train")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        why = " ".join(str(error).split())
        raise DataError(f"{path} can't be read as YAML ({why}). Correct it.") from error
    if not isinstance(values, Mapping):
        raise DataError(f"{path} isn't a data.yaml; expected train, val and names.")
    splits: dict[str, list[Path]] = {}
    for split, words in SPLIT_NAMES.items():
        given = next((values[word] for word in words if values.get(word)), None)
        if given is None:
            continue
        places = given if isinstance(given, list) else [given]
        found = [_place(path, values.get("path"), str(place)) for place in places]
        if split == "test" and not any(place.exists() for place in found):
            continue  # exports name it whether or not they have it
        if absent := [place for place in found if not place.exists()]:
            raise DataError(
                f"{path} says that {split} is {places[found.index(absent[0])]}, but there is no "
                f"{absent[0]}. Correct `path` or `{split}`; both may be relative to the file."
            )
        splits[split] = found
    if "train" not in splits:
        raise DataError(f"{path} doesn't say where the train images are. Add it.")
    names = _names(path, values.get("names"))
    return YoloLayout(path.parent, splits, names, path, keypoints="kpt_shape" in values)


def _place(path: Path, root: Any, place: str) -> Path:
    """The first that is there of what `place` may mean, or the likeliest."""
    here = path.parent
    named = Path(str(root)).expanduser() if root else here
    roots = [*dict.fromkeys([here / named, named, here])]
    # Roboflow writes ../train/images into a file that lies beside train
    meant = [place, place.removeprefix("../")] if place.startswith("../") else [place]
    places = [root / way for way in meant for root in roots]
    # only the folders' names are kept of where they lay on another machine
    places += [here.joinpath(*Path(place).parts[-n:]) for n in (2, 1)]
    there = next((p for p in places if p.exists()), here / named / place)
    return there.resolve() if ".." in there.parts else there


def _names(path: Path, names: Any) -> list[str]:
    """In the order of the numbers. Raises DataError where there are none, or one is missing."""
    if isinstance(names, Mapping):
        numbers = list(names)
        if sorted(map(str, numbers)) != sorted(map(str, range(len(numbers)))):
            raise DataError(
                f"{path}: names has the numbers {first_of(numbers)}; expected all from 0 on."
            )
        names = [name for _, name in sorted(names.items(), key=lambda item: int(item[0]))]
    if not isinstance(names, list) or not names:
        raise DataError(f"{path}: names is {names!r}; expected a list of class names.")
    return [str(name) for name in names]
