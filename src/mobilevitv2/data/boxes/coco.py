"""Boxes in COCO's format (Lin et al., 2014): one JSON file for all images of a split."""

# n annotations of a file

import re
from array import array
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, TypeGuard

import numpy as np

from mobilevitv2.data.boxes.found import Annotated, FoundBoxes
from mobilevitv2.data.class_lists import GivenClasses
from mobilevitv2.data.json_stream import items_of
from mobilevitv2.data.split_names import Layout, folders_in, one_per_split, split_of, splits_in
from mobilevitv2.errors import DataError, some_of
from mobilevitv2.files.source import beginning

JSON = ".json"
TRIED = 50  # images by which their folder is chosen
JSON_FOLDERS = ("annotations", "annotation")
OTHER_TASKS = ("captions", "person_keypoints", "panoptic", "stuff", "image_info")
FIRST_KEYS = re.compile(  # what such a file may begin with
    r'\s*\{\s*"(info|licenses|images|annotations|categories|type|name|version|dataset)"\s*:'
)
NO_BOX = [float("nan")] * 4


def looks_like_coco(source: Path) -> bool:
    """Is it such a JSON file, or a folder with some where they belong?"""
    return _is_coco(source) if source.suffix.lower() == JSON else bool(_files(source))


def find_coco(source: Path) -> Layout[Path]:
    """The layout of what looks like it. Raises DataError if two files claim to be one split."""
    if source.suffix.lower() == JSON:
        return Layout(source.parent, {"all": source})
    paths = [(p, split_of(p.stem), split_of(p.parent.name)) for p in _files(source)]
    found = [(own or (p.parent != source and above) or "all", p) for p, own, above in paths]
    splits = one_per_split(found, "instances_train.json")
    if len(splits) > 1 and "all" in splits:
        raise DataError(
            f"{splits['all']} is beside files of splits. Name its split, or move it away."
        )
    return Layout(source, splits)


@dataclass
class _CocoFile:
    """A file's tables in arrays: everything but an annotation's box is dropped."""

    path: Path
    images: dict[Hashable, str] = field(default_factory=dict)  # the file names
    sizes: list[tuple[int, int] | None] = field(default_factory=list)  # of the images [px]
    categories: dict[Hashable, tuple[str, str]] = field(default_factory=dict)  # with what is above
    image_places: dict[Hashable, int] = field(default_factory=dict)
    category_places: dict[Hashable, int] = field(default_factory=dict)
    image: array = field(default_factory=lambda: array("q"))  # [n], of image_places
    category: array = field(default_factory=lambda: array("q"))  # [n], of category_places
    number: array = field(default_factory=lambda: array("q"))  # [n], the annotation's id
    box: array = field(default_factory=lambda: array("d"))  # [4n] of x, y, width, height
    area: array = field(default_factory=lambda: array("d"))  # [n]
    crowd: array = field(default_factory=lambda: array("b"))  # [n]


def read_coco(layout: Layout[Path], _: GivenClasses | None = None) -> FoundBoxes:
    """All that the JSON files of the splits say; the classes are the categories by their ids.

    Crowds are ignored boxes; outlines are dropped, except for the areas that the file gives.
    Raises DataError for a file that contradicts itself, or if images are missing.
    """
    files = {split: _read(path) for split, path in layout.splits.items()}
    categories = _categories(list(files.values()))
    origin = " and ".join(dict.fromkeys(file.path.name for file in files.values()))
    found = FoundBoxes(
        format="COCO",
        names=list(categories.values()),
        origin=f"the categories of {origin}",
        box="annotation",
    )
    numbers = {key: i for i, key in enumerate(categories)}
    if all(isinstance(key, int) for key in categories):
        found.category_ids = [int(str(key)) for key in categories]
    for split, file in files.items():
        paths = _find_images(file.path, file.images, _image_folders(layout.root, split, file.path))
        found.splits[split] = _by_image(file, paths, numbers)
        ids = zip(paths, file.images, strict=True)
        found.image_ids |= {path: key for path, key in ids if isinstance(key, int)}
        if repeated := len(file.number) - len(np.unique(file.number)):
            given = f"gives {repeated:,} annotations an id that another one has"
            found.notes.append(f"{file.path} {given}; each counts")
    return found


def _read(path: Path) -> _CocoFile:
    file, seen = _CocoFile(path), set[str]()
    add = {"images": _add_image, "annotations": _add_annotation, "categories": _add_category}
    for key, item in items_of(path, seen):
        if key in add:
            add[key](file, item)
    if absent := [key for key in add if key not in seen]:
        raise DataError(
            f"{path} has no {' and no '.join(absent)}. Expected COCO's format: lists of images, "
            "annotations (image_id, category_id, bbox) and categories (id, name)."
        )
    for what, plural, places, known, column in (
        ("image", "images", file.image_places, file.images, file.image),
        ("category", "categories", file.category_places, file.categories, file.category),
    ):
        if unknown := {place: key for key, place in places.items() if key not in known}:
            wrong = np.flatnonzero(np.isin(np.frombuffer(column, np.int64), list(unknown)))
            first = int(wrong[0])
            raise DataError(
                f"{path} has {len(wrong):,} annotations with {what} ids that it doesn't list; the "
                f"first is annotation {file.number[first]} of {what} {unknown[column[first]]!r}. "
                f"Add the {plural}, or remove the annotations."
            )
    return file


def _key_and_name(file: _CocoFile, item: Any, what: str, field: str) -> tuple[int | str, str]:
    key, name = (item.get("id"), item.get(field)) if isinstance(item, dict) else (None, None)
    if not isinstance(key, int | str) or not isinstance(name, str) or not name.strip():
        raise DataError(f"{file.path} has the {what} {item!r}; expected an id and a {field}.")
    return key, name


def _add_image(file: _CocoFile, item: Any) -> None:
    key, name = _key_and_name(file, item, "image", "file_name")
    if key in file.images:
        both = f"{file.images[key]} and {name}"
        raise DataError(f"{file.path} has two images of id {key!r}, {both}. Give each its own.")
    file.images[key] = name
    sides = [item.get(side) for side in ("width", "height")]
    whole = [int(side) for side in sides if isinstance(side, int | float) and 0 < side < 1e9]
    file.sizes.append((whole[0], whole[1]) if len(whole) == 2 else None)


def _add_category(file: _CocoFile, item: Any) -> None:
    key, name = _key_and_name(file, item, "category", "name")
    if key in file.categories:
        raise DataError(f"{file.path} has two categories of id {key!r}. Give each its own.")
    file.categories[key] = name.strip(), str(item.get("supercategory"))


def _add_annotation(file: _CocoFile, item: Any) -> None:
    image = item.get("image_id") if isinstance(item, dict) else None
    category = item.get("category_id") if isinstance(item, dict) else None
    if not isinstance(image, int | str) or not isinstance(category, int | str):
        raise DataError(
            f"{file.path} has an annotation without image_id or category_id, number "
            f"{len(file.image) + 1:,}. Export it again."
        )
    number, box, area = item.get("id"), item.get("bbox"), item.get("area")
    if not (isinstance(box, list) and len(box) == 4 and all(map(_is_number, box))):
        box = NO_BOX
    file.image.append(file.image_places.setdefault(image, len(file.image_places)))
    file.category.append(file.category_places.setdefault(category, len(file.category_places)))
    known = isinstance(number, int) and abs(number) < 1 << 63
    file.number.append(number if known else -1 - len(file.number))
    file.box.extend(box)
    file.area.append(float(area) if _is_number(area) else float("nan"))
    file.crowd.append(item.get("iscrowd") in (1, True))


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and abs(value) < 1e300


def _categories(files: list[_CocoFile]) -> dict[Hashable, str]:
    """The name of each id in all files, in the order of the ids."""
    names: dict[Hashable, str] = {}
    supers: set[tuple[str, str]] = set()  # of a name and the name above it
    for file in files:
        for key, (name, above) in file.categories.items():
            if names.setdefault(key, name) != name:
                raise DataError(
                    f"{file.path} calls category {key!r} {name!r}, and {files[0].path} "
                    f"{names[key]!r}. Export both with the same categories."
                )
            supers.add((name, above))
    used = {key for file in files for key in file.category_places}
    for key, name in list(names.items()):
        # such as an export of Roboflow puts above its classes
        if key not in used and any(above == name != below for below, above in supers):
            del names[key]
    by_name = {name: key for key, name in names.items()}
    if len(by_name) < len(names):
        twice = next(name for key, name in names.items() if by_name[name] != key)
        raise DataError(
            f"{files[0].path} has categories of different ids that are called {twice!r}. Give "
            "each class a name of its own, and the same id in all files."
        )
    whole = all(isinstance(key, int) for key in names)
    order = sorted(names, key=(lambda key: int(str(key))) if whole else str)
    return {key: names[key] for key in order}


def _by_image(file: _CocoFile, paths: list[Path], numbers: dict[Hashable, int]) -> list[Annotated]:
    row = {key: i for i, key in enumerate(file.images)}
    rows = np.array([row[key] for key in file.image_places], np.int64)
    labels = np.array([numbers[key] for key in file.category_places], np.int64)
    image, category = (np.frombuffer(a, np.int64) for a in (file.image, file.category))
    of_row = rows[image]
    order = np.argsort(of_row, kind="stable")
    boxes = np.frombuffer(file.box, np.float64).reshape(-1, 4)[order]
    corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
    label = labels[category][order]
    crowd = np.frombuffer(file.crowd, np.int8)[order] > 0
    area = np.frombuffer(file.area, np.float64)[order]
    number = np.frombuffer(file.number, np.int64)[order]
    ends = np.searchsorted(of_row[order], np.arange(len(paths) + 1)).tolist()
    found = []
    for path, size, start, end in zip(paths, file.sizes, ends[:-1], ends[1:], strict=True):
        columns = (column[start:end] for column in (label, corners, crowd, area, number))
        found.append(Annotated._make([path, file.path, *columns, size]))
    return found


def _image_folders(root: Path, split: str, path: Path) -> list[Path]:
    """Where the images that a JSON file names may be, the likeliest first."""
    places = [path.parent, root, root.parent]
    above = [folder for place in places for folder in (place, place / "images", place / "data")]
    own = [
        folder
        for place in above
        if place.is_dir()
        for name, folder in folders_in(place).items()
        if (split_of(name) == (split_of(path.stem) or split) and split_of(name))
        or path.stem.lower() == f"instances_{name}"  # whatever the split is called, as by CVAT
    ]
    below = [f / "images" for f in own]
    return [f for f in dict.fromkeys([*own, *below, *above]) if f.is_dir()]


def _find_images(path: Path, rows: dict[Hashable, str], folders: Sequence[Path]) -> list[Path]:
    """The file of each image by its id, below the folder that has most of them.

    A folder in a file name counts if it is there; else the last part is looked for. Raises
    DataError if images are missing, or one is listed twice.
    """
    names = list(rows.values())
    if not names:
        raise DataError(f"{path} lists no images. Export it again.")
    tried = names[:: max(1, len(names) // TRIED)]
    ways = [(folder, whole) for folder in folders for whole in (True, False)]
    folder, whole = max(ways, key=lambda way: sum(_place(*way, n).is_file() for n in tried))
    paths = [_place(folder, whole, name) for name in names]
    if absent := [name for name, p in zip(names, paths, strict=True) if not p.is_file()]:
        raise DataError(
            f"{folder} lacks images that {path} lists: {some_of(absent)}. Put them there, or "
            "remove them and their annotations from the file."
        )
    first: dict[Path, Hashable] = {}
    for key, image in zip(rows, paths, strict=True):
        if first.setdefault(image, key) != key:
            raise DataError(
                f"{path} lists {image.name} twice, as {first[image]!r} and {key!r}. Remove one."
            )
    return paths


def _place(folder: Path, whole: bool, name: str) -> Path:
    """The file in the folder: with the folders in its name, unless these lead out, or without."""
    parts = PurePosixPath(name.replace("\\", "/"))
    inside = whole and not parts.is_absolute() and ".." not in parts.parts
    return folder / (parts if inside else parts.name)


def _files(source: Path) -> list[Path]:
    """The JSON files of one place: annotations, else the folder itself, else those of splits."""
    if not source.is_dir():
        return []
    below = folders_in(source)
    for folder in (*(below[name] for name in JSON_FOLDERS if name in below), source):
        if found := _coco_in(folder):
            return found
    return [path for folder in splits_in(source).values() for path in _coco_in(folder)]


def _coco_in(folder: Path) -> list[Path]:
    paths = [p for p in sorted(folder.glob("*.json")) if not p.name.startswith((".", *OTHER_TASKS))]
    instances = [path for path in paths if path.name.startswith("instances")]
    return [path for path in instances or paths if _is_coco(path)]


def _is_coco(path: Path) -> bool:
    return FIRST_KEYS.match(beginning(path)) is not None
