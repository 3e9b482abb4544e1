"""What a backend answers to a batch of images; the type says what the numbers are."""

# B batch, C classes, k best classes, A anchors, D detections, H W image, h w coarser scores

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Self

import numpy as np

NEVER = 1e-30  # in place of a probability of 0, which has no logarithm


@dataclass(eq=False, repr=False)
class Answer:
    """Arrays about a batch, indexed by image; the first has a number [B, C, ...] for each class."""

    rank: ClassVar[int] = 2  # axes of the first array

    def __getitem__(self, images: Any) -> Self:
        return type(self)(*(array[images] for array in self.arrays))

    def __len__(self) -> int:
        return len(self.arrays[0])

    @property
    def arrays(self) -> list[np.ndarray]:
        return [getattr(self, field.name) for field in fields(self)]

    @classmethod
    def joined(cls, answers: Sequence[Self]) -> Self:
        """Several batches as one."""
        return cls(*map(np.concatenate, zip(*(a.arrays for a in answers), strict=True)))

    def is_finite(self) -> bool:
        """Whether no number is NaN or infinity, as a diverged model gives them."""
        return all(np.isfinite(array).all() for array in self.arrays if array.dtype.kind == "f")

    def fits(self, classes: int) -> bool:
        """Whether the shapes are right for a model with this number of classes."""
        shape = self.arrays[0].shape
        return len(shape) == self.rank and shape[1] == classes

    def first_classes(self) -> np.ndarray:
        """The best class of each image, pixel or anchor, int [n]."""
        return self.arrays[0].argmax(1).ravel()


@dataclass(eq=False, repr=False)
class Logits(Answer):
    """Scores of whole images."""

    logits: np.ndarray  # float32 [B, C]


@dataclass(eq=False, repr=False)
class TopK(Answer):
    """The best classes of whole images."""

    scores: np.ndarray  # probabilities, float32 [B, k], best first
    classes: np.ndarray  # int64 [B, k]

    def fits(self, classes: int) -> bool:
        return self.scores.ndim == 2 and self.classes.max(initial=0) < classes

    def first_classes(self) -> np.ndarray:
        return self.classes[:, 0]

    def logits(self, classes: int) -> np.ndarray:
        """Log probabilities [B, C]; the other classes share the rest evenly."""
        rest = np.maximum(1 - self.scores.sum(1, keepdims=True), NEVER)
        all_scores = np.repeat(rest / max(classes - self.scores.shape[1], 1), classes, axis=1)
        np.put_along_axis(all_scores, self.classes, np.maximum(self.scores, NEVER), axis=1)
        return np.log(all_scores, dtype=np.float32)


@dataclass(eq=False, repr=False)
class Scores(Answer):
    """The probability of each label of whole images."""

    scores: np.ndarray  # float32 [B, C] in [0, 1]


@dataclass(eq=False, repr=False)
class PixelLogits(Answer):
    """Scores on a grid coarser than the image."""

    rank: ClassVar[int] = 4
    logits: np.ndarray  # float32 [B, C, h, w]


@dataclass(eq=False, repr=False)
class PixelClasses(Answer):
    """The class of each pixel of the input."""

    classes: np.ndarray  # [B, H, W]

    def fits(self, classes: int) -> bool:
        return self.classes.ndim == 3

    def first_classes(self) -> np.ndarray:
        return self.classes.ravel()


@dataclass(eq=False, repr=False)
class RawBoxes(Answer):
    """A box for each anchor, before softmax and suppression."""

    logits: np.ndarray  # float32 [B, A, 1 + C], the background first
    boxes: np.ndarray  # float32 [B, A, 4]: center x, y, width, height as fractions of the image

    def is_finite(self) -> bool:
        """Boxes may be infinitely large where all scores are numbers."""
        return bool(np.isfinite(self.logits).all() and not np.isnan(self.boxes).any())

    def fits(self, classes: int) -> bool:
        return self.logits.shape[-1] == 1 + classes

    def first_classes(self) -> np.ndarray:
        """0 is the background."""
        return self.logits.argmax(-1).ravel()


@dataclass(eq=False, repr=False)
class ScoredBoxes(Answer):
    """A box for each anchor, before suppression."""

    scores: np.ndarray  # probabilities, float32 [B, A, C]
    corners: np.ndarray  # float32 [B, A, 4]: x1, y1, x2, y2 as fractions of the image

    def fits(self, classes: int) -> bool:
        return self.scores.shape[-1] == classes


@dataclass(eq=False, repr=False)
class FinalBoxes(Answer):
    """The boxes after suppression, best first, filled up with scores of 0."""

    scores: np.ndarray  # float32 [B, D]
    labels: np.ndarray  # int64 [B, D]
    corners: np.ndarray  # float32 [B, D, 4]: x1, y1, x2, y2 as fractions of the image

    def fits(self, classes: int) -> bool:
        return self.scores.ndim == 2 and self.labels.max(initial=0) < classes


def of_model(logits: np.ndarray, boxes: np.ndarray | None = None) -> Answer:
    """A model's own outputs: for whole images, for pixels, or, with boxes, a detector's."""
    if boxes is not None:
        return RawBoxes(logits, boxes)
    return PixelLogits(logits) if logits.ndim == 4 else Logits(logits)


OF_OUTPUT = {  # of an exported file, by `Record.output`
    "logits": of_model,
    "top_k": TopK,
    "scores": Scores,
    "mask": PixelClasses,
    "boxes": ScoredBoxes,
    "detections": FinalBoxes,
}
