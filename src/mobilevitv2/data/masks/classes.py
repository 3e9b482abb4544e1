"""Which classes the values of masks are: as listed, as published, or as they are found."""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mobilevitv2.class_names import ADE20K, CAMVID, VOC, Color, palette
from mobilevitv2.data.class_lists import GivenClasses, checked_names, listed
from mobilevitv2.data.masks.reading import IGNORED, MOST_CLASSES, MaskLook, class_table
from mobilevitv2.data.paired import PairLayout
from mobilevitv2.errors import DataError, first_of

FILES = ("classes.txt", "classes.csv", "classes.json")
HEADER = ["name", "r", "g", "b"]  # of a CSV file
FROM_VALUES = "what the masks hold"  # the origin of names that are mere numbers
LEAST_SHARE = 0.25  # of the numbers up to the largest, which masks of class numbers hold


@dataclass(frozen=True)
class KnownSet:
    """A published data set: its classes, and how to tell it from others of the same layout."""

    kind: str  # of the layout
    mark: str  # part of the folder's name, as a regular expression
    classes: Sequence[str]
    colors: Sequence[Color]
    void: int | None = None  # a value beside 255 that doesn't count
    reduce_labels: bool = False

    def fits(self, layout: PairLayout, largest: int, reduce_labels: bool) -> bool:
        """Do masks whose largest class is this belong to this set?

        Only in a folder with the set's name: others use the same layouts.
        """
        name = layout.root.resolve().name.lower()
        return (
            (layout.kind, reduce_labels) == (self.kind, self.reduce_labels)
            and re.search(rf"(?<![a-z])({self.mark})(?![a-z])", name) is not None
            and (largest < len(self.classes) or largest == self.void)
        )


ADE20K_COLORS = palette(1 + len(ADE20K))[1:]  # the color of 0 is that of void
KNOWN = {
    "voc": KnownSet("voc", "voc", VOC, palette(len(VOC))),
    "camvid": KnownSet("camvid", "camvid", list(CAMVID), list(CAMVID.values()), void=11),
    "ade20k": KnownSet(
        "folders", "ade20k|adechallengedata", ADE20K, ADE20K_COLORS, reduce_labels=True
    ),
}


@dataclass(frozen=True)
class ClassList:
    """The classes in the order of their numbers; `origin` is what a message calls the list."""

    names: list[str]
    colors: list[Color | None]
    origin: str
    void: int | None = None


def settle_classes(
    classes: GivenClasses | None,
    source: Path,
    layout: PairLayout,
    masks: dict[Path, MaskLook],
    *,
    ignored: tuple[int, ...],
    reduce_labels: bool,
) -> tuple[ClassList, list[Color], tuple[int, ...]]:
    """The classes that are given, listed in the folder, known, or found; in this order.

    With them a color for each, and all the values of masks that don't count.
    """
    table = class_table(ignored, reduce_labels=reduce_labels)
    counts = sum((look.counts for look in masks.values()), np.zeros(256, dtype=np.int64))
    present = sorted({*table[counts > 0].tolist()} - {IGNORED})
    places = {source, layout.root}
    files = sorted(p / name for p in places for name in FILES if (p / name).is_file())
    if classes is not None:
        chosen = given_classes(classes)
    elif len(files) > 1:
        names = " and ".join(map(str, files))
        raise DataError(f"there are {names}; which one counts? Give one, or remove the others.")
    elif files:
        chosen = read_class_list(files[0])
    else:
        largest = max(present, default=0)
        fitting = [name for name, s in KNOWN.items() if s.fits(layout, largest, reduce_labels)]
        chosen = given_classes(fitting[0]) if fitting else _found(source, masks, present, ignored)
    if chosen.void is not None:
        ignored = tuple(sorted({*ignored, chosen.void}))
        table = class_table(ignored, reduce_labels=reduce_labels)
    own = _own_palette(masks, table, len(chosen.names))
    free = (color for color in palette(256) if color not in chosen.colors)
    colors = [
        color if color is not None else own[i] if own else next(free)
        for i, color in enumerate(chosen.colors)
    ]
    return chosen, colors, ignored


def _found(
    source: Path, masks: dict[Path, MaskLook], present: list[int], ignored: tuple[int, ...]
) -> ClassList:
    """A class for each number up to the largest."""
    if beyond := next(((p, look.beyond) for p, look in masks.items() if look.beyond), None):
        raise DataError(
            f"{beyond[0]} holds {first_of(beyond[1])}; class numbers go from 0 to "
            f"{MOST_CLASSES - 1}, and 255 is void. Renumber the classes."
        )
    count = present[-1] + 1 if present else 0
    if len(present) == 1 or count == 1:
        void = [v for v in ignored if any(look.counts[v] for look in masks.values())]
        also = f" beside {', '.join(map(str, void))}, which doesn't count" if void else ""
        raise DataError(
            f"the masks of {source} hold only one class, number {present[0]}{also}; expected two "
            "or more. Save the classes as 0, 1, 2 and so on."
        )
    if len(present) < LEAST_SHARE * count:
        raise DataError(
            f"the masks of {source} hold {len(present)} of the numbers up to {count - 1} "
            f"({first_of(present)}). Save the classes as 0, 1, 2 and so on; or, if there are that "
            "many, list their names in classes.txt."
        )
    names = [f"class_{i}" for i in range(count)]
    return ClassList(names, [None] * count, FROM_VALUES)


def _own_palette(masks: dict[Path, MaskLook], table: np.ndarray, count: int) -> list[Color]:
    """The colors that a palette mask gives the classes; [] if they can't be told apart."""
    stored = next((look.palette for look in masks.values() if look.palette), b"")
    by_class: dict[int, Color] = {}
    for value, (r, g, b) in enumerate(zip(stored[::3], stored[1::3], stored[2::3], strict=False)):
        if table[value] < count:
            by_class[int(table[value])] = (r, g, b)
    colors = [by_class[i] for i in range(count) if i in by_class]
    gray = all(r == g == b for r, g, b in colors)
    return colors if len(set(colors)) == count and not gray else []


def given_classes(classes: GivenClasses) -> ClassList:
    """The list of a file, of a published set's name (voc, camvid, ade20k), or of names."""
    if isinstance(classes, str | Path) and str(classes) in KNOWN and not Path(classes).is_file():
        known = KNOWN[str(classes)]
        return ClassList(list(known.classes), [*known.colors], str(classes), known.void)
    if isinstance(classes, str | Path):
        return read_class_list(Path(classes).expanduser())
    colors: list[Color | None] = [None] * len(classes)
    if isinstance(classes, Mapping):
        colors = [(r, g, b) for r, g, b in classes.values()]
    return _checked(list(classes), colors, "the list of classes")


def read_class_list(path: Path) -> ClassList:
    """A class per line (`name`, `name r g b` or `name,r,g,b`), or JSON: names, or with a color."""
    json = path.suffix.lower() == ".json"
    expected = "a line of `name`, `name r g b` or `name,r,g,b`"
    if json:
        expected = 'a name, or {"name": "road", "color": [128, 64, 128]}'
    names, colors = [], []
    for where, entry, name, numbers in (_of_json if json else _of_lines)(listed(path, KNOWN)):
        named = isinstance(name, str) and name.strip() and isinstance(numbers, list)
        color = [int(n) if str(n).isdecimal() else -1 for n in numbers] if named else []
        if not named or len(color) not in (0, 3) or not all(0 <= n <= 255 for n in color):
            raise DataError(
                f"{path}: {where} is {entry!r}; expected {expected}, numbers from 0 to 255."
            )
        names.append(name.strip())
        colors.append(tuple(color) or None)
    return _checked(names, colors, str(path))


def _of_lines(lines: list[str]) -> Iterator[tuple[str, str, str, list[str]]]:
    """Where an entry is, the entry, its name and the numbers after it."""
    for number, line in enumerate(lines, start=1):
        fields = [field.strip() for field in line.split(",")]
        if not line.strip() or line.startswith("#") or [f.lower() for f in fields] == HEADER:
            continue
        if len(fields) == 1:
            words = line.split()
            numbers = len(list(itertools.takewhile(_is_number, reversed(words))))
            # one number may belong to the name, as in "lane 2"
            fields = [" ".join(words[:-3]), *words[-3:]] if numbers >= 3 else [" ".join(words)]
            if numbers == 2:
                fields = words
        yield f"line {number}", line.strip(), fields[0], fields[1:]


def _is_number(word: str) -> bool:
    return word.lstrip("+-").replace(".", "", 1).isdecimal()


def _of_json(items: list[Any]) -> Iterator[tuple[str, Any, Any, Any]]:
    for number, entry in enumerate(items):
        name, color = entry, []
        if isinstance(entry, dict):
            name, color = entry.get("name"), entry.get("color") or []
        yield f"entry {number}", entry, name, color


def _checked(names: list[str], colors: list[Color | None], origin: str) -> ClassList:
    count = f"{origin} has {len(names)} classes"
    if len(names) < 2:
        raise DataError(f"{count}; expected two or more. Background is a class too: add it.")
    if len(names) > MOST_CLASSES:
        raise DataError(f"{count}; masks of 8 bits tell {MOST_CLASSES} apart.")
    return ClassList(checked_names(names, origin)[0], colors, origin)
