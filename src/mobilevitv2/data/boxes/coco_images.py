"""The images that a COCO file lists, and where they are."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from mobilevitv2.data.sentences import some_of
from mobilevitv2.errors import DataError

TRIED = 50  # images by which a folder is chosen


@dataclass
class ImageTable:
    """The images of a file in its order."""

    rows: dict[Hashable, str] = field(default_factory=dict)
    """The file name of each id."""
    sizes: list[tuple[int, int] | None] = field(default_factory=list)
    """Width and height that the file gives [px]."""

    def add(self, path: Path, item: Any) -> None:
        """Raises DataError for an image of `path` that can't be told from the others."""
        key = item.get("id") if isinstance(item, dict) else None
        name = item.get("file_name") if isinstance(item, dict) else None
        if not isinstance(key, int | str) or not isinstance(name, str) or not name.strip():
            raise DataError(f"{path} has the image {item!r}; expected an id and a file_name.")
        if key in self.rows:
            raise DataError(
                f"{path} has two images of id {key!r}, {self.rows[key]} and {name}, so whose boxes "
                "are whose? Give each an id of its own."
            )
        self.rows[key] = name
        sides = [item.get(side) for side in ("width", "height")]
        whole = [int(side) for side in sides if isinstance(side, int | float) and 0 < side < 1e9]
        self.sizes.append((whole[0], whole[1]) if len(whole) == 2 else None)


def find_images(path: Path, table: ImageTable, folders: Sequence[Path]) -> list[Path]:
    """The file of each image, below the one of the `folders` that has most of the first ones.

    A folder in a file name counts if it is there; else the last part is looked for. Raises
    DataError where images are missing, or one is listed twice.
    """
    names = list(table.rows.values())
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
    for key, image in zip(table.rows, paths, strict=True):
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
