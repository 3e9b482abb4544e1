"""`Data`: images in splits, whose subclasses know what kind of labels they have."""

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import Any, ClassVar, Generic, TypeVar

from mobilevitv2.data.headers import Header
from mobilevitv2.data.split_names import HELD_OUT, Draw, divide
from mobilevitv2.errors import NAMED, DataError
from mobilevitv2.images.finding import LeftOut

Sample = TypeVar("Sample", bound=tuple[Any, Any])  # an image and its label


@dataclass(kw_only=True)
class Remarks(LeftOut):
    """What a person should know about data as a whole."""

    unreadable: dict[str, str] = field(default_factory=dict)
    """Path of a file that can't be read, and the reason."""
    origin: str = ""  # where the names of the classes come from, if it isn't the folders
    notes: list[str] = field(default_factory=list)
    """What else a person should know, a sentence each."""


@dataclass
class Data(Remarks, Generic[Sample]):
    """Labeled images in splits, and what was left out of them."""

    task: ClassVar[str]  # the name of its row in `mobilevitv2.tasks`

    name: str
    classes: list[str]
    train: list[Sample]
    val: list[Sample]
    test: list[Sample] | None = None  # held out: evaluated once, at the end
    root: Path | None = None
    short_side: int = 0  # the median over the training images [px]
    comes_split: bool = True  # the source itself says what is held out of training

    @property
    def splits(self) -> dict[str, list[Sample]]:
        """The splits that there are, by name."""
        named = {"train": self.train, "val": self.val, "test": self.test}
        return {name: samples for name, samples in named.items() if samples is not None}

    def _seen(self, sample: Sample) -> Iterable[int]:
        """The numbers of the classes in a sample, each once."""
        return (sample[1],)

    def counts(self) -> dict[str, list[int]]:
        """For each split, the number of images in which each class is seen."""
        counted = {
            name: Counter(label for sample in samples for label in self._seen(sample))
            for name, samples in self.splits.items()
        }
        return {name: [by[i] for i in range(len(self.classes))] for name, by in counted.items()}

    def amounts(self) -> dict[str, list[int]]:
        """For each split, the pixels, boxes or images of each class."""
        return self.counts()

    def annotations(self) -> dict[str, Any] | None:
        """The arguments of `open_data` that give labels the same meaning again, as JSON."""
        return {"classes": self.classes} if self.origin else None

    def target(self, sample: Sample) -> Any:
        """A sample's label, or what tells it from others, as JSON."""
        return sample[1]

    def caption(self, sample: Sample) -> str | None:
        """A sample's label in words; None if it has to be drawn."""
        return None

    def odd(self) -> Iterable[Any]:
        """The `Finding`s that only this kind of data can have."""
        return ()

    def files(self) -> list[Path]:
        """The images and other files of the data, and the folder or file that was opened."""
        found = [
            path for split in self.splits.values() for sample in split for path in _files(sample)
        ]
        return [self.root, *found] if self.root else found

    @cached_property
    def _folder(self) -> Path | None:
        """The folder of the data: that of the .json or data.yaml, if one was opened."""
        return self.root if self.root is None or self.root.is_dir() else self.root.parent

    def relative(self, path: Any) -> str | None:
        """A path as seen from the data's folder, so that it stays when that is moved.

        None for what isn't a path: the digits are arrays.
        """
        if not isinstance(path, Path) or self._folder is None:
            return str(path) if isinstance(path, Path) else None
        if path.is_relative_to(self._folder):
            return path.relative_to(self._folder).as_posix()
        try:
            return Path(os.path.relpath(path, self._folder)).as_posix()
        except ValueError:  # on another drive
            return str(path)

    def report(self) -> str:
        """A small table of the classes by split, and what was left out, for a person."""
        rows = self._table()
        wide = max(len(row[0]) for row in rows)
        lines = ["  ".join([row[0].ljust(wide), *(c.rjust(7) for c in row[1:])]) for row in rows]
        lines = [*(line.rstrip() for line in lines), *self._remarks()]
        left_out = self._left_out()
        counts = {"stray files": self.strays, "hidden": self.hidden}
        counts |= {what: len(sentences) for what, sentences in left_out.items()}
        if listed := ", ".join(f"{n:,} {what}" for what, n in counts.items() if n):
            lines.append(f"left out: {listed}")
        named = [sentence for sentences in left_out.values() for sentence in sentences]
        lines += [f"  {sentence}" for sentence in named[:NAMED]]
        if len(named) > NAMED:
            lines.append(f"  and {len(named) - NAMED:,} more")
        return "\n".join(lines)

    def _table(self) -> list[list[str]]:
        counts = self.counts()
        return [
            ["class", *counts],
            *(
                [label, *(f"{by_class[i]:,}" for by_class in counts.values())]
                for i, label in enumerate(self.classes)
            ),
            ["all", *(f"{len(samples):,}" for samples in self.splits.values())],
        ]

    def _remarks(self) -> list[str]:
        """Lines below the table."""
        return [*([f"names of the classes: {self.origin}"] if self.origin else []), *self.notes]

    def _left_out(self) -> dict[str, list[str]]:
        """What isn't used, a sentence each, by what a person calls it."""
        return {"unreadable": [f"{path} {why}" for path, why in self.unreadable.items()]}


def usable(splits: dict[str, list[Sample]], bad: Mapping[str, str]) -> dict[str, list[Sample]]:
    """The samples of each split without `bad` files, which are given as path and reason.

    Raises DataError if a split has none.
    """
    for split, samples in splits.items():
        splits[split] = [s for s in samples if bad.keys().isdisjoint(map(str, _files(s)))]
        if not splits[split]:
            tried = [str(path) for sample in samples for path in _files(sample)]
            named = next((path for path in (*tried, *bad) if path in bad), None)
            why = f": {named} {bad[named]}" if named else ""
            what = "the folder" if split == "all" else split
            raise DataError(f"no image of {what} can be used{why}. Export the data again.")
    return splits


def _files(sample: tuple[Any, Any]) -> list[Path]:
    return [part for part in sample if isinstance(part, Path)]


def settled(
    source: Path,
    splits: dict[str, list[Any]],
    headers: dict[Path, Header],
    val_share: float,
    seed: int,
    draw: Draw = divide,
) -> dict[str, Any]:
    """Fields of `Data` that every kind settles alike; `splits` gets a `val`, drawn if need be.

    Raises DataError if nothing is left to validate on.
    """
    comes_split = not HELD_OUT.isdisjoint(splits)
    if "val" not in splits and "train" in splits and "test" in splits:
        splits["val"] = splits.pop("test")  # the only images held out
    if "val" not in splits:
        whole = splits.pop("train" if "train" in splits else "all")
        splits["train"], splits["val"] = draw(source, whole, val_share, seed)
    short_sides = [min(headers[sample[0]].size) for sample in splits["train"]]
    return {
        "name": source.resolve().name,
        "root": source,
        "short_side": round(median(short_sides)),
        "comes_split": comes_split,
        **splits,
    }
