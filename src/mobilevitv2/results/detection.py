"""The objects of an image, drawn as boxes, and written in the formats that others read."""

import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import InitVar, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from PIL import Image

from mobilevitv2.files.writing import write_atomic
from mobilevitv2.results import drawing
from mobilevitv2.results.boxed import short_percent, with_boxes
from mobilevitv2.results.colors import Color, distinct_colors
from mobilevitv2.results.suppression import Detections

SPOKEN = 6  # classes that the result is called by


class DetectedObject(NamedTuple):
    """One of them."""

    label: str
    score: float
    """A probability, in [0, 1]."""
    box: tuple[float, float, float, float]
    """x1, y1, x2, y2 in px of the image."""


@dataclass(frozen=True, eq=False)
class Detection:
    """The objects found in one image, best first.

    `scores` [n] in [0, 1], `labels` [n] numbers into `classes`, and `boxes` [n, 4] of x1, y1, x2,
    y2 in px of the image, whose `size` is (height, width). Without `colors`, RGB, they are
    `distinct_colors`. Raises ValueError where they don't fit each other.
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
        object.__setattr__(self, "colors", list(self.colors or colours) or distinct_colors(count))
        if len(self.colors) != count:
            raise ValueError(f"There are {count} classes and {len(self.colors)} colors.")

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
        """From what `detect` gives for an image of `size` (height, width)."""
        return cls(
            detections.scores,
            detections.labels,
            detections.boxes,
            classes,
            size,
            colors=list(colors),
            source=None if source is None else os.fspath(source),
            image=image,
        )

    @property
    def detections(self) -> Detections:
        """The bare arrays."""
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
        """How many objects there are of each class that is there, most first."""
        return dict(Counter(found.label for found in self.objects).most_common())

    @property
    def label(self) -> str:
        """The class of most objects; empty where there is none."""
        return next(iter(self.counts), "")

    def __str__(self) -> str:
        spoken = [f"{count} {name}" for name, count in self.counts.items()]
        more = sum(list(self.counts.values())[SPOKEN:])
        listed = ", ".join(spoken[:SPOKEN]) + (f" and {more} more" if more else "")
        return listed or "nothing"

    def __len__(self) -> int:
        return len(self.scores)

    def above(self, threshold: float) -> Self:
        """Only the objects with a score above `threshold`."""
        kept = self.scores > threshold
        chosen = Detections(self.scores[kept], self.labels[kept], self.boxes[kept])
        return type(self).of(
            chosen,
            self.classes,
            self.size,
            colors=self.colors,
            source=self.source,
            image=self.image,
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values: source, width, height in px, and objects of label, score and box in px."""
        height, width = self.size
        objects = [
            {"label": found.label, "score": found.score, "box": list(found.box)}
            for found in self.objects
        ]
        return {"source": self.source, "width": width, "height": height, "objects": objects}

    def to_json(self) -> str:
        """`to_dict` as one line of JSON."""
        return json.dumps(self.to_dict(), ensure_ascii=False)

    def to_yolo(self) -> str:
        """A line for each object: class number, center x and y, width, height, score.

        Places are parts of the image, in [0, 1], as `yolo predict save_txt save_conf` writes them.
        """
        height, width = self.size
        rows = _centered(self.boxes.astype(np.float64) / [width, height, width, height])
        return "".join(
            f"{label} {x:.6f} {y:.6f} {w:.6f} {h:.6f} {score:.6f}\n"
            for label, (x, y, w, h), score in zip(
                self.labels.tolist(), rows.tolist(), self.scores.tolist(), strict=True
            )
        )

    def to_coco(
        self, image_id: int, category_ids: Sequence[int] | None = None
    ) -> list[dict[str, Any]]:
        """Entries of COCO's file of results: image_id, category_id, bbox (x, y, w, h) and score.

        `category_ids` are the data set's own of each class; without them they count from 1.
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
        """The picture with the boxes of all objects above `threshold`, as a new RGB image.

        Without `image` (whatever `load_image` takes) it is the one predicted from, or its file.
        """
        picture = drawing.picture_for(image, self.image, self.source)
        height, width = self.size
        if picture.size != (width, height):
            raise ValueError(
                f"The image has {picture.width}x{picture.height} px, but its boxes are of one of "
                f"{width}x{height}."
            )
        shown = np.flatnonzero(self.scores > threshold)
        return with_boxes(
            picture,
            self.boxes[shown],
            [self.objects[i].label for i in shown],
            [self.colors[label] for label in self.labels[shown]],
            percents=[short_percent(self.objects[i].score) for i in shown],
        )

    def save(self, path: str | os.PathLike, image: Any = None) -> Path:
        """Draw, and write the picture; the suffix says the format, as .png. Returns the path."""
        return drawing.written(self.draw(image), path)

    def save_yolo(self, path: str | os.PathLike) -> Path:
        """Write `to_yolo`; an image without objects has an empty file. Returns the path."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, self.to_yolo().encode())
        return path

    def show(self, image: Any = None) -> None:
        """Draw, and open the picture in the desktop's viewer or the notebook."""
        self.draw(image).show(title=str(self))


setattr(Detection, "colours", property(lambda self: self.colors))  # noqa: B010


def _centered(corners: np.ndarray) -> np.ndarray:
    """x1, y1, x2, y2 [n, 4] to center x, center y, width, height."""
    low, high = corners[:, :2], corners[:, 2:]
    return np.concatenate([(low + high) / 2, high - low], axis=1)


def _check(scores: np.ndarray, labels: np.ndarray, boxes: np.ndarray, count: int) -> None:
    if scores.ndim != 1 or labels.shape != scores.shape or boxes.shape != (len(scores), 4):
        raise ValueError(
            f"Scores {scores.shape}, labels {labels.shape} and boxes {boxes.shape} are not those "
            "of one image: [n], [n] and [n, 4] are wanted."
        )
    if not np.isfinite(scores).all() or not np.isfinite(boxes).all():
        raise ValueError("The scores or boxes hold NaN or infinity, which are no places.")
    strange = labels[(labels < 0) | (labels >= count)]
    if strange.size:
        raise ValueError(
            f"An object is of class {strange[0]}, but {count} classes have names: numbers 0 to "
            f"{count - 1} are wanted."
        )
