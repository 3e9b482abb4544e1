"""The classes of boxes: those that the annotations name, or a list that says which there are."""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mobilevitv2.class_names import COCO, VOC
from mobilevitv2.data.boxes.found import FoundBoxes
from mobilevitv2.data.class_lists import GivenClasses
from mobilevitv2.errors import DataError

PUBLISHED = {"voc": VOC[1:], "coco": COCO}  # without the background


def settle_names(
    classes: GivenClasses | None, found: FoundBoxes
) -> tuple[list[str], str, np.ndarray]:
    """The names, where they come from, and the number in them of each of the `found` ones.

    Raises DataError where boxes are of a class that a given list doesn't have.
    """
    if classes is None:
        return found.names, found.origin, np.arange(len(found.names))
    names, origin = given_names(classes)
    number = {name: i for i, name in enumerate(names)}
    table = np.array([number.get(name, -1) for name in found.names], np.int64)
    wrong: Counter[str] = Counter()
    first: dict[str, Path] = {}
    for images in found.splits.values():
        for one in images:
            for label in one.labels[table[one.labels] < 0]:
                wrong[found.names[label]] += 1
                first.setdefault(found.names[label], one.source)
    if wrong:
        name, path = next(iter(first.items()))
        others = f" (and of {len(wrong) - 1:,} other classes)" if len(wrong) > 1 else ""
        raise DataError(
            f"{path} has a box of class {name!r}, which {origin} does not have; there are "
            f"{wrong[name]:,} of them{others}. Add it to the list, or correct the annotations."
        )
    return names, origin, table


def category_ids(found: FoundBoxes, table: np.ndarray, count: int) -> list[int]:
    """COCO's own number of each of `count` classes; a class that it doesn't have gets a new one."""
    if not found.category_ids:
        return list(range(1, count + 1))
    own = {int(table[i]): number for i, number in enumerate(found.category_ids)}
    free = max(found.category_ids) + 1
    return [own.get(label, free + label) for label in range(count)]


def given_names(classes: GivenClasses) -> tuple[list[str], str]:
    """Names, and what a message calls them: of a file, of a published set's name, or a list."""
    if isinstance(classes, str | Path):
        known = PUBLISHED.get(str(classes), ())
        if known and not Path(classes).is_file():
            return list(known), str(classes)
        path = Path(classes).expanduser()
        return checked_names(read_names(path), str(path))
    return checked_names(list(classes), "the list of classes")


def read_names(path: Path) -> list[Any]:
    """A name a line, or JSON: names, or objects with a name; not yet checked."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"there is no class list {path}. Give a file of a name a line.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} can't be read ({error}). Save it as UTF-8 text.") from error
    if path.suffix.lower() != ".json":
        return [line.strip() for line in text.splitlines() if line.strip()]
    try:
        listed = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"{path} is not valid JSON ({error}).") from error
    if not isinstance(listed, list):
        raise DataError(f"{path} is a {type(listed).__name__}; a list of names is wanted.")
    return [entry.get("name") if isinstance(entry, Mapping) else entry for entry in listed]


def checked_names(names: list[Any], origin: str) -> tuple[list[str], str]:
    """Both as they came. Raises DataError where there is no name, or one is there twice."""
    if wrong := [name for name in names if not isinstance(name, str) or not name.strip()]:
        raise DataError(f"{origin} has {wrong[0]!r}, which is no name of a class.")
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise DataError(f"{origin} has {twice[0]!r} twice. Give each class a name of its own.")
    if not names:
        raise DataError(f"{origin} has no classes. Name what the boxes show.")
    return names, origin
