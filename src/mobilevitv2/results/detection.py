"""The objects in an image, drawn as boxes, and written in common formats."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import InitVar, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from PIL import Image

from mobilevitv2.files.writing import write_atomic
from mobilevitv2.results.boxed import with_boxes
from mobilevitv2.results.colors import Color, class_colors
from mobilevitv2.results.drawing import percent
from mobilevitv2.results.result import ImageResult, check_numbers
from mobilevitv2.results.suppression import Detections

NAMED = 6  # classes in the result's name


class DetectedObject(NamedTuple):
    """One object: `score` is a probability in [0, 1], `box` x1, y1, x2, y2 in px of the image."""

    label: str
    score: float
    box: tuple[float, float, float, float]


@dataclass(frozen=True, eq=False)
class Detection(ImageResult):
    """The objects found in one image, best first.

    `scores` [n] in [0, 1], `labels` [n] numbers into `classes`, and `boxes` [n, 4] of x1, y1, x2,
    y2 in px of the image, whose `size` is (height, width). `colors` are RGB, by default
    `distinct_colors`. Raises ValueError if they don't match each other.
    """

    scores: np.ndarray = field(repr=False)
    labels: np.ndarray = field(repr=False)
    boxes: np.ndarray = field(repr=False)
    classes: list[str]
    size: tuple[int, int]
    colors: list[Color] = field(default_factory=list, repr=False)
    source: str | None = None
    image: Image.Image | None = field(default=None, repr=False)
    colours: InitVar[Sequence[Color]] = ()  # how 0.1.0 spelled it

    def __post_init__(self, colours: Sequence[Color]) -> None:
        count = len(self.classes)
        _check(self.scores, self.labels, self.boxes, count)
        object.__setattr__(self, "colors", class_colors(self.colors or colours, count))

    @classmethod
    def of(
        cls,
        detections: Detections,
        classes: list[str],
        size: tuple[int, int],
        *,
        colors: Sequence[Color] = (),
        source: str | os.PathLike | None = None,
        image: Image.Image | None = None,
    ) -> Self:
        """From what `detect` returns for an image of `size` (height, width)."""
        arrays = detections.scores, detections.labels, detections.boxes
        name = None if source is None else os.fspath(source)
        return cls(*arrays, classes, size, list(colors), name, image)

    @property
    def detections(self) -> Detections:
        """The arrays alone."""
        return Detections(self.scores, self.labels, self.boxes)

    @cached_property
    def objects(self) -> list[DetectedObject]:
        """Each object with the name of its class, best first."""
        columns = (self.labels.tolist(), self.scores.tolist(), self.boxes.tolist())
        return [
            DetectedObject(self.classes[label], score, (x1, y1, x2, y2))
            for label, score, (x1, y1, x2, y2) in zip(*columns, strict=True)
        ]

    @cached_property
    def counts(self) -> dict[str, int]:
        """The number of objects of each class in the image, most first."""
        return dict(Counter(found.label for found in self.objects).most_common())

    @property
    def label(self) -> str:
        """The class with the most objects; empty if there are none."""
        return next(iter(self.counts), "")

    def __str__(self) -> str:
        named = [f"{count} {name}" for name, count in self.counts.items()]
        more = sum(list(self.counts.values())[NAMED:])
        listed = ", ".join(named[:NAMED]) + (f" and {more} more" if more else "")
        return listed or "nothing"

    def __len__(self) -> int:
        return len(self.scores)

    def above(self, threshold: float) -> Self:
        """Only the objects with a score above `threshold`."""
        kept = self.scores > threshold
        scores, labels, boxes = self.scores[kept], self.labels[kept], self.boxes[kept]
        return replace(self, scores=scores, labels=labels, boxes=boxes)

    def to_dict(self) -> dict[str, Any]:
        """Plain values: source, width, height in px, and objects of label, score and box in px."""
        height, width = self.size
        objects = [{**found._asdict(), "box": list(found.box)} for found in self.objects]
        return {"source": self.source, "width": width, "height": height, "objects": objects}

    def pairs(self) -> list[tuple[str, float]]:
        """What is there, in words, with the score of the best object."""
        return [(str(self), self.objects[0].score)] if self.objects else []

    def table(self) -> list[list[str]]:
        """A row for each object: its class, its score, and the sides of its box in px."""
        rows = [
            [found.label, percent(found.score), *(f"{side:,.0f}" for side in found.box)]
            for found in self.objects
        ]
        return [["object", "score", "left", "top", "right", "bottom"], *rows]

    @classmethod
    def csv_header(cls, classes: Sequence[str], top_k: int) -> list[str]:
        return ["image", "label", "score", "x1", "y1", "x2", "y2"]

    def csv_rows(self) -> list[list[Any]]:
        return [[self.source, found.label, found.score, *found.box] for found in self.objects]

    def to_yolo(self) -> str:
        """A line for each object: class number, center x and y, width, height, score.

        Places are parts of the image, in [0, 1], as `yolo predict save_txt save_conf` writes them.
        """
        height, width = self.size
        corners = self.boxes.astype(np.float64) / [width, height, width, height]
        low, high = corners[:, :2], corners[:, 2:]
        rows = np.concatenate([(low + high) / 2, high - low], axis=1)
        return "".join(
            f"{label} {x:.6f} {y:.6f} {w:.6f} {h:.6f} {score:.6f}\n"
            for label, (x, y, w, h), score in zip(
                self.labels.tolist(), rows.tolist(), self.scores.tolist(), strict=True
            )
        )

    def to_coco(
        self, image_id: int, category_ids: Sequence[int] | None = None
    ) -> list[dict[str, Any]]:
        """Entries of a COCO results file: image_id, category_id, bbox (x, y, w, h) and score.

        `category_ids` are those of the data set, one for each class; by default they count from 1.
        """
        ids = list(category_ids or range(1, len(self.classes) + 1))
        if len(ids) != len(self.classes):
            raise ValueError(f"There are {len(self.classes)} classes and {len(ids)} category ids.")
        boxes = self.boxes.astype(np.float64)
        boxes[:, 2:] -= boxes[:, :2]
        columns = (self.labels.tolist(), boxes.tolist(), self.scores.tolist())
        return [
            {"image_id": image_id, "category_id": ids[label], "bbox": box, "score": score}
            for label, box, score in zip(*columns, strict=True)
        ]

    def draw(self, image: Any = None, *, threshold: float = 0) -> Image.Image:
        """The picture with the boxes of all objects that score above `threshold`, as a new image.

        Without `image` (whatever `load_image` takes) it is the one predicted from, or its file.
        """
        shown = self.above(threshold)
        return with_boxes(
            self._picture(image, self.size),
            shown.boxes,
            [found.label for found in shown.objects],
            [self.colors[label] for label in shown.labels],
            percents=[percent(found.score, 0) for found in shown.objects],
        )

    def save_yolo(self, path: str | os.PathLike) -> Path:
        """Write `to_yolo`, an empty file if there are no objects. Returns the path."""
        write_atomic(path, self.to_yolo().encode())
        return Path(path)


setattr(Detection, "colours", property(lambda self: self.colors))  # noqa: B010 - below the class, where the name is a parameter


def _check(scores: np.ndarray, labels: np.ndarray, boxes: np.ndarray, count: int) -> None:
    if scores.ndim != 1 or labels.shape != scores.shape or boxes.shape != (len(scores), 4):
        raise ValueError(
            f"Scores {scores.shape}, labels {labels.shape} and boxes {boxes.shape} don't match: "
            "expected shapes [n], [n] and [n, 4]."
        )
    if not np.isfinite(scores).all() or not np.isfinite(boxes).all():
        raise ValueError("The scores or boxes hold NaN or infinity.")
    check_numbers(labels, count)
