"""Samples decoded on demand, kept in memory while there is room, and replaced if broken."""

from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from PIL import Image

from mobilevitv2.errors import DataError, ImageError
from mobilevitv2.images.reading import load_image

CACHE_BYTES = 1 << 30


class DecodedSamples:
    """`samples[index]`, or `samples[epoch, index]`, is (pixels, target, broken).

    A sample is an image, whatever `load_image` takes, and its label; subclasses say what `prepare`
    makes of them. Images whose short side is longer than `short_side` are reduced to it first, so
    that large photos are scaled down only once.

    A sample that can't be decoded is replaced by another one, always the same, and `broken` is its
    index; else it is -1. With `replace_broken=False` its target says that it doesn't count.

    What is kept in memory, up to `cache_bytes`, are the decoded pictures; with `keep_pixels`, where
    preparing gives the same in each epoch, the prepared items.
    """

    lost_target: Any = None  # the target of a sample that doesn't count

    def __init__(
        self,
        samples: Sequence[Any],
        prepare: Callable[..., Any],
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
        self.reasons: dict[int, str] = {}  # of samples that this process could not decode
        self._kept: dict[int, Any] = {}  # tuples of uint8 arrays, or items

    def _decode(self, index: int) -> tuple[Image.Image, ...]:
        """The sample's pictures, the image first. Raises ValueError or OSError."""
        return (reduce_to(load_image(self.samples[index][0]), self.short_side),)

    def _prepare(
        self, pictures: tuple[Image.Image, ...], index: int, key: tuple[int, int], *, lost: bool
    ) -> tuple[Any, Any]:
        """Pixels and target of the sample `index`; a `lost` one's target must not count."""
        target = self.lost_target if lost else self.samples[index][1]
        return self.prepare(pictures[0], key), target

    def _kind(self, index: int) -> Hashable:
        """Samples of one kind may replace each other; others do if there is none."""
        return None

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, key: int | tuple[int, int]) -> tuple[Any, Any, int]:
        epoch, index = key if isinstance(key, tuple) else (0, key)
        if self.keep_pixels and index in self._kept:
            return self._kept[index]
        for candidate in self._candidates(index):
            pictures = self._pictures(candidate)
            if pictures is not None:
                break
        else:
            raise DataError("no image of this split can be decoded. Export the images again.")
        broken = -1 if candidate == index else index
        lost = broken >= 0 and not self.replace_broken
        item = *self._prepare(pictures, candidate, (epoch, index), lost=lost), broken
        if self.keep_pixels:
            self._keep(index, item, sum(getattr(part, "nbytes", 0) for part in item))
        return item

    def image(self, index: int) -> Image.Image | None:
        """The upright RGB image, reduced to `short_side`; None if it can't be decoded."""
        pictures = self._pictures(index)
        return None if pictures is None else pictures[0]

    def fill(self) -> None:
        """Decode as many samples as can be kept, several at a time, and keep no more afterwards.

        For loading processes, which share what was there when they started.
        """
        with ThreadPoolExecutor() as pool:
            todo = range(len(self))
            while todo and self.room > 0:
                list(pool.map(self.__getitem__ if self.keep_pixels else self.image, todo[:256]))
                todo = todo[256:]
        self.room = 0

    def _pictures(self, index: int) -> tuple[Image.Image, ...] | None:
        if index in self.reasons:
            return None
        if not self.keep_pixels and index in self._kept:
            return tuple(map(Image.fromarray, self._kept[index]))
        try:
            pictures = self._decode(index)
        except (ImageError, DataError, OSError) as error:
            self.reasons[index] = str(error)
            return None
        if not self.keep_pixels:
            arrays = tuple(map(np.asarray, pictures))
            self._keep(index, arrays, sum(array.nbytes for array in arrays))
        return pictures

    def _keep(self, index: int, what: Any, size: int) -> None:
        if size <= self.room and index not in self._kept:
            self.room -= size
            self._kept[index] = what

    def _candidates(self, index: int) -> Iterator[int]:
        """The index itself, then its replacements: first of its kind, from the index onward."""
        yield index
        others = [*range(index + 1, len(self)), *range(index)]
        kind = self._kind(index)
        yield from sorted(others, key=lambda i: self._kind(i) != kind)


def reduce_to(image: Image.Image, short_side: int | None) -> Image.Image:
    """The image with a short side of at most `short_side` [px]."""
    given = min(image.size)
    if short_side is None or given <= short_side:
        return image
    width, height = (max(1, round(side * short_side / given)) for side in image.size)
    return image.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=3.0)
