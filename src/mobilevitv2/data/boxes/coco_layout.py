"""Where COCO's JSON files and their images are, told by the names of files and folders."""

import re
from collections.abc import Hashable, Sequence
from pathlib import Path, PurePosixPath

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
            f"{splits['all']} lies beside files of splits. Name it by its split, or move it away."
        )
    return Layout(source, splits)


def image_folders(root: Path, split: str, path: Path) -> list[Path]:
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


def find_images(path: Path, rows: dict[Hashable, str], folders: Sequence[Path]) -> list[Path]:
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
                f"{path} lists {image.name} as image {first[image]!r} and as {key!r}. Give its "
                "boxes one image."
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
