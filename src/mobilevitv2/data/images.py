"""The images of one split, decoded when asked for and kept in memory while there is room."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from PIL import Image

from mobilevitv2.data.classification import Sample
from mobilevitv2.errors import DataError, ImageError
from mobilevitv2.images import load_image

CACHE_BYTES = 1 << 30
NO_TARGET = -1


class ImageSet:
    """Samples to tensors: `images[index]`, or `images[epoch, index]`, is (pixels, target, broken).

    `prepare(image, (epoch, index))` makes a sample's pixels of its upright RGB image; the index is
    the one asked for, and the epoch 0 where none is given. Images whose short side is longer than
    `short_side` are reduced to it first, so that large photos are scaled down only once.

    An image that can't be decoded is replaced by the next one of its class, always the same, and
    `broken` is its index; else it is -1. With `replace_broken=False` its target is `NO_TARGET`.

    What is kept in memory, up to `cache_bytes`, are the decoded images; with `keep_pixels`, where
    `prepare` gives the same in each epoch, its results.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        prepare: Callable[[Image.Image, tuple[int, int]], Any],
        *,
        short_side: int | None = None,
        replace_broken: bool = True,
        keep_pixels: bool = False,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self.samples = samples
        self.prepare = prepare
        self.short_side = short_side
        self.replace_broken = replace_broken
        self.keep_pixels = keep_pixels
        self.room = cache_bytes
        self.reasons: dict[int, str] = {}  # of images that this process could not decode
        self._kept: dict[int, Any] = {}  # images as uint8 [H, W, 3], or items

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, key: int | tuple[int, int]) -> tuple[Any, int, int]:
        epoch, index = key if isinstance(key, tuple) else (0, key)
        if self.keep_pixels and index in self._kept:
            return self._kept[index]
        for candidate in self._candidates(index):
            image = self.image(candidate)
            if image is not None:
                break
        else:
            raise DataError("no image of this split can be decoded. Export the images again.")
        broken = -1 if candidate == index else index
        lost = broken >= 0 and not self.replace_broken
        target = NO_TARGET if lost else self.samples[candidate][1]
        item = self.prepare(image, (epoch, index)), target, broken
        if self.keep_pixels:
            self._keep(index, item, item[0].nbytes)
        return item

    def image(self, index: int) -> Image.Image | None:
        """The upright RGB image, reduced to `short_side`; None where it can't be decoded."""
        if index in self.reasons:
            return None
        if not self.keep_pixels and index in self._kept:
            return Image.fromarray(self._kept[index])
        try:
            image = reduce_to(load_image(self.samples[index][0]), self.short_side)
        except (ImageError, OSError) as error:
            self.reasons[index] = str(error)
            return None
        if not self.keep_pixels:
            self._keep(index, np.asarray(image), image.width * image.height * 3)
        return image

    def fill(self) -> None:
        """Decode as many images as are kept, several at a time, and keep no more afterwards.

        For loading processes, which share what was there when they were started.
        """
        with ThreadPoolExecutor() as pool:
            todo = range(len(self))
            while todo and self.room > 0:
                list(pool.map(self.__getitem__ if self.keep_pixels else self.image, todo[:256]))
                todo = todo[256:]
        self.room = 0

    def _keep(self, index: int, what: Any, size: int) -> None:
        if size <= self.room and index not in self._kept:
            self.room -= size
            self._kept[index] = what

    def _candidates(self, index: int) -> Iterator[int]:
        """The index itself, then the others: of its class, the rest; each from the index onward."""
        yield index
        others = [*range(index + 1, len(self)), *range(index)]
        target = self.samples[index][1]
        yield from sorted(others, key=lambda i: self.samples[i][1] != target)


def reduce_to(image: Image.Image, short_side: int | None) -> Image.Image:
    """The image with a short side of at most `short_side` [px]."""
    given = min(image.size)
    if short_side is None or given <= short_side:
        return image
    width, height = (max(1, round(side * short_side / given)) for side in image.size)
    return image.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=3.0)
