"""Where tables of labels are, and the images that they list."""

from collections import defaultdict
from collections.abc import Collection
from pathlib import Path, PurePosixPath

from mobilevitv2.data.labels.table import LAYOUT, SUFFIXES, Table, looks_like_table
from mobilevitv2.data.split_names import (
    folders_in,
    nothing_found,
    one_per_split,
    split_of,
    splits_in,
)
from mobilevitv2.errors import DataError
from mobilevitv2.images.finding import LeftOut, has_files, is_hidden, visible_files
from mobilevitv2.images.reading import IMAGE_SUFFIXES

IMAGE_FOLDERS = ("images", "image", "imgs", "img", "photos", "data")  # no names of classes


def is_multi_label(source: str | Path) -> bool:
    """Is it a table of labels, or a folder with one, and no folders of classes?"""
    source = Path(source).expanduser()
    if source.is_file():
        suffix = source.suffix.lower()
        return suffix in SUFFIXES and (suffix != ".json" or looks_like_table(source))
    return source.is_dir() and bool(_tables(source)) and not _has_classes(source)


def find_tables(source: Path) -> dict[str, Path]:
    """The table of each split, or of `all`. Raises DataError if it can't be told."""
    if source.is_file():
        return {"all": source}
    found = _tables(source) if source.is_dir() else []
    if not found:
        classes = source.is_dir() and _has_classes(source)
        instead = ", but folders of classes, which task classify takes" if classes else ""
        raise nothing_found(source, f"table of labels{instead}", f"labels.csv with {LAYOUT}")
    of_splits = [(split, path) for split, path in found if split != "all"]
    return one_per_split(of_splits or found, "train.csv")


class ListedImages:
    """The images below a folder, by the names that a table may give them."""

    def __init__(self, root: Path, tables: Collection[Path]) -> None:
        self.root = root
        self.all: list[Path] = []
        self.left_out = LeftOut()
        self._by_name: dict[str, list[Path]] = defaultdict(list)
        for path in visible_files(root, self.left_out, follow_links=True):
            if path.suffix.lower() not in IMAGE_SUFFIXES:
                self.left_out.strays += path not in tables
                continue
            self.all.append(path)
            parts = path.relative_to(root).parts
            for i in range(len(parts)):  # the ends of its path, without the suffix too
                name = PurePosixPath(*parts[i:])
                self._by_name[str(name)].append(path)
                self._by_name[str(name.with_suffix(""))].append(path)

    def find(self, name: str, table: Table, split: str) -> Path | None:
        """The image whose path ends like this one, in as many parts as possible; None for none.

        Raises DataError if there are several, unless just one is in a folder of the split, or
        beside the table.
        """
        parts = [p for p in PurePosixPath(name.replace("\\", "/")).parts if p.strip("/.")]
        ends = ("/".join(parts[i:]) for i in range(len(parts)))
        found = next((self._by_name[end] for end in ends if end in self._by_name), [])
        if len(found) > 1:
            of_split = [p for p in found if split in map(split_of, p.relative_to(self.root).parts)]
            beside = [p for p in found if p.parent == table.path.parent]
            found = next((some for some in (of_split, beside) if len(some) == 1), found)
        if len(found) > 1:
            raise DataError(
                f"{table.path}: {name} may be {found[0]} or {found[1]}. Write its folder."
            )
        return found[0] if found else None


def _tables(source: Path) -> list[tuple[str, Path]]:
    """The tables in a folder, or else in its folders of splits, each with its split."""
    own = [(split_of(path.stem) or "all", path) for path in _tables_in(source)]
    halves = splits_in(source).items()
    return own or [(split, path) for split, folder in halves for path in _tables_in(folder)]


def _tables_in(folder: Path) -> list[Path]:
    paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES)
    return [path for path in paths if not is_hidden(path.name) and looks_like_table(path)]


def _has_classes(source: Path) -> bool:
    """Are there two folders of images that aren't named as splits or images are?"""
    for place in (source, *splits_in(source).values()):
        named = folders_in(place).items()
        folders = [p for n, p in named if n not in IMAGE_FOLDERS and not split_of(n)]
        if sum(has_files(folder, IMAGE_SUFFIXES) for folder in folders) > 1:
            return True
    return False
