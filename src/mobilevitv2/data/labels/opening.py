"""Images with a table of labels: opened by `open_multi_label`, decoded by `LabeledImages`."""

import random
from collections import defaultdict
from collections.abc import Collection, Hashable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from mobilevitv2.data.class_lists import GivenClasses, given_names
from mobilevitv2.data.data_set import Data, settled, usable
from mobilevitv2.data.decoded import DecodedSamples
from mobilevitv2.data.headers import read_headers
from mobilevitv2.data.labels.table import LAYOUT, SUFFIXES, Row, Table, looks_like_table, read_table
from mobilevitv2.data.split_names import (
    SPLIT_NAMES,
    check_share,
    check_train,
    divide,
    folders_in,
    nothing_found,
    one_per_split,
    split_of,
    splits_in,
)
from mobilevitv2.errors import DataError, some_of
from mobilevitv2.images.finding import LeftOut, has_files, is_hidden, visible_files
from mobilevitv2.images.reading import IMAGE_SUFFIXES

IMAGE_FOLDERS = ("images", "image", "imgs", "img", "photos", "data")  # no names of classes

LabeledSample = tuple[Path, np.ndarray]  # an image, and bool [classes]: which of them it shows


@dataclass
class MultiLabelData(Data[LabeledSample]):
    """Images with any number of labels each."""

    task = "multi-label classification"

    tables: list[Path] = field(default_factory=list)
    unlisted: list[str] = field(default_factory=list)
    """Images that are in no table, which are left out."""

    def _seen(self, sample: LabeledSample) -> list[int]:
        return np.flatnonzero(sample[1]).tolist()

    target = _seen

    def caption(self, sample: LabeledSample) -> str:
        return ", ".join(self.classes[label] for label in self._seen(sample)) or "no label"

    def files(self) -> list[Path]:
        return super().files() + self.tables

    def _table(self) -> list[list[str]]:
        empty = [sum(not labels.any() for _, labels in split) for split in self.splits.values()]
        *rows, last = super()._table()
        return [*rows, ["without a label", *(f"{count:,}" for count in empty)], last]

    def _left_out(self) -> dict[str, list[str]]:
        unlisted = [f"{path} is in no table" for path in self.unlisted]
        return super()._left_out() | {"images without a row": unlisted}


def is_multi_label(source: str | Path) -> bool:
    """Is it a table of labels, or a folder with one, and no folders of classes?"""
    source = Path(source).expanduser()
    if source.is_file():
        suffix = source.suffix.lower()
        return suffix in SUFFIXES and (suffix != ".json" or looks_like_table(source))
    return source.is_dir() and bool(_tables(source)) and not _has_classes(source)


def open_multi_label(
    source: str | Path,
    *,
    seed: int = 0,
    val_share: float = 0.2,
    classes: GivenClasses | None = None,
) -> MultiLabelData:
    """Images and the table that lists their labels: a folder with both, or the table itself.

    A table is CSV (also with tabs or semicolons), JSON or JSON lines; see `labels.table` for its
    columns. It is split by its name (train.csv), its folder or a column `split`; if nothing is
    split yet, about `val_share` of each class is drawn for validation by `seed`. `classes` are
    names, a file with a name per line or a published set's name; unset, the table's columns, or the
    labels in it, sorted. An image without labels stays; images that can't be read, or that no table
    lists, are left out and counted. Raises DataError if this makes no data set.
    """
    check_share(val_share)
    source = Path(source).expanduser()
    tables = {split: read_table(path) for split, path in find_tables(source).items()}
    root = source if source.is_dir() else source.parent
    images = ListedImages(root, [table.path for table in tables.values()])
    notes = []
    if "test" in tables and tables["test"].classes == []:
        notes.append(f"{tables.pop('test').path} gives no labels, so it isn't used")
    rows = _rows(tables, images, notes)
    check_train(root, rows)
    names, origin = _names(classes, list(tables.values()))
    listed = dict.fromkeys(path for of_split in rows.values() for path in of_split)
    headers, unreadable = read_headers(list(listed))
    splits: dict[str, list[LabeledSample]] = {}
    for split, of_split in rows.items():
        rows_of = ((path, [name in row.labels for name in names]) for path, row in of_split.items())
        splits[split] = [(path, np.array(shown, bool)) for path, shown in rows_of]
    splits = usable(splits, unreadable)
    first = splits["all" if "all" in splits else "train"]
    if not any(labels.any() for _, labels in first):
        raise DataError(f"{source} has no label on {len(first):,} images. Write some in the table.")
    if all(labels.sum() == 1 for samples in splits.values() for _, labels in samples):
        notes.append("each image has exactly one label: folders of classes would make a classifier")
    return MultiLabelData(
        classes=names,
        origin=origin,
        tables=[table.path for table in tables.values()],
        unlisted=[str(path) for path in images.all if path not in listed],
        notes=notes,
        unreadable=unreadable,
        **vars(images.left_out),
        **settled(source, splits, headers, val_share, seed, stratified),
    )


def stratified(
    source: Path, samples: list[LabeledSample], share: float, seed: int
) -> tuple[list[LabeledSample], list[LabeledSample]]:
    """The samples in two: about `share` of each class goes into the second part.

    Drawn by `seed` from the rarest class on, as in Sechidis et al. (2011); last come images without
    a label. A class's last image stays in the first part.
    """
    shown = np.stack([[*labels, True] for _, labels in samples])  # the last column is everything
    order = np.array(random.Random(str(seed)).sample(range(len(samples)), len(samples)))
    drawn, open_ = np.zeros(len(samples), bool), np.ones(len(samples), bool)
    for column in shown.T[np.argsort(shown.sum(0), kind="stable")]:
        count = min(max(round(column.sum() * share), 1), column.sum() - 1)
        some = order[(column & open_)[order]]
        drawn[some[: max(count - (column & drawn).sum(), 0)]] = True
        open_ &= ~column
    if not drawn.any():
        return divide(source, samples, share, seed)
    halves = [[s for s, second in zip(samples, drawn, strict=True) if second == i] for i in (0, 1)]
    return halves[0], halves[1]


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


def _rows(
    tables: dict[str, Table], images: ListedImages, notes: list[str]
) -> dict[str, dict[Path, Row]]:
    """The row of each image, by split. Raises DataError for rows that contradict each other."""
    rows: dict[str, dict[Path, Row]] = {}
    for split, table in tables.items():
        missing, seen = [], dict[Path, Row]()
        for row in table.rows:
            half = next((s for s, words in SPLIT_NAMES.items() if row.split in words), None)
            if row.split and half is None:
                raise DataError(
                    f"{table.path}, {row.where}: split is {row.split!r}, not train, val or test."
                )
            path = images.find(row.file, table, half or split)
            if path is None:
                missing.append(row.file)
                continue
            first = seen.setdefault(path, row)
            if first[2:] != row[2:]:
                raise DataError(
                    f"{table.path} contradicts itself about {path.name}, in {first.where} and "
                    f"{row.where}. Remove one of them."
                )
            rows.setdefault(half or split, {})[path] = first
        if missing:
            raise DataError(
                f"{images.root} lacks images that {table.path} lists: {some_of(missing)}. Put them "
                "there, or remove their rows."
            )
        if repeated := len(table.rows) - len(seen):
            notes.append(f"{table.path} repeats {repeated:,} rows, which count once")
    if "all" in rows and len(rows) > 1:
        row = next(iter(rows["all"].values()))
        raise DataError(f"{tables['all'].path}, {row.where} has no split, but others do. Add it.")
    return rows


def _names(classes: GivenClasses | None, tables: list[Table]) -> tuple[list[str], str]:
    """The names of the classes, and where they come from."""
    origin = " and ".join(table.path.name for table in tables)
    columns = [table.classes for table in tables if table.classes is not None]
    if columns and (len(columns) < len(tables) or any(set(c) != {*columns[0]} for c in columns)):
        raise DataError(f"{origin} have different columns for classes. Give all the same.")
    used = columns[0] if columns else sorted({n for t in tables for r in t.rows for n in r.labels})
    if not used:
        raise DataError(f"{tables[0].path} has no labels. Expected {LAYOUT}.")
    if classes is None:
        return used, f"the {'columns' if columns else 'labels'} of {origin}"
    names, given = given_names(classes)
    if wrong := [name for name in used if name not in names]:
        raise DataError(
            f"{origin} has the label {wrong[0]!r}, which {given} does not have, and "
            f"{len(wrong) - 1:,} others. Add them to the list, or correct the table."
        )
    return names, given


class LabeledImages(DecodedSamples):
    """Images with labels, bool [classes], replaced by one with the same labels.

    `prepare` is as for `ImageSet`; a sample that doesn't count has no labels.
    """

    def _prepare(self, *args: Any, lost: bool, **options: Any) -> tuple[Any, np.ndarray]:
        pixels, labels = super()._prepare(*args, lost=False, **options)
        return pixels, np.zeros_like(labels) if lost else labels

    def _kind(self, index: int) -> Hashable:
        return self.samples[index][1].tobytes()
