"""Where images and YOLO's labels are: as a data.yaml says, or told by the folders."""

import itertools
import os
import re
from pathlib import Path

from mobilevitv2.data.boxes.yolo_yaml import YAML, YoloLayout, read_yaml, says_where, yaml_in
from mobilevitv2.data.split_names import folders_in, splits_among, splits_in

LABELS = ".txt"
NAME_FILES = ("classes.txt", "obj.names", "classes.names", "labels.txt")
OBJ_DATA = re.compile("^obj_(.+)_data$")  # as darknet and CVAT call a split's folder
TRIED = 50  # text files that are looked into before they count as something else
BOXES_LINE = re.compile(r"\s*\d+(\.0+)?(\s+-?[\d.]+(e-?\d+)?){4,}\s*", re.IGNORECASE)


def looks_like_yolo(source: Path) -> bool:
    """Is it a data.yaml, or a folder with one or with label files where they belong?"""
    if source.suffix.lower() in YAML:
        return says_where(source)
    return source.is_dir() and (yaml_in(source) is not None or bool(_image_folders(source)))


def find_yolo(source: Path) -> YoloLayout:
    """The layout of what looks like it. Raises DataError where a data.yaml can't be followed."""
    path = source if source.is_file() else yaml_in(source)
    if path is not None:
        return read_yaml(path)
    splits = {split: [folder] for split, folder in _image_folders(source).items()}
    labels = [label_folder(folder) for [folder] in splits.values()]
    places = [source, *labels, *(folder.parent for folder in labels)]
    files = [place / name for place in places for name in NAME_FILES if (place / name).is_file()]
    return YoloLayout(source, splits, files[0] if files else None)


def label_folder(images: Path) -> Path:
    """Where the labels of a folder of images are: labels takes the place of the last images in it.

    They lie beside the images where there is no such folder.
    """
    parts = list(images.parts)
    for i in reversed(range(len(parts))):
        if parts[i].lower() == "images":
            parts[i] = _like(parts[i], "labels")
            beside = Path(*parts)
            return beside if beside.is_dir() else images
    return images


def _like(given: str, word: str) -> str:
    """The word in the capitals of the given one."""
    if given.isupper():
        return word.upper()
    return word.capitalize() if given[0].isupper() else word


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
    """Does one of the first text files in or below it hold boxes?"""
    tried = 0
    for parent, below, files in os.walk(folder):
        for name in sorted(files):
            if name.lower().endswith(LABELS) and name.lower() not in NAME_FILES:
                path = Path(parent, name)
                if holds_boxes(path):
                    return True
                tried += path.stat().st_size > 0  # that of an image without boxes is empty
                if tried == TRIED:
                    return False
        if not deep:
            below.clear()
    return False


def holds_boxes(path: Path) -> bool:
    """Is one of the first lines of the text file a box?"""
    try:
        with path.open(encoding="utf-8-sig") as file:
            return any(BOXES_LINE.fullmatch(line) for line in itertools.islice(file, 3))
    except (OSError, UnicodeDecodeError):
        return False
