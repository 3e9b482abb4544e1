"""The images of one split, with their labels."""

from collections.abc import Iterator, Sequence
from typing import Any

from PIL import Image

from mobilevitv2.data.classes.opening import Sample
from mobilevitv2.data.decoded import DecodedSamples, reduce_to
from mobilevitv2.images.reading import load_image

NO_TARGET = -1


class ImageSet(DecodedSamples):
    """Samples to tensors: `images[index]`, or `images[epoch, index]`, is (pixels, target, broken).

    `prepare(image, (epoch, index))` makes a sample's pixels of its upright RGB image; the index is
    the one asked for, and the epoch 0 where none is given. Images whose short side is longer than
    `short_side` are reduced to it first, so that large photos are scaled down only once.

    An image that can't be decoded is replaced by the next one of its class; with
    `replace_broken=False` its target is `NO_TARGET`. For the rest see `DecodedSamples`.
    """

    samples: Sequence[Sample]

    def _decode(self, index: int) -> tuple[Image.Image, ...]:
        return (reduce_to(load_image(self.samples[index][0]), self.short_side),)

    def _prepare(
        self, pictures: tuple[Image.Image, ...], index: int, key: tuple[int, int], *, lost: bool
    ) -> tuple[Any, int]:
        target = NO_TARGET if lost else self.samples[index][1]
        return self.prepare(pictures[0], key), target

    def _candidates(self, index: int) -> Iterator[int]:
        """The index itself, then the others: of its class, the rest; each from the index onward."""
        yield index
        others = [*range(index + 1, len(self)), *range(index)]
        target = self.samples[index][1]
        yield from sorted(others, key=lambda i: self.samples[i][1] != target)
