"""The images of one split, with their classes."""

from collections.abc import Hashable

from mobilevitv2.data.decoded import DecodedSamples

NO_TARGET = -1


class ImageSet(DecodedSamples):
    """`images[index]`, or `images[epoch, index]`, is (pixels, target, broken).

    `prepare(image, (epoch, index))` makes a sample's pixels of its upright RGB image; the index is
    the one asked for, and the epoch 0 where none is given. The target is the class number.

    An image that can't be decoded is replaced by the next one of its class; with
    `replace_broken=False` its target is `NO_TARGET`. For the rest see `DecodedSamples`.
    """

    lost_target = NO_TARGET

    def _kind(self, index: int) -> Hashable:
        return self.samples[index][1]
