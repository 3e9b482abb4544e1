"""`open_classification`: a folder of class folders, or the digits, to splits of labeled images."""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, ClassVar

import numpy as np

from mobilevitv2.data.classes.digits import CLASSES, load_digits
from mobilevitv2.data.classes.folders import LAYOUT, ClassFolders, find_classes, find_splits
from mobilevitv2.data.headers import read_headers
from mobilevitv2.errors import DataError

DIGITS = "digits"
DIGITS_TEST_SHARE = 0.2
NAMED = 5  # unreadable files that a report names; all are in `unreadable`

Sample = tuple[Path | np.ndarray, int]  # an image that `load_image` takes, and its class index


@dataclass
class ClassificationData:
    """Labeled images in splits, and what was left out of them."""

    task: ClassVar[str] = "classification"
    name: str
    classes: list[str]
    train: list[Sample]
    val: list[Sample]
    test: list[Sample] | None = None
    """Held out: evaluated once, at the end."""
    root: Path | None = None
    short_side: int = 0
    """The median over the training images [px]."""
    strays: int = 0
    hidden: int = 0
    unreadable: dict[str, str] = field(default_factory=dict)
    """Path of a file that is no image, and the reason."""

    @property
    def splits(self) -> dict[str, list[Sample]]:
        """The splits that there are, by name."""
        named = {"train": self.train, "val": self.val, "test": self.test}
        return {name: samples for name, samples in named.items() if samples is not None}

    def counts(self) -> dict[str, list[int]]:
        """For each split, the number of images of each class."""
        counted = {n: Counter(label for _, label in split) for n, split in self.splits.items()}
        return {n: [by[i] for i in range(len(self.classes))] for n, by in counted.items()}

    def report(self) -> str:
        """A small table of images by class and split, and what was left out, for a person."""
        counts = self.counts()
        rows = [["class", *counts]]
        rows += [
            [name, *(f"{by_class[i]:,}" for by_class in counts.values())]
            for i, name in enumerate(self.classes)
        ]
        rows.append(["all", *(f"{sum(by_class):,}" for by_class in counts.values())])
        wide = max(len(row[0]) for row in rows)
        lines = ["  ".join([row[0].ljust(wide), *(c.rjust(7) for c in row[1:])]) for row in rows]
        left_out = {"stray files": self.strays, "hidden": self.hidden}
        left_out["unreadable"] = len(self.unreadable)
        if said := ", ".join(f"{n:,} {what}" for what, n in left_out.items() if n):
            lines.append(f"left out: {said}")
        lines += [f"  {path} {why}" for path, why in list(self.unreadable.items())[:NAMED]]
        if len(self.unreadable) > NAMED:
            lines.append(f"  and {len(self.unreadable) - NAMED:,} more")
        return "\n".join(lines)


def open_classification(
    source: str | Path,
    *,
    seed: int = 0,
    val_share: float = 0.2,
    val: str | Path | None = None,
) -> ClassificationData:
    """The labeled images of a folder, or of the word `digits`.

    The folder has `train` and one of `val`, `valid`, `validation` (or `test`, which stands in for
    them where it is alone), each with a folder of images for each class; or it has the class
    folders themselves, and `val_share` of each class is drawn for validation by `seed`. `val` names
    a folder of class folders elsewhere. Files that are no images are left out and counted, and so
    are images whose header can't be read. Raises DataError where no data set can be made of it.
    """
    if not 0 < val_share < 1:
        raise DataError(f"val_share is {val_share}; a share between 0 and 1 is wanted.")
    if source == DIGITS and not Path(DIGITS).is_dir():
        return _open_digits(seed, val_share)
    source = Path(source).expanduser()
    folders = find_splits(source)
    if val is not None:
        validation = Path(val).expanduser()
        folders["val"] = find_splits(validation).get("all", validation)
        folders.setdefault("train", folders.pop("all", source))
    found = {name: find_classes(folder) for name, folder in folders.items()}
    classes = _classes_of(found, source)
    unreadable, sizes = _look_at(found)
    splits: dict[str, list[Sample]] = {
        name: [
            (path, label)
            for label, of_class in enumerate(classes)
            for path in split.images[of_class]
        ]
        for name, split in found.items()
    }
    if "train" not in splits:
        splits["train"], splits["val"] = split_by_class(splits.pop("all"), val_share, seed)
    elif "val" not in splits:
        splits["train"], splits["val"] = split_by_class(splits["train"], val_share, seed)
    if not splits["val"]:
        raise DataError(f"{source} has one image a class, so none is left to validate. Add more.")
    return ClassificationData(
        name=source.resolve().name,
        classes=classes,
        root=source,
        short_side=round(median(min(sizes[path]) for path, _ in splits["train"])),
        strays=sum(split.strays for split in found.values()),
        hidden=sum(split.hidden for split in found.values()),
        unreadable=unreadable,
        **splits,
    )


def split_by_class(
    samples: Sequence[Sample], share: float, seed: int
) -> tuple[list[Sample], list[Sample]]:
    """The samples in two: of each class, `share` go into the second part, drawn by `seed`.

    At least one of each class goes there, but never the last one of a class.
    """
    by_class: dict[int, list[Sample]] = {}
    for sample in samples:
        by_class.setdefault(sample[1], []).append(sample)
    first, second = [], []
    for label, members in by_class.items():
        order = list(range(len(members)))
        random.Random(f"{seed}/{label}").shuffle(order)
        count = min(max(round(len(members) * share), 1), len(members) - 1)
        drawn = set(order[:count])
        for i, member in enumerate(members):
            (second if i in drawn else first).append(member)
    return first, second


def _open_digits(seed: int, val_share: float) -> ClassificationData:
    images, labels = load_digits()
    samples: list[Sample] = list(zip(images, labels.tolist(), strict=True))
    rest, test = split_by_class(samples, DIGITS_TEST_SHARE, seed)
    train, val = split_by_class(rest, val_share / (1 - DIGITS_TEST_SHARE), seed)
    return ClassificationData(DIGITS, CLASSES, train, val, test, short_side=min(images.shape[1:]))


def _classes_of(found: dict[str, ClassFolders], source: Path) -> list[str]:
    (first_name, first), *others = found.items()
    classes = sorted(first.images)
    for name, other in others:
        if difference := sorted(set(classes) ^ set(other.images)):
            only = {True: first_name, False: name}
            said = ", ".join(f"{c!r} only in {only[c in first.images]}" for c in difference[:NAMED])
            raise DataError(
                f"{first.folder} and {other.folder} have different classes: {said}. "
                "Give both the same class folders."
            )
    if len(classes) == 1:
        below = sorted(p.name for p in (first.folder / classes[0]).iterdir() if p.is_dir())
        hint = f" Was {first.folder / classes[0]} meant?" if below else ""
        raise DataError(
            f"{source} has one class only, {classes[0]!r}; two are needed to tell apart.{hint} "
            f"Wanted is {LAYOUT}."
        )
    return classes


def _look_at(found: dict[str, ClassFolders]) -> tuple[dict[str, str], dict[Any, tuple[int, int]]]:
    """Take unreadable files out of `found`; these with the reasons, and the sizes of the others."""
    unreadable: dict[str, str] = {}
    sizes: dict[Any, tuple[int, int]] = {}
    for split in found.values():
        paths = [path for images in split.images.values() for path in images]
        for path, header in zip(paths, read_headers(paths), strict=True):
            if isinstance(header, str):
                unreadable[str(path)] = header
            else:
                sizes[path] = header
        for name, images in split.images.items():
            readable = [path for path in images if path in sizes]
            if not readable:
                raise DataError(
                    f"the class {name!r} has no readable image: {images[0]} "
                    f"{unreadable[str(images[0])]}. Export the images again."
                )
            split.images[name] = readable
    return unreadable, sizes
