"""Random changes of training images and their masks, the same for both."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import Tensor
from torchvision.transforms import v2

from mobilevitv2.data.masks.reading import IGNORED
from mobilevitv2.training.augment import happens, seeded, to_tensor
from mobilevitv2.training.recipe import Recipe

TRIES = 10  # crops drawn until no class has too large a share; the last one is taken anyway
BLUR_RADIUS = 1.0  # px, at most

Pair = tuple[Image.Image, Image.Image]  # RGB, and class numbers as L


class Window(NamedTuple):
    """The size to which an image is scaled, and where the window in it begins [px]."""

    width: int
    height: int
    left: int
    top: int


class MaskAugment:
    """An image, its mask and (epoch, index) to uint8 [3, size, size] and uint8 [size, size].

    It takes a Pillow RGB image and a mask uint8 [H, W] of class numbers and IGNORED. Resize, crop,
    flip, blur, color changes, rotation: steps and order are the reference's (ml-cvnets). Outside
    the image it is black, and IGNORED in the mask. Without a `resize_range` the short side becomes
    `size`, and the crop is the middle.
    """

    def __init__(self, recipe: Recipe, size: int) -> None:
        self.recipe = recipe
        self.size = size
        self.distort = v2.RandomPhotometricDistort(p=recipe.photometric)

    def __call__(
        self, image: Image.Image, mask: np.ndarray, key: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        with seeded(self.recipe.seed, "image", *key):
            picture, labels = self._crop(image, Image.fromarray(mask))
            for axis, share in enumerate((self.recipe.hflip, self.recipe.vflip)):
                if share and happens(share):
                    flip = Image.Transpose(axis)  # left and right, top and bottom
                    picture, labels = picture.transpose(flip), labels.transpose(flip)
            if happens(self.recipe.blur):
                picture = picture.filter(ImageFilter.GaussianBlur(_uniform(0, BLUR_RADIUS)))
            if self.recipe.photometric:
                picture = self.distort(picture)
            if self.recipe.rotate:
                picture, labels = self._turn(picture, labels)
        return to_tensor(picture), torch.from_numpy(np.array(labels))

    def _crop(self, image: Image.Image, mask: Image.Image) -> Pair:
        """Resize and crop in one step, which computes only what is seen."""
        windows = self._windows(image.size)
        seen = next(windows)
        labels = self._labels(mask, seen)
        while not self._is_mixed(labels) and (other := next(windows, None)):
            seen, labels = other, self._labels(mask, other)
        return _cut(image, seen, self.size, Image.Resampling.BICUBIC, 0), labels

    def _labels(self, mask: Image.Image, window: Window) -> Image.Image:
        return _cut(mask, window, self.size, Image.Resampling.NEAREST, IGNORED)

    def _windows(self, given: tuple[int, int]) -> Iterator[Window]:
        """One in the middle, or TRIES at random places, all at one random size."""
        scale = 1.0
        if self.recipe.resize_range is not None:
            scale = _uniform(*self.recipe.resize_range)
        short_side = max(1, round(self.size * scale))
        width, height = (max(1, round(side * short_side / min(given))) for side in given)
        spare = max(width - self.size, 0), max(height - self.size, 0)
        if self.recipe.resize_range is None:
            yield Window(width, height, spare[0] // 2, spare[1] // 2)
            return
        for _ in range(TRIES):
            yield Window(width, height, *(int(torch.randint(room + 1, ())) for room in spare))

    def _is_mixed(self, labels: Image.Image) -> bool:
        """Does the largest class have less than the recipe's share of the pixels that count?"""
        if self.recipe.class_share == 1:
            return True
        counts = labels.histogram()[:IGNORED]
        return max(counts) < self.recipe.class_share * sum(counts)

    def _turn(self, image: Image.Image, mask: Image.Image) -> Pair:
        angle = _uniform(-self.recipe.rotate, self.recipe.rotate)
        nearest, bilinear = Image.Resampling.NEAREST, Image.Resampling.BILINEAR
        turned = image.rotate(angle, bilinear, fillcolor=(0, 0, 0))
        return turned, mask.rotate(angle, nearest, fillcolor=IGNORED)


def _cut(
    image: Image.Image, window: Window, size: int, resample: Image.Resampling, fill: int
) -> Image.Image:
    """What the window shows, size x size; filled on the right and below where the image ends."""
    right, bottom = min(window.left + size, window.width), min(window.top + size, window.height)
    (given_width, given_height), (width, height) = image.size, window[:2]
    box = (
        window.left * given_width / width,  # in this order, the far edge is exact
        window.top * given_height / height,
        right * given_width / width,
        bottom * given_height / height,
    )
    seen = image.resize((right - window.left, bottom - window.top), resample, box)
    if seen.size == (size, size):
        return seen
    canvas = Image.new(image.mode, (size, size), (fill,) * len(image.getbands()))
    canvas.paste(seen, (0, 0))
    return canvas


def _uniform(low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand(()))
