"""`open_detection`: images with boxes, in any of the common formats, to splits of samples."""

from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import ClassVar

import numpy as np

from mobilevitv2.data.boxes.check import CheckedBoxes, check_boxes
from mobilevitv2.data.boxes.classes import category_ids, settle_names
from mobilevitv2.data.boxes.found import FoundBoxes
from mobilevitv2.data.boxes.layouts import find_box_layout, formats_of, read_boxes
from mobilevitv2.data.class_lists import GivenClasses
from mobilevitv2.data.masks.layouts import is_segmentation
from mobilevitv2.data.masks.pairs import NAMED
from mobilevitv2.data.split_names import divide
from mobilevitv2.errors import DataError
from mobilevitv2.scores.truth import BoxedSample, Boxes

__all__ = ["BoxedSample", "Boxes", "DetectionData", "comes_split", "is_detection", "open_detection"]


@dataclass
class DetectionData:
    """Images with boxes in splits, and what was left out of them."""

    task: ClassVar[str] = "detection"
    name: str
    classes: list[str]
    train: list[BoxedSample]
    val: list[BoxedSample]
    test: list[BoxedSample] | None = None
    """Held out: evaluated once, at the end."""
    root: Path | None = None
    format: str = ""
    """Pascal VOC, COCO or YOLO."""
    origin: str = ""
    """Where the names of the classes come from."""
    category_ids: list[int] = field(default_factory=list)
    """COCO's own number of each class; elsewhere they are counted from 1."""
    image_ids: dict[Path, int] = field(default_factory=dict)
    """COCO's own number of each image; elsewhere there are none."""
    short_side: int = 0
    """The median over the training images [px]."""
    strays: int = 0
    hidden: int = 0
    unannotated: list[str] = field(default_factory=list)
    """Images that no annotation speaks of, which are left out."""
    unreadable: dict[str, str] = field(default_factory=dict)
    """Path of a file that is no image or annotation, and the reason."""
    dropped: list[str] = field(default_factory=list)
    """A sentence for each box that is empty, not finite or wholly outside its image."""
    clipped: int = 0
    """Boxes that were cut off at the edge of their image."""
    mended: dict[Path, str] = field(default_factory=dict)
    """Images of which boxes were dropped or cut off, and how many."""
    sizes: dict[Path, tuple[int, int]] = field(default_factory=dict)
    """Width and height of each upright image [px]."""
    notes: list[str] = field(default_factory=list)
    """What else a person should know, a sentence each."""

    @property
    def splits(self) -> dict[str, list[BoxedSample]]:
        """The splits that there are, by name."""
        named = {"train": self.train, "val": self.val, "test": self.test}
        return {name: samples for name, samples in named.items() if samples is not None}

    def counts(self) -> dict[str, list[int]]:
        """For each split, the number of images in which each class is seen."""
        return {
            name: _tally(samples, len(self.classes))[1] for name, samples in self.splits.items()
        }

    def boxes(self) -> dict[str, list[int]]:
        """For each split, the number of boxes of each class; those that are ignored don't count."""
        return {
            name: _tally(samples, len(self.classes))[0] for name, samples in self.splits.items()
        }

    def report(self) -> str:
        """A small table of each class's boxes and images by split, and what was left out."""
        boxes, images = self.boxes(), self.counts()
        rows = [["class", *(title for name in self.splits for title in (name, "images"))]]
        for i, label in enumerate(self.classes):
            rows.append([label])
            rows[-1] += [f"{n:,}" for s in self.splits for n in (boxes[s][i], images[s][i])]
        rows.append(["ignored"])
        for samples in self.splits.values():
            ignored = [int(sample.boxes.ignored.sum()) for sample in samples]
            rows[-1] += [f"{sum(ignored):,}", f"{sum(map(bool, ignored)):,}"]
        rows.append(["without a box"])
        for samples in self.splits.values():
            rows[-1] += ["", f"{sum(not len(sample.boxes.labels) for sample in samples):,}"]
        rows.append(["all"])
        for name, samples in self.splits.items():
            rows[-1] += [f"{sum(boxes[name]):,}", f"{len(samples):,}"]
        wide = max(len(row[0]) for row in rows)
        lines = ["  ".join([row[0].ljust(wide), *(c.rjust(7) for c in row[1:])]) for row in rows]
        lines = [line.rstrip() for line in lines]
        lines.append(f"{self.format}; names of the classes: {self.origin}")
        left_out = {"stray files": self.strays, "hidden": self.hidden}
        left_out |= {"images without annotation": len(self.unannotated)}
        left_out |= {"unreadable": len(self.unreadable), "bad boxes": len(self.dropped)}
        if said := ", ".join(f"{n:,} {what}" for what, n in left_out.items() if n):
            lines.append(f"left out: {said}")
        if self.clipped:
            lines.append(f"cut off at the edge of the image: {self.clipped:,} boxes")
        lines += self.notes
        named = [f"{path} {why}" for path, why in self.unreadable.items()] + self.dropped
        named += [f"{path} has no annotation" for path in self.unannotated]
        lines += [f"  {sentence}" for sentence in named[:NAMED]]
        if len(named) > NAMED:
            lines.append(f"  and {len(named) - NAMED:,} more")
        return "\n".join(lines)


def is_detection(source: str | Path) -> bool:
    """Does the folder, or the file, look like images with boxes? Where it has masks, no."""
    source = Path(source).expanduser()
    try:
        return bool(formats_of(source)) and not is_segmentation(source)
    except OSError:
        return False


def comes_split(source: str | Path) -> bool:
    """Whether the folder itself says what is held out of training."""
    return not {"val", "test"}.isdisjoint(find_box_layout(Path(source).expanduser()).splits)


def open_detection(
    source: str | Path,
    *,
    seed: int = 0,
    val_share: float = 0.2,
    classes: GivenClasses | None = None,
) -> DetectionData:
    """Images and their boxes in the form of Pascal VOC, COCO or YOLO.

    `source` is a folder, or COCO's .json or YOLO's data.yaml in it. Where nothing is split yet,
    `val_share` of the images is drawn for validation by `seed`. `classes` is a list of names, a
    file with a name a line or a published set's name, and gives the classes their order; unset,
    they are what the annotations name. Of an image that is turned by EXIF the upright one counts,
    and boxes that were drawn on the stored one are turned with it.

    Boxes are cut off at the edges of their images, and what can't be used is left out and counted:
    images that can't be read or are not of the size that the annotation says, boxes that are empty,
    not finite or wholly outside. An image without boxes stays. Raises DataError where no data set
    can be made of it.
    """
    if not 0 < val_share < 1:
        raise DataError(f"val_share is {val_share}; a share between 0 and 1 is wanted.")
    source = Path(source).expanduser()
    found = read_boxes(find_box_layout(source), classes)
    names, origin, table = settle_names(classes, found)
    checked = check_boxes(found, table, names)
    _check_some(source, found, checked)
    splits = checked.splits
    if "val" not in splits and "train" in splits and "test" in splits:
        splits["val"] = splits.pop("test")  # where it is all there is
    if "val" not in splits:
        whole = splits.pop("train" if "train" in splits else "all")
        splits["train"], splits["val"] = divide(source, whole, val_share, seed)
    return DetectionData(
        name=source.resolve().name,
        classes=names,
        train=splits["train"],
        val=splits["val"],
        test=splits.get("test"),
        root=source,
        format=found.format,
        origin=origin,
        category_ids=category_ids(found, table, len(names)),
        image_ids=found.image_ids,
        short_side=round(median(min(checked.sizes[image]) for image, _ in splits["train"])),
        strays=found.strays,
        hidden=found.hidden,
        unannotated=found.unannotated,
        unreadable=found.unreadable | checked.unreadable,
        dropped=checked.dropped,
        clipped=checked.clipped,
        mended=checked.mended,
        sizes=checked.sizes,
        notes=found.notes,
    )


def _check_some(source: Path, found: FoundBoxes, checked: CheckedBoxes) -> None:
    """Raises DataError where there is nothing to train on, or a split has no image to use."""
    if "train" not in checked.splits and "all" not in checked.splits:
        itself = ", or give the .json itself to evaluate on it" if found.format == "COCO" else ""
        said = " and ".join(checked.splits)
        raise DataError(f"{source} has {said}, but no train. Add it{itself}.")
    bad = {**found.unreadable, **checked.unreadable}
    bad.update((path, "has no annotation") for path in found.unannotated)
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


def _tally(samples: list[BoxedSample], classes: int) -> tuple[list[int], list[int]]:
    """The boxes of each class, and the images in which it is seen."""
    boxes, images = np.zeros(classes, np.int64), np.zeros(classes, np.int64)
    for sample in samples:
        counted = np.bincount(sample.boxes.labels[~sample.boxes.ignored], minlength=classes)
        boxes += counted
        images += counted > 0
    return boxes.tolist(), images.tolist()
