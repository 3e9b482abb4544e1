"""In which format a folder, or a file, keeps boxes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from mobilevitv2.data.boxes.coco import read_coco
from mobilevitv2.data.boxes.coco_layout import JSON, find_coco, looks_like_coco
from mobilevitv2.data.boxes.found import FoundBoxes
from mobilevitv2.data.boxes.voc import find_voc, looks_like_voc, read_voc
from mobilevitv2.data.boxes.yolo import read_yolo
from mobilevitv2.data.boxes.yolo_layout import YAML, find_yolo, looks_like_yolo
from mobilevitv2.data.class_lists import GivenClasses
from mobilevitv2.data.split_names import nothing_found
from mobilevitv2.errors import DataError


class BoxFormat(NamedTuple):
    """A format of boxes."""

    name: str
    looks_like: Callable[[Path], bool]
    """Is the folder or file of this format? Hardly a file is opened."""
    find: Callable[[Path], Any]  # the layout of what looks like it
    read: Callable[[Any, GivenClasses | None], FoundBoxes]
    """What the annotations of a layout say; the classes are those that a person gave."""
    description: str
    suffixes: tuple[str, ...] = ()  # of a file that stands for the whole


FORMATS = (
    BoxFormat(
        "Pascal VOC",
        looks_like_voc,
        find_voc,
        read_voc,
        "Pascal VOC's format (JPEGImages and Annotations, or a .xml for each image)",
    ),
    BoxFormat(
        "COCO",
        looks_like_coco,
        find_coco,
        read_coco,
        "COCO's (a .json, or annotations/instances_train.json beside train)",
        suffixes=(JSON,),
    ),
    BoxFormat(
        "YOLO",
        looks_like_yolo,
        find_yolo,
        read_yolo,
        "YOLO's (a data.yaml, or images and labels)",
        suffixes=YAML,
    ),
)
LAYOUT = ", or ".join(form.description for form in FORMATS)


def formats_of(source: Path) -> list[BoxFormat]:
    """The formats that the folder or the file looks like."""
    return [form for form in FORMATS if form.looks_like(source)]


def read_boxes(source: Path, classes: GivenClasses | None) -> FoundBoxes:
    """What the annotations say of a folder, a .json or a data.yaml.

    `classes` name the numbers of YOLO if nothing else does. Raises DataError if the format
    can't be told, or something contradicts itself.
    """
    found = formats_of(source) if source.exists() else []
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
