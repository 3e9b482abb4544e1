"""The classes of boxes: those that the annotations name, or a list that says which there are."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

from mobilevitv2.data.boxes.found import FoundBoxes
from mobilevitv2.data.class_lists import GivenClasses, given_names
from mobilevitv2.errors import DataError


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
    check_labels(
        found,
        lambda label: table[label] >= 0,
        lambda label: f"{found.names[label]!r}, which {origin} does not have",
        "Add it to the list, or correct the annotations.",
    )
    return names, origin, table


def check_labels(
    found: FoundBoxes, known: Callable[[int], bool], describe: Callable[[int], str], todo: str
) -> None:
    """Raises DataError where a label of a box isn't `known`, which it describes."""
    wrong: Counter[int] = Counter()
    first: dict[int, Path] = {}
    for images in found.splits.values():
        for one in images:
            for label in filter(lambda label: not known(label), one.labels.tolist()):
                wrong[label] += 1
                first.setdefault(label, one.source)
    if wrong:
        label, path = next(iter(first.items()))
        others = f" (and of {len(wrong) - 1:,} other classes)" if len(wrong) > 1 else ""
        raise DataError(
            f"{path} has a box of class {describe(label)}; there are {wrong[label]:,} of "
            f"them{others}. {todo}"
        )


def category_ids(found: FoundBoxes, table: np.ndarray, count: int) -> list[int]:
    """COCO's own number of each of `count` classes; a class that it doesn't have gets a new one."""
    if not found.category_ids:
        return list(range(1, count + 1))
    own = {int(table[i]): number for i, number in enumerate(found.category_ids)}
    free = max(found.category_ids) + 1
    return [own.get(label, free + label) for label in range(count)]
