"""Images with boxes, in any format: opened by `open_detection`, decoded by `BoxedImages`."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from mobilevitv2.data.boxes import voc
from mobilevitv2.data.boxes.coco import JSON, find_coco, looks_like_coco, read_coco
from mobilevitv2.data.boxes.found import BoxRemarks, FoundBoxes
from mobilevitv2.data.boxes.yolo import read_yolo
from mobilevitv2.data.boxes.yolo_layout import YAML, find_yolo, looks_like_yolo
from mobilevitv2.data.class_lists import GivenClasses
from mobilevitv2.data.data_set import Data, settled, usable
from mobilevitv2.data.decoded import DecodedSamples, reduce_to
from mobilevitv2.data.findings import Finding
from mobilevitv2.data.masks.opening import is_segmentation
from mobilevitv2.data.split_names import check_share, check_train, nothing_found
from mobilevitv2.errors import DataError
from mobilevitv2.images.reading import load_image
from mobilevitv2.scores.truth import BoxedSample, Boxes

NETWORK = 320  # px, the sides of the square that a detector sees
TINY = 8  # px on it; half the step of the finest map on which boxes are found
LONG = 10  # times as long as wide


@dataclass
class DetectionData(Data[BoxedSample], BoxRemarks):
    """Images with boxes."""

    task = "detection"

    sizes: dict[Path, tuple[int, int]] = field(default_factory=dict)
    """Width and height of each upright image [px]."""

    def _seen(self, sample: BoxedSample) -> Iterable[int]:
        return np.unique(sample.boxes.labels[~sample.boxes.ignored]).tolist()

    def boxes(self) -> dict[str, list[int]]:
        """For each split, the number of boxes of each class; those that are ignored don't count."""
        count, none = len(self.classes), np.zeros(0, np.int64)
        labels = {
            name: np.concatenate([none, *(s.boxes.labels[~s.boxes.ignored] for s in samples)])
            for name, samples in self.splits.items()
        }
        return {n: np.bincount(found, minlength=count).tolist() for n, found in labels.items()}

    amounts = boxes

    def target(self, sample: BoxedSample) -> str:
        return sha256(b"".join(part.tobytes() for part in sample.boxes)).hexdigest()[:16]

    def odd(self) -> Iterable[Finding]:
        """Boxes that were mended, are there twice, or are too long or too tiny."""
        if self.mended:
            boxed = f"{len(self.mended):,} images have boxes that were cut off or dropped"
            yield Finding(boxed, self.mended)
        counts: dict[str, dict[Path, int]] = {"twice": {}, "very long": {}, "tiny": {}}
        for samples in self.splits.values():
            for image, boxes in samples:
                sides = boxes.corners[:, 2:] - boxes.corners[:, :2]
                seen = sides * NETWORK / np.array(self.sizes[image])
                rows = np.column_stack([boxes.labels, boxes.corners.round(2)])
                odd = {
                    "twice": len(rows) - len(np.unique(rows, axis=0)),
                    "very long": int((sides.max(1) > LONG * sides.min(1)).sum()),
                    "tiny": int((seen.min(1) < TINY).sum()),
                }
                for what, count in odd.items():
                    if count:
                        counts[what][image] = count
        total = sum(len(s.boxes.labels) for samples in self.splits.values() for s in samples)
        sentences = {
            "twice": "are there twice, of one class and place",
            "very long": f"are more than {LONG} times as long as wide",
            "tiny": f"are narrower than {TINY} px at {NETWORK} px, hard to find",
        }
        for what, sentence in sentences.items():
            if images := counts[what]:
                boxes = sum(images.values())
                yield Finding(
                    f"{boxes:,} boxes ({boxes / total:.1%}) in {len(images):,} images {sentence}",
                    {image: f"{count} {what}" for image, count in images.items()},
                )

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
        origin, *notes = super()._remarks()
        clipped = [f"cut off at the edge of the image: {self.clipped:,} boxes"]
        return [f"{self.format}; {origin}", *(clipped if self.clipped else []), *notes]

    def _left_out(self) -> dict[str, list[str]]:
        without = [f"{path} has no annotation" for path in self.unannotated]
        bad = {"bad boxes": self.dropped, "images without annotation": without}
        return super()._left_out() | bad


class BoxFormat(NamedTuple):
    """A format of boxes."""

    name: str
    looks_like: Callable[[Path], bool]
    """Is the folder or file of this format? Hardly a file is opened."""
    find: Callable[[Path], Any]  # the layout of what looks like it
    read: Callable[[Any, GivenClasses | None], FoundBoxes]
    """What the annotations of a layout say; the classes are those that a person gave."""
    suffixes: tuple[str, ...] = ()  # of a file that stands for the whole


FORMATS = (
    BoxFormat("Pascal VOC", voc.looks_like_voc, voc.find_layout, voc.read_voc),
    BoxFormat("COCO", looks_like_coco, find_coco, read_coco, suffixes=(JSON,)),
    BoxFormat("YOLO", looks_like_yolo, find_yolo, read_yolo, suffixes=YAML),
)
LAYOUT = (
    "Pascal VOC's format (JPEGImages and Annotations, or a .xml for each image), or COCO's (a "
    ".json, or annotations/instances_train.json beside train), or YOLO's (a data.yaml, or images "
    "and labels)"
)


def is_detection(source: str | Path) -> bool:
    """Does the folder, or the file, look like images with boxes, and not with masks?"""
    source = Path(source).expanduser()
    try:
        return bool(_formats_of(source)) and not is_segmentation(source)
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
    `val_share` of the images is drawn for validation by `seed`. `classes` are names in order, a
    file with a name per line or a published set's name; unset, what the annotations name. Boxes
    that were drawn on an image before its EXIF rotation are turned with it.

    Boxes are cut off at the edges of their images. What can't be used is left out and counted; see
    `FoundBoxes.fitted`. An image without boxes stays. Raises DataError if this makes no data set.
    """
    check_share(val_share)
    source = Path(source).expanduser()
    found = _read_boxes(source, classes)
    found.renumber(classes)
    itself = ", or give the .json itself to evaluate on it" if found.format == "COCO" else ""
    check_train(source, found.splits, itself)
    samples, headers = found.fitted()
    bad = found.unreadable | dict.fromkeys(found.unannotated, "has no annotation")
    splits = usable(samples, bad)
    first = splits["all" if "all" in splits else "train"]
    if all(sample.boxes.ignored.all() for sample in first):
        reasons = [*found.dropped, *(f"{path} {reason}" for path, reason in bad.items())]
        why = f": {reasons[0]}" if reasons else ""
        raise DataError(
            f"{source} has no box to train on in {len(first):,} images{why}. Draw some, or correct "
            "the annotations."
        )
    found.category_ids = found.category_ids or list(range(1, len(found.names) + 1))
    return DetectionData(
        classes=found.names,
        sizes={path: header.size for path, header in headers.items()},
        **{known.name: getattr(found, known.name) for known in fields(BoxRemarks)},
        **settled(source, splits, headers, val_share, seed),
    )


def _formats_of(source: Path) -> list[BoxFormat]:
    return [form for form in FORMATS if form.looks_like(source)]


def _read_boxes(source: Path, classes: GivenClasses | None) -> FoundBoxes:
    """What the annotations say of a folder, a .json or a data.yaml.

    `classes` name the numbers of YOLO if nothing else does. Raises DataError if the format
    can't be told, or something contradicts itself.
    """
    found = _formats_of(source) if source.exists() else []
    if source.is_file():
        found = [f for f in FORMATS if source.suffix.lower() in f.suffixes] or found
    if not found:
        raise nothing_found(source, "images with boxes", LAYOUT)
    if len(found) > 1:
        names = " and of ".join(form.name for form in found)
        raise DataError(
            f"{source} has boxes in the format of {names}. Give the .json or the data.yaml that "
            "counts, or move the others away."
        )
    return found[0].read(found[0].find(source), classes)


class BoxedImages(DecodedSamples):
    """Images with boxes, replaced by any other one and its boxes.

    `prepare(image, boxes, (epoch, index))` makes both of the upright RGB image and its boxes, in px
    of that image; the target of a sample that doesn't count is None. Boxes and areas are reduced
    with their images.
    """

    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(*given, **options)
        self._scales: dict[int, tuple[float, float]] = {}  # across and down, of reduced images

    def _decode(self, index: int) -> tuple[Image.Image, ...]:
        whole = load_image(self.samples[index].image)
        image = reduce_to(whole, self.short_side)
        if image.size != whole.size:
            self._scales[index] = image.width / whole.width, image.height / whole.height
        return (image,)

    def _prepare(
        self, pictures: tuple[Image.Image, ...], index: int, key: tuple[int, int], *, lost: bool
    ) -> tuple[Any, Any]:
        across, down = self._scales.get(index, (1.0, 1.0))
        labels, corners, areas, ignored = self.samples[index].boxes
        scale = np.array([across, down, across, down])
        boxes = Boxes(labels.copy(), corners * scale, areas * (across * down), ignored.copy())
        pixels, target = self.prepare(pictures[0], boxes, key)
        return pixels, None if lost else target
