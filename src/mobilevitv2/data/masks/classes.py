"""Which classes the values of the masks are: as listed, as published, or as they are found."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mobilevitv2.class_names import Color, palette
from mobilevitv2.data.class_lists import GivenClasses
from mobilevitv2.data.masks.colored_lists import (
    KNOWN,
    ClassList,
    class_file_in,
    given_classes,
    read_class_list,
)
from mobilevitv2.data.masks.reading import IGNORED, MOST_CLASSES, MaskLook, class_table
from mobilevitv2.data.paired import PairLayout
from mobilevitv2.errors import DataError, first_of

FROM_VALUES = "what the masks hold"  # the origin of names that are mere numbers
LEAST_SHARE = 0.25  # of the numbers up to the largest, which masks of class numbers hold


@dataclass(frozen=True)
class MaskClasses:
    """Names and colors in the order of the class numbers, and what values become."""

    names: list[str]
    colors: list[Color]
    ignored: tuple[int, ...]
    table: np.ndarray  # uint8 [256]: the class of each value, or IGNORED
    origin: str  # what a message calls the list


def settle_classes(
    classes: GivenClasses | None,
    source: Path,
    layout: PairLayout,
    masks: dict[Path, MaskLook],
    *,
    ignored: tuple[int, ...],
    reduce_labels: bool,
) -> MaskClasses:
    """The classes that are given, listed in the folder, known, or found; in this order."""
    table = class_table(ignored, reduce_labels=reduce_labels)
    counts = sum((look.counts for look in masks.values()), np.zeros(256, dtype=np.int64))
    present = sorted({*table[counts > 0].tolist()} - {IGNORED})
    if classes is not None:
        listed = given_classes(classes)
    elif file := class_file_in([source, layout.root]):
        listed = read_class_list(file)
    else:
        folder, largest = layout.root.resolve().name, present[-1] if present else 0
        fitting = (
            name
            for name, known in KNOWN.items()
            if known.fits(layout.kind, folder, largest, reduce_labels=reduce_labels)
        )
        known = next(fitting, None)
        listed = given_classes(known) if known else _found(source, masks, present, ignored)
    if listed.void is not None:
        ignored = tuple(sorted({*ignored, listed.void}))
        table = class_table(ignored, reduce_labels=reduce_labels)
    own = _own_palette(masks, table, len(listed.names))
    free = (color for color in palette(256) if color not in listed.colors)
    colors = [
        color if color is not None else own[i] if own else next(free)
        for i, color in enumerate(listed.colors)
    ]
    return MaskClasses(listed.names, colors, ignored, table, listed.origin)


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
