"""A table of images and their labels, in the forms in which people have them."""

import csv
import io
import json
import re
from collections.abc import Iterable
from itertools import compress, zip_longest
from pathlib import Path
from typing import Any, NamedTuple

from mobilevitv2.errors import DataError, first_of
from mobilevitv2.files.source import beginning

JSON = (".json", ".jsonl")
SUFFIXES = (".csv", ".tsv", *JSON)
FILE = ("file", "filename", "file_name", "filepath", "file_path", "path", "image", "image_path")
FILE += ("image_name", "image_id", "imageid", "img", "id")  # the first one that is there counts
SPLIT = ("split", "subset")
LABELS = re.compile(r"(label|tag|class)(s|es)?_?\d*")
YES, NO, MINUS = {"1", "1.0", "true", "yes"}, {"0", "0.0", "false", "no"}, {"-1", "-1.0"}
BINARY = YES | NO | MINUS | {""}
ENTRY = r'\s*"(?:\\.|[^"\\])+"\s*:\s*\[\s*'  # of a JSON object: a file, and a list that begins
LISTS = re.compile(rf'\s*\{{(?:{ENTRY}\]\s*,)*{ENTRY}"')  # {"1.jpg": [], "2.jpg": ["cat"
LAYOUT = (
    "a column `file` beside a column `labels` (cat dog), columns `label1`, `label2`, ..., or a "
    'column of 0 and 1 for each class; or JSON: {"1.jpg": ["cat", "dog"]}'
)


class Row(NamedTuple):
    """What a table says of an image, and where, for a message."""

    where: str
    file: str
    labels: frozenset[str]
    split: str


class Table(NamedTuple):
    """A table; its `classes` are None if the rows name them, instead of columns."""

    path: Path
    rows: list[Row]
    classes: list[str] | None = None


def looks_like_table(path: Path) -> bool:
    """Does the beginning of the file have a column for files, or JSON files and labels?"""
    text = beginning(path, errors="replace")
    if path.suffix.lower() not in JSON:
        names = [name.strip('"') for name in re.split("[,;\t]", text.partition("\n")[0])]
        return _named(names, FILE) is not None
    keys = re.findall(r'"(\w+)"\s*:', text) if re.match(r"\s*(\[\s*)?\{", text) else []
    records = _named(keys, FILE) is not None and any(map(_names_labels, keys))
    return records or LISTS.match(text) is not None


def read_table(path: Path) -> Table:
    """All rows. Raises DataError for a file that can't be read or has another form."""
    kind = path.suffix.lower()
    try:
        text = path.read_text(encoding="utf-8-sig")
        if kind not in JSON:
            delimiter = max(",;\t", key=text.partition("\n")[0].count)
            lines = io.StringIO(text, newline="")
            return _of_cells(path, csv.DictReader(lines, delimiter=delimiter, strict=True))
        parts = [line for line in text.splitlines() if line.strip()] if kind == JSON[1] else [text]
        content = [json.loads(part, object_pairs_hook=_Pairs) for part in parts]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} can't be read ({error}). Save it as UTF-8 text.") from error
    except (json.JSONDecodeError, RecursionError) as error:
        raise DataError(f"{path} is not valid JSON ({error}). Correct it.") from error
    except csv.Error as error:
        raise DataError(f"{path} is not a valid table ({error}). Correct its quotes.") from error
    records = content if kind == JSON[1] else content[0]
    if isinstance(records, _Pairs):
        records = [_Pairs([("file", file), ("labels", labels)]) for file, labels in records]
    if not isinstance(records, list) or not records:
        raise DataError(f"{path} lists no images. Expected {LAYOUT}.")
    return Table(path, [_of_record(path, i, record) for i, record in enumerate(records, start=1)])


class _Pairs(list[tuple[str, Any]]):
    """An object of JSON, where a key may come twice."""


def _of_record(path: Path, number: int, record: Any) -> Row:
    values = dict(record) if isinstance(record, _Pairs) else {}
    file, split = _named(values, FILE), _named(values, SPLIT)
    others = [name for name in values if name not in (file, split)]
    if file is None or len(others) != 1 or not _names_labels(others[0]):
        there = first_of(values) if values else repr(record)
        raise DataError(f"{path}, entry {number}: expected file and labels, got {there}.")
    labels = values[others[0]]
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise DataError(
            f"{path}, entry {number}: {others[0]} is {labels!r}; expected a list of names."
        )
    return _row(path, f"entry {number}", values[file], labels, values[split] if split else "")


def _of_cells(path: Path, reader: csv.DictReader) -> Table:
    header = [(name or "").strip() for name in reader.fieldnames or []]
    file, split = _named(header, FILE), _named(header, SPLIT)
    if file is None:
        raise DataError(f"{path} has no column `file`. Expected {LAYOUT}.")
    if not all(header):
        raise DataError(
            f"{path} has a column without a name. Name or drop it (pandas: index=False)."
        )
    if twice := [name for i, name in enumerate(header) if name in header[:i]]:
        raise DataError(f"{path} has two columns called {twice[0]!r}. Rename or remove one.")
    reader.fieldnames = header
    reader.restkey = ""  # of the list of cells beyond the header
    others = [name for name in header if name not in (file, split)]
    lines: list[tuple[str, Any, Any, list[str]]] = []  # where, file, split, and the other cells
    for line in reader:
        given = [*map(line.get, others), *line.get("", [])]
        cells = [cell.strip() for cell in given if cell is not None]  # a short row has fewer
        lines.append((f"line {reader.line_num}", line[file], line.get(split), cells))
    if not lines:
        raise DataError(f"{path} has a header, but no rows. Add them, or remove the file.")
    wrong = [
        f"{where}: {name or 'a cell beyond the header'} is {cell!r}"
        for where, _, _, cells in lines
        for name, cell in zip_longest(others, cells)
        if name is None or cell is None or cell.lower() not in BINARY
    ]
    named = [name for name in others if _names_labels(name)]
    if named and (len(others) == 1 or wrong):
        if more := [name for name in others if name not in named]:
            raise DataError(f"{path} has {first_of(more)} beside {named[0]}. Remove these columns.")
        labels, classes = _split(path, others, [cells for *_, cells in lines]), None
    elif wrong:
        raise DataError(
            f"{path}, {wrong[0]}; expected 0 or 1 for each class, or names in a column `labels`."
        )
    else:
        values = {cell.lower() for *_, cells in lines for cell in cells}
        if values & NO and values & MINUS:
            raise DataError(f"{path} has both 0 and -1, so which means no? Write one of them.")
        classes = others
        shown = [[cell.lower() in YES for cell in cells] for *_, cells in lines]
        labels = [list(compress(others, row)) for row in shown]
    rows = zip(lines, labels, strict=True)
    return Table(path, [_row(path, w, f, names, half) for (w, f, half, _), names in rows], classes)


def _split(path: Path, columns: list[str], lines: list[list[str]]) -> list[list[str]]:
    """The names in the cells of each line: one per cell, or several if there is just one column."""
    cells = [[cell for cell in line if cell] for line in lines]
    if len(columns) > 1 or any(len(line) > 1 for line in lines):
        return cells
    used = [sign for sign in "|;," if any(sign in line[0] for line in cells if line)]
    if len(used) > 1:
        raise DataError(f"{path} has {used[0]!r} and {used[1]!r} between labels. Use one of them.")
    if not used and not columns[0].lower().endswith("s"):  # `label`, which may have spaces in it
        return cells
    separator = used[0] if used else None
    return [line[0].split(separator) if line else [] for line in cells]


def _row(path: Path, where: str, file: Any, labels: Iterable[str], split: Any) -> Row:
    labels = [label.strip() for label in labels]
    if not isinstance(file, str) or not file.strip():
        raise DataError(f"{path}, {where} names no file. Name it, or remove the row.")
    if not all(labels):
        raise DataError(f"{path}, {where} has an empty label. Name it, or remove it.")
    return Row(where, file.strip(), frozenset(labels), str(split or "").strip().lower())


def _plain(name: str) -> str:
    return name.strip().lower().replace(" ", "_")


def _names_labels(column: str) -> bool:
    return LABELS.fullmatch(_plain(column)) is not None


def _named(columns: Iterable[str], meant: Iterable[str]) -> str | None:
    """The column that has the first of the meant names."""
    given = {_plain(column): column for column in columns}
    return next((given[name] for name in meant if name in given), None)
