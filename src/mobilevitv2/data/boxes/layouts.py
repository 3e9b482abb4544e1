"""In which format a folder, or a file, keeps boxes."""

from pathlib import Path

from mobilevitv2.data.boxes.coco import read_coco
from mobilevitv2.data.boxes.coco_layout import CocoLayout, find_coco, looks_like_coco
from mobilevitv2.data.boxes.found import FoundBoxes
from mobilevitv2.data.boxes.voc import read_voc
from mobilevitv2.data.boxes.voc_layout import VocLayout, find_voc, looks_like_voc
from mobilevitv2.data.boxes.yolo import read_yolo
from mobilevitv2.data.boxes.yolo_layout import find_yolo, looks_like_yolo
from mobilevitv2.data.boxes.yolo_yaml import YAML, YoloLayout
from mobilevitv2.data.class_lists import GivenClasses
from mobilevitv2.errors import DataError

BoxLayout = VocLayout | CocoLayout | YoloLayout

FORMATS = {
    "Pascal VOC": (looks_like_voc, find_voc),
    "COCO": (looks_like_coco, find_coco),
    "YOLO": (looks_like_yolo, find_yolo),
}
LAYOUT = (
    "Pascal VOC's form (JPEGImages and Annotations, or a .xml for each image), COCO's (a .json, or "
    "annotations/instances_train.json beside train), or YOLO's (a data.yaml, or images and labels)"
)


def formats_of(source: Path) -> list[str]:
    """The formats of boxes that the folder or the file looks like; hardly a file is opened."""
    return [name for name, (looks_like, _) in FORMATS.items() if looks_like(source)]


def find_box_layout(source: Path) -> BoxLayout:
    """The layout of a folder, a .json or a data.yaml. Raises DataError where it has none."""
    if not source.exists():
        raise DataError(f"{source} does not exist. Give a folder with boxes in {LAYOUT}.")
    found = formats_of(source)
    if source.suffix.lower() == ".json" and source.is_file():
        found = ["COCO"]
    elif source.suffix.lower() in YAML and source.is_file():
        found = ["YOLO"]
    if not found:
        held = "holds no images with boxes" if source.is_dir() else "is no folder and no .json"
        if source.is_dir() and not any(source.iterdir()):
            held = "is empty"
        raise DataError(f"{source} {held}. Wanted is {LAYOUT}.")
    if len(found) > 1:
        raise DataError(
            f"{source} has boxes in the form of {' and of '.join(found)}. Give the .json or the "
            "data.yaml that counts, or move the others away."
        )
    return FORMATS[found[0]][1](source)


def read_boxes(layout: BoxLayout, classes: GivenClasses | None) -> FoundBoxes:
    """What the annotations say; `classes` name the numbers of YOLO's where nothing else does."""
    if isinstance(layout, VocLayout):
        return read_voc(layout)
    return read_coco(layout) if isinstance(layout, CocoLayout) else read_yolo(layout, classes)
