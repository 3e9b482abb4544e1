"""How well predicted masks agree with true ones, counted pixel by pixel."""

from typing import Any

import numpy as np

from mobilevitv2.scores.shares import mean_of_known, share


class SegmentationScores:
    """A confusion matrix that grows with `update`; all scores come from it, in [0, 1].

    Pixels whose true class is `ignore_index`, or isn't in 0..classes-1, don't count, as in
    ml-cvnets. Scores of single classes are nan if they aren't defined, and means are over the
    classes that have one. Counts are whole numbers, so the order of updates doesn't matter.
    """

    def __init__(self, classes: int, ignore_index: int = 255) -> None:
        if classes < 1:
            raise ValueError(f"Masks need at least one class, not {classes}.")
        self.classes = classes
        self.ignore_index = ignore_index
        self.confusion = np.zeros((classes, classes), dtype=np.int64)  # [true, predicted]
        self.images = 0
        self.pixels = 0  # of all images, ignored ones included

    def update(self, predicted: Any, target: Any) -> float:
        """Count class numbers [H, W] or [B, H, W], arrays or tensors of whole numbers.

        Returns the mIoU of these masks alone. Raises ValueError, with nothing counted, where their
        shapes differ, or if the prediction for a pixel that counts isn't a class.
        """
        predicted, target = _class_numbers(predicted), _class_numbers(target)
        if predicted.shape != target.shape:
            raise ValueError(
                f"The masks have different shapes, {predicted.shape} and {target.shape}."
            )
        images = target.reshape(-1, *target.shape[-2:])
        counts = map(self._counts, predicted.reshape(images.shape), images)
        found = sum(counts, np.zeros_like(self.confusion))
        self.confusion += found
        self.images += len(images)
        self.pixels += target.size
        return mean_of_known(_iou(found))

    def counted(self, target: np.ndarray) -> np.ndarray:
        """Which of these pixels count, as bools of the same shape."""
        return (target >= 0) & (target < self.classes) & (target != self.ignore_index)

    def _counts(self, predicted: np.ndarray, target: np.ndarray) -> np.ndarray:
        counted = self.counted(target)
        guesses, truths = predicted[counted], target[counted]
        strange = guesses[(guesses < 0) | (guesses >= self.classes)]
        if strange.size:
            raise ValueError(
                f"A pixel is predicted as class {strange[0]}, but there are {self.classes} "
                f"classes: expected numbers from 0 to {self.classes - 1}."
            )
        cells = truths.astype(np.int64) * self.classes + guesses.astype(np.int64)
        return np.bincount(cells, minlength=self.classes**2).reshape(self.confusion.shape)

    @property
    def iou(self) -> np.ndarray:
        """float64 [classes]: intersection over union, nan for a class in neither mask."""
        return _iou(self.confusion)

    @property
    def miou(self) -> float:
        """The mean of `iou` over the classes that occur in truth or prediction."""
        return mean_of_known(self.iou)

    @property
    def pixel_accuracy(self) -> float:
        """The share of pixels that are right; nan before any pixel counted."""
        return float(share(self.confusion.trace(), self.confusion.sum()))

    @property
    def class_accuracy(self) -> np.ndarray:
        """float64 [classes]: the share of a class's pixels predicted as it."""
        return share(np.diagonal(self.confusion), self.confusion.sum(1))

    @property
    def mean_class_accuracy(self) -> float:
        """The mean of `class_accuracy` over the classes in the truth."""
        return mean_of_known(self.class_accuracy)

    @property
    def pixel_shares(self) -> np.ndarray:
        """float64 [classes]: each class's share of the true pixels."""
        return share(self.confusion.sum(1), self.confusion.sum())

    @property
    def frequency_weighted_iou(self) -> float:
        """The mean of `iou`, each class weighted by its share of the true pixels."""
        there = self.confusion.sum(1) > 0
        products = (self.pixel_shares * self.iou)[there]
        return float(products.sum()) if there.any() else float("nan")


def _class_numbers(mask: Any) -> np.ndarray:
    """An array or tensor [H, W] or [B, H, W] of whole numbers, as an array."""
    if hasattr(mask, "detach"):  # a torch tensor, recognized without importing torch
        mask = mask.detach().cpu().numpy()
    mask = np.asarray(mask)
    if mask.ndim not in (2, 3) or mask.dtype.kind not in "iu":
        raise ValueError(
            f"Masks hold class numbers [H, W] or [B, H, W], but this is {mask.dtype} of shape "
            f"{mask.shape}. Take the argmax of logits over the classes first."
        )
    return mask


def _iou(confusion: np.ndarray) -> np.ndarray:
    """float64 [classes]"""
    right = np.diagonal(confusion)
    return share(right, confusion.sum(1) + confusion.sum(0) - right)
