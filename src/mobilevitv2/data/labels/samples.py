"""The images of one split, with their labels."""

from collections.abc import Hashable
from typing import Any

import numpy as np

from mobilevitv2.data.decoded import DecodedSamples


class LabeledImages(DecodedSamples):
    """`items[index]`, or `items[epoch, index]`, is (pixels, labels, broken).

    `prepare(image, (epoch, index))` makes the pixels of the upright RGB image; the labels are bool
    [classes]. An image that can't be decoded is replaced by the next one with the same labels; with
    `replace_broken=False` it has no labels. For the rest see `DecodedSamples`.
    """

    def _prepare(self, *args: Any, lost: bool, **options: Any) -> tuple[Any, np.ndarray]:
        pixels, labels = super()._prepare(*args, lost=False, **options)
        return pixels, np.zeros_like(labels) if lost else labels

    def _kind(self, index: int) -> Hashable:
        return self.samples[index][1].tobytes()
