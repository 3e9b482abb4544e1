"""The images of one split, with their masks."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mobilevitv2.data.decoded import DecodedSamples, reduce_to
from mobilevitv2.data.masks.check import MaskedSample
from mobilevitv2.data.masks.reading import IGNORED
from mobilevitv2.errors import DataError
from mobilevitv2.images.reading import load_image


class MaskedImages(DecodedSamples):
    """`items[index]`, or `items[epoch, index]`, is (pixels, mask, broken).

    `prepare(image, mask, (epoch, index))` makes both of the upright RGB image and its mask, uint8
    [H, W] as `read_mask` gives it: class numbers, and IGNORED. Masks are reduced with their images
    by taking the nearest pixel.

    A pair with a half that can't be decoded is replaced by the next one; with
    `replace_broken=False` its mask is IGNORED throughout. For the rest see `DecodedSamples`.
    """

    def __init__(
        self,
        samples: Sequence[MaskedSample],
        read_mask: Callable[[Path], np.ndarray],
        prepare: Callable[[Image.Image, np.ndarray, tuple[int, int]], tuple[Any, Any]],
        **options: Any,
    ) -> None:
        super().__init__(samples, prepare, **options)
        self.read_mask = read_mask

    def _decode(self, index: int) -> tuple[Image.Image, ...]:
        path, mask_path = self.samples[index]
        image, mask = load_image(path), Image.fromarray(self.read_mask(mask_path))
        if image.size != mask.size:
            raise DataError(f"{mask_path} and {path} are no longer the same size. Restore them.")
        image = reduce_to(image, self.short_side)
        if mask.size != image.size:
            mask = mask.resize(image.size, Image.Resampling.NEAREST)
        return image, mask

    def _prepare(
        self, pictures: tuple[Image.Image, ...], index: int, key: tuple[int, int], *, lost: bool
    ) -> tuple[Any, Any]:
        image, mask = pictures[0], np.array(pictures[1])  # a copy, which may be written to
        if lost:
            mask[:] = IGNORED
        return self.prepare(image, mask, key)
