"""How well predicted masks agree with true ones, counted pixel by pixel."""

from typing import Any

import numpy as np


class SegmentationScores:
    """A confusion matrix that grows with `update`; all scores are read off it, in [0, 1].

    Pixels whose true class is `ignore_index`, or no number in 0..classes-1, do not count, as in
    ml-cvnets. Scores of single classes are nan where nothing defines them, and means are over the
    classes that have one. Counts are whole numbers, so the order of updates does not matter.
    """

    def __init__(self, classes: int, ignore_index: int = 255) -> None:
        if classes < 1:
            raise ValueError(f"Masks have one class at least, not {classes}.")
        self.classes = classes
        self.ignore_index = ignore_index
        self.confusion = np.zeros((classes, classes), dtype=np.int64)  # [true, predicted]
        self.images = 0
        self.pixels = 0  # of all images, ignored ones included

    def update(self, predicted: Any, target: Any) -> None:
        """Count class numbers [H, W] or [B, H, W], arrays or tensors of whole numbers.

        Raises ValueError, with nothing counted, where they differ in shape, or where the prediction
        of a pixel that counts is no class.
        """
        predicted, target = _class_numbers(predicted), _class_numbers(target)
        if predicted.shape != target.shape:
            raise ValueError(
                f"The predicted mask has shape {predicted.shape}, but the true one {target.shape}."
            )
        found = np.zeros_like(self.confusion)
        for guesses, truths in zip(_images(predicted), _images(target), strict=True):
            found += self._counts(guesses, truths)
        self.confusion += found
        self.images += len(_images(target))
        self.pixels += target.size

    def update_with(self, predicted: Any, target: Any) -> float:
        """`update`, and the mIoU of these masks alone."""
        alone = SegmentationScores(self.classes, self.ignore_index)
        alone.update(predicted, target)
        self.confusion += alone.confusion
        self.images += alone.images
        self.pixels += alone.pixels
        return alone.miou

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
                f"classes: numbers 0 to {self.classes - 1} are wanted."
            )
        cells = truths.astype(np.int64) * self.classes + guesses.astype(np.int64)
        return np.bincount(cells, minlength=self.classes**2).reshape(self.confusion.shape)

    @property
    def iou(self) -> np.ndarray:
        """float64 [classes]: pixels rightly of a class, of those that are it or are taken for it.

        nan for a class that is in neither.
        """
        right = np.diagonal(self.confusion)
        return _share(right, self.confusion.sum(1) + self.confusion.sum(0) - right)

    @property
    def miou(self) -> float:
        """The mean of `iou` over the classes that occur in truth or prediction."""
        return _mean(self.iou)

    @property
    def pixel_accuracy(self) -> float:
        """The share of pixels that are right; nan before any pixel counted."""
        return float(_share(self.confusion.trace(), self.confusion.sum()))

    @property
    def class_accuracy(self) -> np.ndarray:
        """float64 [classes]: of the pixels that are of a class, the share taken for it."""
        return _share(np.diagonal(self.confusion), self.confusion.sum(1))

    @property
    def mean_class_accuracy(self) -> float:
        """The mean of `class_accuracy` over the classes that are in the truth."""
        return _mean(self.class_accuracy)

    @property
    def pixel_shares(self) -> np.ndarray:
        """float64 [classes]: the share of the true pixels that is of each class."""
        return _share(self.confusion.sum(1), self.confusion.sum())

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
            f"{mask.shape}. Of logits, take the argmax over the classes first."
        )
    return mask


def _images(masks: np.ndarray) -> np.ndarray:
    """[B, H, W]"""
    return masks if masks.ndim == 3 else masks[None]


def _share(part: Any, whole: Any) -> np.ndarray:
    """float64 part / whole; nan where the whole is 0."""
    part, whole = np.asarray(part, dtype=np.float64), np.asarray(whole)
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)


def _mean(values: np.ndarray) -> float:
    """Over those that are numbers; nan where none is."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")
