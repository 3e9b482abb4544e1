"""Made-up detections, and what pycocotools says of them."""

import contextlib
import io
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mobilevitv2.results.suppression import Detections
from mobilevitv2.scores.truth import Boxes

Images = list[tuple[Detections, Boxes]]


def by_pycocotools(
    images: Images, classes: int, results: list[dict[str, Any]] | None = None
) -> COCOeval:
    """The evaluation, of `results` where they are given; it says -1 for what nothing defines."""
    truth: dict[str, list] = {
        "images": [{"id": i} for i in range(len(images))],
        "categories": [{"id": i + 1} for i in range(classes)],
        "annotations": [],
    }
    for image, (_, boxes) in enumerate(images):
        for label, corners, area, ignored in zip(*boxes, strict=True):
            annotation = {"id": len(truth["annotations"]) + 1, "image_id": image}
            annotation |= {"category_id": int(label) + 1, "bbox": xywh(corners)}
            truth["annotations"].append(annotation | {"area": float(area), "iscrowd": int(ignored)})
    if results is None:
        results = [
            {"image_id": i, "category_id": int(label) + 1, "bbox": xywh(box), "score": float(score)}
            for i, (found, _) in enumerate(images)
            for score, label, box in zip(found.scores, found.labels, found.boxes, strict=True)
        ]
    with contextlib.redirect_stdout(io.StringIO()):
        coco: Any = COCO()
        coco.dataset = truth
        coco.createIndex()
        found = coco.loadRes(results) if results else COCO()
        done = COCOeval(coco, found, "bbox")
        done.evaluate()
        done.accumulate()
        done.summarize()
    return done


def defined(values: np.ndarray) -> np.ndarray:
    """nan for pycocotools' -1"""
    return np.where(np.asarray(values) == -1, np.nan, values)


def xywh(corners: np.ndarray) -> list[float]:
    x1, y1, x2, y2 = (float(value) for value in corners)
    return [x1, y1, x2 - x1, y2 - y1]


def random_images(seed: int) -> tuple[Images, int]:
    """A few images, and how many classes; one or the other thing about them is odd."""
    rng = np.random.default_rng(seed)
    classes = int(rng.integers(1, 5))
    images = [_random_image(rng, classes) for _ in range(rng.integers(1, 7))]
    return images, classes


def _random_image(rng: np.random.Generator, classes: int) -> tuple[Detections, Boxes]:
    size, grid = rng.choice([40, 150, 400]), rng.choice([1, 4, 16])
    objects = int(rng.integers(0, 8))
    count = rng.choice([0, 3, 20, 130, 260], p=[0.1, 0.3, 0.4, 0.15, 0.05])
    corners = _on_grid(rng, objects, size, grid)
    labels = rng.integers(0, classes, objects) * (rng.random() < 0.7)
    if objects > 1 and rng.random() < 0.5:  # two that a detection between them overlaps alike
        corners[-1], labels[-1] = corners[0] + [2, 0, 2, 0], labels[0]
    boxes, found = _on_grid(rng, count, size, grid), rng.integers(0, classes, count)
    if objects:  # most detections are at an object, exactly or nearly
        near, at = rng.random(count) < 0.6, rng.integers(0, objects, count)
        beside = np.tile(rng.integers(-1, 2, (count, 2)) * [1, 0], 2)
        boxes = np.where(near[:, None], corners[at] + beside * rng.choice([0, 1, 3]), boxes)
        found = np.where(near & (rng.random(count) < 0.8), labels[at], found)
    boxes = boxes + rng.random(boxes.shape) * rng.choice([0, 0.5])
    boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2])
    scores = rng.random(count).round(int(rng.choice([1, 2, 7]))).astype(np.float32)
    order = np.argsort(-scores, kind="stable") if rng.random() < 0.7 else np.arange(count)
    areas = (corners[:, 2:] - corners[:, :2]).prod(1) * rng.choice([1, 0.8])
    return (
        Detections(scores[order], found[order], boxes[order].astype(np.float32)),
        Boxes.of(labels, corners, areas=areas, ignored=rng.random(objects) < rng.choice([0, 0.3])),
    )


def _on_grid(rng: np.random.Generator, count: int, size: int, grid: int) -> np.ndarray:
    """Boxes [n, 4] of whole px: overlaps are often equal, and areas at the end of a range."""
    low = rng.integers(0, size // grid, (count, 2))
    return np.concatenate([low, low + rng.integers(1, size // grid, (count, 2))], 1) * grid * 1.0


def moved(boxes: Boxes, classes: int, rng: np.random.Generator) -> Detections:
    """As a fair detector finds them: some missed, some beside, some misnamed, some too many."""
    kept = rng.random(len(boxes.labels)) < 0.8
    corners, labels = boxes.corners[kept], boxes.labels[kept]
    sides = np.tile(corners[:, 2:] - corners[:, :2], 2)
    corners = np.concatenate([corners + rng.normal(0, 0.07, corners.shape) * sides, corners + 40])
    corners[:, 2:] = np.maximum(corners[:, 2:], corners[:, :2])
    labels = np.concatenate([labels, rng.permutation(labels)])
    labels = np.where(rng.random(len(labels)) < 0.1, rng.integers(0, classes, len(labels)), labels)
    scores = rng.random(len(labels)) ** np.repeat([0.5, 2], len(labels) // 2)
    order = np.argsort(-scores)
    return Detections(
        scores[order].astype(np.float32), labels[order], corners[order].astype(np.float32)
    )
