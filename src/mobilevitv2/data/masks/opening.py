"""`open_segmentation`: a folder of images and masks to splits of pairs whose classes are known."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import ClassVar

import numpy as np

from mobilevitv2.class_names import Color
from mobilevitv2.data.class_lists import GivenClasses
from mobilevitv2.data.masks.check import PairCheck, check_values, look_at_pairs
from mobilevitv2.data.masks.classes import MaskClasses, settle_classes
from mobilevitv2.data.masks.layouts import find_layout, is_segmentation
from mobilevitv2.data.masks.pairs import NAMED, MaskedSample, find_pairs
from mobilevitv2.data.masks.reading import IGNORED, MaskLook, class_table, read_classes
from mobilevitv2.data.split_names import divide
from mobilevitv2.errors import DataError

__all__ = ["IGNORED", "MaskedSample", "SegmentationData", "is_segmentation", "open_segmentation"]


@dataclass
class SegmentationData:
    """Images with masks in splits, what their pixels are, and what was left out of them."""

    task: ClassVar[str] = "segmentation"
    name: str
    classes: list[str]
    colors: list[Color]
    """RGB of each class, for drawing."""
    train: list[MaskedSample]
    val: list[MaskedSample]
    test: list[MaskedSample] | None = None
    """Held out: evaluated once, at the end."""
    root: Path | None = None
    short_side: int = 0
    """The median over the training images [px]."""
    origin: str = ""
    """Where the names of the classes come from."""
    ignored: tuple[int, ...] = (IGNORED,)
    """Values in the mask files that are not to count."""
    reduce_labels: bool = False
    """Is a class its value in the files less one?"""
    pixels: dict[str, list[int]] = field(default_factory=dict)
    """For each split, the pixels of each class."""
    void: dict[str, int] = field(default_factory=dict)
    """For each split, the pixels that don't count."""
    images: dict[str, list[int]] = field(default_factory=dict)
    """For each split, the images in which each class is seen."""
    strays: int = 0
    hidden: int = 0
    unlabeled: list[str] = field(default_factory=list)
    """Masks without a pixel that counts."""
    unreadable: dict[str, str] = field(default_factory=dict)
    """Path of a file that is no image or mask, and the reason."""

    @property
    def splits(self) -> dict[str, list[MaskedSample]]:
        """The splits that there are, by name."""
        named = {"train": self.train, "val": self.val, "test": self.test}
        return {name: samples for name, samples in named.items() if samples is not None}

    def counts(self) -> dict[str, list[int]]:
        """For each split, the number of images in which each class is seen."""
        return self.images

    def read_mask(self, path: Path) -> np.ndarray:
        """uint8 [H, W]: class numbers, and IGNORED where a pixel is not to count.

        Raises ImageError for a file that can't be read, DataError for other values than at opening.
        """
        table = class_table(self.ignored, reduce_labels=self.reduce_labels)
        return read_classes(path, table, len(self.classes))

    def report(self) -> str:
        """A small table of each class's pixels and images by split, and what was left out."""
        rows = [["class", *(title for name in self.splits for title in (name, "images"))]]
        rows += [
            [label, *(cell for name in self.splits for cell in self._cells(name, i))]
            for i, label in enumerate(self.classes)
        ]
        shares = {n: _percent(self.void[n], self.void[n] + sum(self.pixels[n])) for n in self.void}
        rows.append(["void", *(cell for name in self.splits for cell in (shares[name], ""))])
        rows.append(["all", *(c for s in self.splits.values() for c in ("", f"{len(s):,}"))])
        wide = max(len(row[0]) for row in rows)
        lines = ["  ".join([row[0].ljust(wide), *(c.rjust(7) for c in row[1:])]) for row in rows]
        lines = [line.rstrip() for line in lines]
        lines.append(f"names of the classes: {self.origin}")
        left_out = {"stray files": self.strays, "hidden": self.hidden}
        left_out |= {"without a label": len(self.unlabeled), "unreadable": len(self.unreadable)}
        if said := ", ".join(f"{n:,} {what}" for what, n in left_out.items() if n):
            lines.append(f"left out: {said}")
        named = [f"{path} is void throughout" for path in self.unlabeled]
        named += [f"{path} {why}" for path, why in self.unreadable.items()]
        lines += [f"  {sentence}" for sentence in named[:NAMED]]
        if len(named) > NAMED:
            lines.append(f"  and {len(named) - NAMED:,} more")
        return "\n".join(lines)

    def _cells(self, split: str, label: int) -> tuple[str, str]:
        pixels = self.pixels[split]
        return _percent(pixels[label], sum(pixels)), f"{self.images[split][label]:,}"


def open_segmentation(
    source: str | Path,
    *,
    seed: int = 0,
    val_share: float = 0.2,
    classes: GivenClasses | None = None,
    ignore: int | Sequence[int] | None = None,
    reduce_labels: bool = False,
) -> SegmentationData:
    """The images and masks of a folder: image and mask folders, Pascal VOC's, or CamVid's layout.

    Where nothing is split yet, `val_share` of the pairs is drawn for validation by `seed`.
    `classes` is a list of names (or names with their RGB), a file of them (see `class_lists`) or a
    published set's name; unset, a classes.txt or classes.json in the folder counts, then a
    published set whose name the folder bears, then the values that the masks hold. The value 255 is
    never counted, nor those of `ignore`; `reduce_labels` leaves out 0 and takes one off the others,
    as ADE20K needs it.

    Every mask is read once. Pairs of which a file can't be read or the mask is void throughout are
    left out and counted. Raises DataError where no data set can be made of it.
    """
    if not 0 < val_share < 1:
        raise DataError(f"val_share is {val_share}; a share between 0 and 1 is wanted.")
    ignored = _ignored(ignore)
    source = Path(source).expanduser()
    layout = find_layout(source)
    found = find_pairs(layout)
    check = look_at_pairs(pair for split in found.splits.values() for pair in split)
    chosen = settle_classes(
        classes, source, layout, check.masks, ignored=ignored, reduce_labels=reduce_labels
    )
    check_values(check.masks, chosen.table, len(chosen.names), chosen.origin)
    unlabeled = [p for p, look in check.masks.items() if not _pixels(look, chosen).any()]
    splits = {
        name: _usable(name, pairs, check, set(unlabeled)) for name, pairs in found.splits.items()
    }
    if "val" not in splits:
        whole = splits.pop("train" if "train" in splits else "all")
        splits["train"], splits["val"] = divide(source, whole, val_share, seed)
    return SegmentationData(
        name=source.resolve().name,
        classes=chosen.names,
        colors=chosen.colors,
        train=splits["train"],
        val=splits["val"],
        test=splits.get("test"),
        root=source,
        short_side=round(median(min(check.sizes[image]) for image, _ in splits["train"])),
        origin=chosen.origin,
        ignored=chosen.ignored,
        reduce_labels=reduce_labels,
        strays=found.strays,
        hidden=found.hidden,
        unlabeled=[str(path) for path in unlabeled],
        unreadable=check.unreadable,
        **_tally(splits, check, chosen),
    )


def _ignored(ignore: int | Sequence[int] | None) -> tuple[int, ...]:
    values = [] if ignore is None else [ignore] if isinstance(ignore, int) else list(ignore)
    if wrong := [v for v in values if not isinstance(v, int) or not 0 <= v <= 255]:
        raise DataError(f"ignore has {wrong[0]!r}; values of masks, 0 to 255, are wanted.")
    return tuple(sorted({*values, IGNORED}))


def _usable(
    split: str, pairs: list[MaskedSample], check: PairCheck, unlabeled: set[Path]
) -> list[MaskedSample]:
    """The pairs that can be read and have labels. Raises DataError where that is none."""
    usable = [
        (image, mask)
        for image, mask in pairs
        if image in check.sizes and mask in check.masks and mask not in unlabeled
    ]
    if not usable:
        image, mask = pairs[0]
        why = "is void throughout: every pixel has a value that is ignored"
        bad = next((path for path in (image, mask) if str(path) in check.unreadable), mask)
        raise DataError(
            f"no pair of {'the folder' if split == 'all' else split} can be used: {bad} "
            f"{check.unreadable.get(str(bad), why)}. Export the images and masks again."
        )
    return usable


def _tally(
    splits: dict[str, list[MaskedSample]], check: PairCheck, chosen: MaskClasses
) -> dict[str, dict]:
    """`pixels`, `void` and `images` of the data, split by split."""
    tally: dict[str, dict] = {"pixels": {}, "void": {}, "images": {}}
    for name, pairs in splits.items():
        counted = np.stack([_pixels(check.masks[mask], chosen) for _, mask in pairs])
        area = sum(width * height for width, height in (check.sizes[image] for image, _ in pairs))
        tally["pixels"][name] = counted.sum(0).tolist()
        tally["void"][name] = area - int(counted.sum())
        tally["images"][name] = (counted > 0).sum(0).tolist()
    return tally


def _pixels(look: MaskLook, chosen: MaskClasses) -> np.ndarray:
    """int64 [classes]: the pixels of each class in a mask."""
    counted = np.zeros(256, dtype=np.int64)
    np.add.at(counted, chosen.table, look.counts)
    return counted[: len(chosen.names)]


def _percent(part: int, whole: int) -> str:
    return f"{part / whole:.2%}" if whole else "0.00%"
