"""Images with boxes, written as files in the formats that people have."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

SIZE = (40, 30)  # px, width and height
CLASSES = ["cat", "dog"]
Box = tuple[str, float, float, float, float]  # name, x1, y1, x2, y2
BOXES: list[Box] = [("dog", 4, 3, 20, 18), ("cat", 10, 12, 36, 27)]


def picture(path: Path, size: tuple[int, int] = SIZE, brightness: int = 0, **how: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (brightness,) * 3).save(path, **how)
    return path


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def put_xml(
    path: Path,
    boxes: Iterable[Sequence] = BOXES,
    size: tuple[Any, Any] | None = SIZE,
    more: str = "",
) -> Path:
    objects = "".join(
        f"<object><name>{name}</name><pose>Left</pose>{more}<bndbox><xmin>{x1}</xmin>"
        f"<ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox>"
        "<part><name>head</name><bndbox><xmin>1</xmin></bndbox></part></object>\n"
        for name, x1, y1, x2, y2 in boxes
    )
    sides = "" if size is None else f"<width>{size[0]}</width><height>{size[1]}</height>"
    return write(
        path,
        f"<annotation><folder>x</folder><filename>{path.stem}.jpg</filename>"
        f"<size>{sides}<depth>3</depth></size>\n{objects}</annotation>",
    )


def put_voc(images: Path, annotations: Path, names: Iterable[int]) -> None:
    for i in names:
        picture(images / f"{i}.jpg", brightness=10 * i)
        put_xml(annotations / f"{i}.xml")


def coco(names: Sequence[int], prefix: str = "", boxes: Iterable[Box] = BOXES) -> dict[str, Any]:
    """A file's content: image i has the id 100 + i, and cat and dog the ids 3 and 7."""
    width, height = SIZE
    listed = [
        {"id": 100 + i, "file_name": f"{prefix}{i}.jpg", "width": width, "height": height}
        for i in names
    ]
    annotations = [
        {
            "id": 1000 * i + j,
            "image_id": 100 + i,
            "category_id": {"cat": 3, "dog": 7}[name],
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "area": (x2 - x1) * (y2 - y1) / 2,
            "iscrowd": 0,
            "segmentation": [[x1, y1, x2, y1, x2, y2]],
        }
        for i in names
        for j, (name, x1, y1, x2, y2) in enumerate(boxes)
    ]
    categories = [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}]
    return {
        "info": {"year": 2024},
        "images": listed,
        "annotations": annotations,
        "categories": categories,
    }


def put_coco(path: Path, images: Path, names: Sequence[int], prefix: str = "") -> Path:
    for i in names:
        picture(images / f"{i}.jpg", brightness=10 * i)
    return write(path, json.dumps(coco(names, prefix)))


def yolo(boxes: Iterable[Box] = BOXES, size: tuple[int, int] = SIZE) -> str:
    width, height = size
    return "".join(
        f"{CLASSES.index(name)} {(x1 + x2) / 2 / width} {(y1 + y2) / 2 / height} "
        f"{(x2 - x1) / width} {(y2 - y1) / height}\n"
        for name, x1, y1, x2, y2 in boxes
    )


def put_yolo(images: Path, labels: Path, names: Iterable[int]) -> None:
    for i in names:
        picture(images / f"{i}.jpg", brightness=10 * i)
        write(labels / f"{i}.txt", yolo())
