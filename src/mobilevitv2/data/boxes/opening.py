"""`open_detection`: images with boxes, in any of the common formats, to splits of samples."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from mobilevitv2.data.boxes.check import CheckedBoxes, check_boxes
from mobilevitv2.data.boxes.classes import category_ids, settle_names
from mobilevitv2.data.boxes.found import FoundBoxes
from mobilevitv2.data.boxes.layouts import formats_of, read_boxes
from mobilevitv2.data.boxes.odd import odd_boxes
from mobilevitv2.data.class_lists import GivenClasses
from mobilevitv2.data.data_set import Data, settled
from mobilevitv2.data.findings import Finding
from mobilevitv2.data.masks.layouts import is_segmentation
from mobilevitv2.data.split_names import check_share
from mobilevitv2.errors import DataError
from mobilevitv2.scores.truth import BoxedSample, Boxes

__all__ = ["BoxedSample", "Boxes", "DetectionData", "is_detection", "open_detection"]


@dataclass
class DetectionData(Data[BoxedSample]):
    """Images with boxes."""

    task = "detection"

    format: str = ""
    """Pascal VOC, COCO or YOLO."""
    origin: str = ""
    """Where the names of the classes come from."""
    category_ids: list[int] = field(default_factory=list)
    """COCO's own number of each class; elsewhere they are counted from 1."""
    image_ids: dict[Path, int] = field(default_factory=dict)
    """COCO's own number of each image; elsewhere there are none."""
    unannotated: list[str] = field(default_factory=list)
    """Images without an annotation, which are left out."""
    dropped: list[str] = field(default_factory=list)
    """A sentence for each box that is empty, not finite or wholly outside its image."""
    clipped: int = 0
    """Boxes that were cut off at the edge of their image."""
    mended: dict[Path, str] = field(default_factory=dict)
    """Images with boxes that were dropped or cut off, and how many."""
    sizes: dict[Path, tuple[int, int]] = field(default_factory=dict)
    """Width and height of each upright image [px]."""
    notes: list[str] = field(default_factory=list)
    """What else a person should know, a sentence each."""

    def _seen(self, sample: BoxedSample) -> Iterable[int]:
        return np.unique(sample.boxes.labels[~sample.boxes.ignored]).tolist()

    def amounts(self) -> dict[str, list[int]]:
        return self.boxes()

    def boxes(self) -> dict[str, list[int]]:
        """For each split, the number of boxes of each class; those that are ignored don't count."""
        count, none = len(self.classes), np.zeros(0, np.int64)
        labels = {
            name: np.concatenate([none, *(s.boxes.labels[~s.boxes.ignored] for s in samples)])
            for name, samples in self.splits.items()
        }
        return {n: np.bincount(found, minlength=count).tolist() for n, found in labels.items()}

    def annotations(self) -> dict[str, Any]:
        return {"classes": self.classes}

    def target(self, sample: BoxedSample) -> str:
        return sha256(b"".join(part.tobytes() for part in sample.boxes)).hexdigest()[:16]

    def odd(self) -> Iterable[Finding]:
        return odd_boxes(self)

    def _table(self) -> list[list[str]]:
        rows = [["class", *(title for name in self.splits for title in (name, "images"))]]
        rows += [[label] for label in [*self.classes, "ignored", "without a box", "all"]]
        boxes, images = self.boxes(), self.counts()
        for split, samples in self.splits.items():
            ignored = [int(sample.boxes.ignored.sum()) for sample in samples]
            empty = sum(not len(sample.boxes.labels) for sample in samples)
            boxed = [*boxes[split], sum(ignored), None, sum(boxes[split])]
            shown = [*images[split], sum(map(bool, ignored)), empty, len(samples)]
            for row, *numbers in zip(rows[1:], boxed, shown, strict=True):
                row += ["" if number is None else f"{number:,}" for number in numbers]
        return rows

    def _remarks(self) -> list[str]:
        clipped = [f"cut off at the edge of the image: {self.clipped:,} boxes"]
        named = f"{self.format}; names of the classes: {self.origin}"
        return [named, *(clipped if self.clipped else []), *self.notes]

    def _left_out(self) -> dict[str, list[str]]:
        without = [f"{path} has no annotation" for path in self.unannotated]
        bad = {"bad boxes": self.dropped, "images without annotation": without}
        return super()._left_out() | bad


def is_detection(source: str | Path) -> bool:
    """Does the folder, or the file, look like images with boxes, and not with masks?"""
    source = Path(source).expanduser()
    try:
        return bool(formats_of(source)) and not is_segmentation(source)
    except OSError:
        return False


def open_detection(
    source: str | Path,
    *,
    seed: int = 0,
    val_share: float = 0.2,
    classes: GivenClasses | None = None,
) -> DetectionData:
    """Images and their boxes in the format of Pascal VOC, COCO or YOLO.

    `source` is a folder, or COCO's .json or YOLO's data.yaml in it. If nothing is split yet,
    `val_share` of the images is drawn for validation by `seed`. `classes` is a list of names, a
    file with a name per line or a published set's name, and orders the classes; unset, they are
    what the annotations name. An image with an EXIF rotation is turned upright, and boxes that were
    drawn on the stored one are turned with it.

    Boxes are cut off at the edges of their images, and what can't be used is left out and counted:
    images that can't be read or aren't of the size that the annotation says, boxes that are empty,
    not finite or wholly outside. An image without boxes stays. Raises DataError where this makes no
    data set.
    """
    check_share(val_share)
    source = Path(source).expanduser()
    found = read_boxes(source, classes)
    names, origin, table = settle_names(classes, found)
    checked = check_boxes(found, table, names)
    _check_some(source, found, checked)
    return DetectionData(
        classes=names,
        format=found.format,
        origin=origin,
        category_ids=category_ids(found, table, len(names)),
        image_ids=found.image_ids,
        strays=found.strays,
        hidden=found.hidden,
        unannotated=found.unannotated,
        unreadable=checked.unreadable,
        dropped=checked.dropped,
        clipped=checked.clipped,
        mended=checked.mended,
        sizes={path: header.size for path, header in checked.headers.items()},
        notes=found.notes,
        **settled(source, checked.splits, checked.headers, val_share, seed),
    )


def _check_some(source: Path, found: FoundBoxes, checked: CheckedBoxes) -> None:
    """Raises DataError where there is nothing to train on, or a split has no image to use."""
    if "train" not in checked.splits and "all" not in checked.splits:
        itself = ", or give the .json itself to evaluate on it" if found.format == "COCO" else ""
        there = " and ".join(checked.splits)
        raise DataError(f"{source} has {there}, but no train. Add it{itself}.")
    bad = checked.unreadable | dict.fromkeys(found.unannotated, "has no annotation")
    why = "".join(f": {path} {reason}" for path, reason in list(bad.items())[:1])
    for split, samples in checked.splits.items():
        if not samples:
            what = "of the folder" if split == "all" else f"of {split}"
            raise DataError(f"no image {what} can be used{why}. Export the data again.")
    part = "all" if "all" in checked.splits else "train"
    if all(sample.boxes.ignored.all() for sample in checked.splits[part]):
        what = f": {checked.dropped[0]}" if checked.dropped else why
        raise DataError(
            f"{source} has no box to train on in {len(checked.splits[part]):,} images{what}. Draw "
            "some, or correct the annotations."
        )
