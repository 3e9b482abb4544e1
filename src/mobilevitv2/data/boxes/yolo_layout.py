"""Where images and YOLO's labels are: as a data.yaml says, or told by the folders."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mobilevitv2.data.split_names import SPLIT_NAMES, folders_in, splits_among, splits_in
from mobilevitv2.errors import DataError, first_of, require
from mobilevitv2.files.source import beginning
from mobilevitv2.images.finding import LeftOut, visible_files

LABELS = ".txt"
LIKE_IMAGES = {"Images": "Labels", "IMAGES": "LABELS"}  # the folder of labels, if not labels
NAME_FILES = ("classes.txt", "obj.names", "classes.names", "labels.txt")
OBJ_DATA = re.compile("^obj_(.+)_data$")  # as darknet and CVAT call a split's folder
TRIED = 50  # text files that are looked into before they count as something else
BOXES_LINE = re.compile(r"\s*\d+(\.0+)?(\s+-?[\d.]+(e-?\d+)?){4,}\s*", re.IGNORECASE)

YAML = (".yaml", ".yml")
USUAL = ("data.yaml", "data.yml", "dataset.yaml")
KEYS = [re.compile(rf"^({key})\s*:", re.MULTILINE) for key in ("train|val|valid", "names")]


@dataclass(frozen=True)
class YoloLayout:
    """The folders and lists of images of each split: train, val, test, or `all`."""

    root: Path
    splits: dict[str, list[Path]]
    names: list[str] | Path | None = None  # of the classes, or the file that lists them
    origin: Path | None = None  # the data.yaml, if there is one
    keypoints: bool = False  # points follow the box in a line


def looks_like_yolo(source: Path) -> bool:
    """Is it a data.yaml, or a folder with one or with label files where they belong?"""
    if source.suffix.lower() in YAML:
        return says_where(source)
    return source.is_dir() and (yaml_in(source) is not None or bool(_image_folders(source)))


def find_yolo(source: Path) -> YoloLayout:
    """The layout of what looks like it. Raises DataError if a data.yaml can't be followed."""
    path = source if source.is_file() else yaml_in(source)
    if path is not None:
        return read_yaml(path)
    splits = {split: [folder] for split, folder in _image_folders(source).items()}
    labels = [label_folder(folder) for [folder] in splits.values()]
    places = [source, *labels, *(folder.parent for folder in labels)]
    files = [place / name for place in places for name in NAME_FILES if (place / name).is_file()]
    return YoloLayout(source, splits, files[0] if files else None)


def label_folder(images: Path) -> Path:
    """Where labels are: the last `images` of the path becomes `labels`, if that is a folder."""
    parts = list(images.parts)
    for i in reversed(range(len(parts))):
        if parts[i].lower() == "images":
            parts[i] = LIKE_IMAGES.get(parts[i], "labels")
            beside = Path(*parts)
            return beside if beside.is_dir() else images
    return images


def _image_folders(source: Path) -> dict[str, Path]:
    """Each split's folder of images, as far as it has label files."""
    below = folders_in(source)
    halves = splits_among({OBJ_DATA.sub(r"\1", name): path for name, path in below.items()})
    inside = {}
    if "images" in below:
        inside = splits_in(below["images"]) or {"all": below["images"]}
    if any(_has_labels(label_folder(folder)) for folder in inside.values()):
        return inside
    found = {}
    for split, folder in halves.items():
        images = folders_in(folder).get("images", folder)
        if _has_labels(label_folder(images)):
            found[split] = images
    return found or ({"all": source} if _has_labels(source, deep=False) else {})


def _has_labels(folder: Path, *, deep: bool = True) -> bool:
    """Does one of the first text files in the folder, or with `deep` below it, hold boxes?"""
    tried = 0
    for path in visible_files(folder, LeftOut()):
        if tried == TRIED or (not deep and path.parent != folder):
            return False
        if path.suffix.lower() == LABELS and path.name.lower() not in NAME_FILES:
            if holds_boxes(path):
                return True
            tried += path.stat().st_size > 0  # that of an image without boxes is empty
    return False


def holds_boxes(path: Path) -> bool:
    """Is one of the first lines of the text file a box?"""
    return any(map(BOXES_LINE.fullmatch, beginning(path).splitlines()[:3]))


# A data.yaml, read as Ultralytics documents it (docs.ultralytics.com/datasets/detect), but
# forgiving: many files are wrong about where they are now.


def yaml_in(folder: Path) -> Path | None:
    """The data.yaml in a folder, under its usual name or another one."""
    usual = [folder / name for name in USUAL if (folder / name).is_file()]
    found = [path for path in sorted(folder.glob("*.y*ml")) if says_where(path)]
    return next((path for path in usual if path in found), found[0] if len(found) == 1 else None)


def says_where(path: Path) -> bool:
    """Does the file look like a data.yaml?"""
    text = beginning(path)
    return all(key.search(text) for key in KEYS)


def read_yaml(path: Path) -> YoloLayout:
    """What it says. Raises DataError if it can't be followed."""
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
    names = _yaml_names(path, values.get("names"))
    return YoloLayout(path.parent, splits, names, path, keypoints="kpt_shape" in values)


def _place(path: Path, root: Any, place: str) -> Path:
    """The first that is there of what `place` may mean, or the likeliest."""
    here = path.parent
    named = Path(str(root)).expanduser() if root else here
    roots = [*dict.fromkeys([here / named, named, here])]
    # Roboflow writes ../train/images into a file beside train
    meant = [place, place.removeprefix("../")] if place.startswith("../") else [place]
    places = [root / way for way in meant for root in roots]
    # of a path on another machine, only the last folders count
    places += [here.joinpath(*Path(place).parts[-n:]) for n in (2, 1)]
    there = next((p for p in places if p.exists()), here / named / place)
    return there.resolve() if ".." in there.parts else there


def _yaml_names(path: Path, names: Any) -> list[str]:
    """In the order of the numbers. Raises DataError if there are none, or one is missing."""
    if isinstance(names, Mapping):
        numbers = list(names)
        if sorted(map(str, numbers)) != sorted(map(str, range(len(numbers)))):
            raise DataError(f"{path}: names are numbered {first_of(numbers)}; expected 0, 1, 2...")
        names = [name for _, name in sorted(names.items(), key=lambda item: int(item[0]))]
    if not isinstance(names, list) or not names:
        raise DataError(f"{path}: names is {names!r}; expected a list of class names.")
    return [str(name) for name in names]
