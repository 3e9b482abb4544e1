"""Small data sets with boxes that are not split, in each format, and how they are spoiled."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from box_files import put_coco, put_voc, put_yolo, write


def voc(folder: Path, count: int = 6) -> Path:
    put_voc(folder / "JPEGImages", folder / "Annotations", range(count))
    return folder


def coco(folder: Path) -> Path:
    put_coco(folder / "annotations" / "train.json", folder / "images", range(6))
    return folder


def yolo(folder: Path) -> Path:
    put_yolo(folder / "images", folder / "labels", range(6))
    write(folder / "classes.txt", "cat\ndog\n")
    return folder


MAKE = {"voc": voc, "coco": coco, "yolo": yolo}


def change_json(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "annotations" / "train.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def boxes_of(data) -> dict[str, Any]:
    return {sample.image.stem: sample.boxes for sample in data.train + data.val}
