"""Splits told by the names of folders, files and lists, or drawn."""

import os
import random
import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from mobilevitv2.errors import DataError

Place = TypeVar("Place")
Sample = TypeVar("Sample")
# (source, samples, share, seed) to the samples in two
Draw = Callable[[Path, list[Any], float, int], tuple[list[Any], list[Any]]]

SPLIT_NAMES = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
HELD_OUT = frozenset({"val", "test"})


@dataclass(frozen=True)
class Layout(Generic[Place]):
    """What was recognized: where `train`, `val` and `test` are, or `all` if nothing is split."""

    root: Path
    splits: dict[str, Place]
    kind: str = ""


def folders_in(folder: Path) -> dict[str, Path]:
    """The folders in a folder, by their lower-case names."""
    with os.scandir(folder) as entries:  # a flat folder may have very many files
        names = sorted(entry.name for entry in entries if entry.is_dir())
    return {name.lower(): folder / name for name in names}


def by_split(named: dict[str, Path]) -> dict[str, Path]:
    """The folders or lists, by lower-case name, that are splits: train, val, test."""
    found: dict[str, Path] = {}
    for name, path in named.items():
        split = next((split for split, names in SPLIT_NAMES.items() if name in names), None)
        if split in found:
            raise DataError(f"there are {found[split]} and {path}; which is {split}? Rename one.")
        if split:
            found[split] = path
    return {split: found[split] for split in SPLIT_NAMES if split in found}


def splits_among(named: dict[str, Path]) -> dict[str, Path]:
    """As `by_split`, but {} if two claim to be the same split: this may be other data."""
    try:
        return by_split(named)
    except DataError:
        return {}


def splits_in(folder: Path) -> dict[str, Path]:
    """The folders of splits in a folder, as far as they can be told."""
    return splits_among(folders_in(folder))


def split_of(name: str) -> str:
    """The split in the name of a file or folder (instances_train2017), or an empty string."""
    for word in re.findall("[a-z]+", name.lower()):
        for split, names in SPLIT_NAMES.items():
            if word in names:
                return split
    return ""


def one_per_split(found: Iterable[tuple[str, Path]], hint: str) -> dict[str, Path]:
    """The file of each split, or of `all`. Raises DataError if two could be the same one."""
    splits: dict[str, Path] = {}
    for split, path in found:
        if split in splits:
            what = "the whole" if split == "all" else split
            raise DataError(
                f"{splits[split]} and {path} could both be {what}. Name them by their split "
                f"({hint}), give one of them, or move one away."
            )
        splits[split] = path
    return splits


def check_train(source: Path, splits: Collection[str], add: str = "") -> None:
    """Raises DataError if none of the splits is for training; `add` ends the sentence "Add it"."""
    if "train" not in splits and "all" not in splits:
        raise DataError(f"{source} has {' and '.join(splits)}, but no train. Add it{add}.")


def nothing_found(source: Path, what: str, layout: str) -> DataError:
    """Why there is nothing to open at a place."""
    held = f"holds no {what}"
    if not source.is_dir():
        held = "isn't a folder" if source.exists() else "doesn't exist"
    elif not any(source.iterdir()):
        held = "is empty"
    return DataError(f"{source} {held}. Expected {layout}.")


def names_in(path: Path) -> tuple[str, ...]:
    """The lines of a list of images, each once. Raises DataError if there are none."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path} can't be read ({error}). Save it as text, a name per line."
        ) from error
    names = tuple(dict.fromkeys(line.strip() for line in lines if line.strip()))
    if not names:
        raise DataError(f"{path} names no images. Write a name per line, or remove the file.")
    return names


def check_share(val_share: float) -> None:
    """Raises DataError for a share that leaves nothing to train or to validate on."""
    if not 0 < val_share < 1:
        raise DataError(f"val_share is {val_share}; expected a share between 0 and 1.")


def divide(
    source: Path, samples: list[Sample], share: float, seed: int
) -> tuple[list[Sample], list[Sample]]:
    """The samples in two, in their order: `share` go into the second part, drawn by `seed`."""
    if len(samples) < 2:
        raise DataError(f"{source} has one usable image, so none is left to validate. Add more.")
    return drawn(samples, share, str(seed))


def drawn(samples: list[Sample], share: float, seed: str) -> tuple[list[Sample], list[Sample]]:
    """The samples in two, in their order: at least one in the second part, but never the last."""
    order = list(range(len(samples)))
    random.Random(seed).shuffle(order)
    second = set(order[: min(max(round(len(samples) * share), 1), len(samples) - 1)])
    rest = [sample for i, sample in enumerate(samples) if i not in second]
    return rest, [samples[i] for i in sorted(second)]
