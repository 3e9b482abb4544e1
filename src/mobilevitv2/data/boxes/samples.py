"""The images of one split, with their boxes."""

from typing import Any

import numpy as np
from PIL import Image

from mobilevitv2.data.decoded import DecodedSamples, reduce_to
from mobilevitv2.images.reading import load_image
from mobilevitv2.scores.truth import Boxes


class BoxedImages(DecodedSamples):
    """`items[index]`, or `items[epoch, index]`, is (pixels, target, broken).

    `prepare(image, boxes, (epoch, index))` makes both of the upright RGB image and its boxes, in px
    of that image. Boxes and areas are reduced with their images.

    An image that can't be decoded is replaced by the next one and its boxes; with
    `replace_broken=False` its target is None. For the rest see `DecodedSamples`.
    """

    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(*given, **options)
        self._scales: dict[int, tuple[float, float]] = {}  # across and down, of reduced images

    def _decode(self, index: int) -> tuple[Image.Image, ...]:
        whole = load_image(self.samples[index].image)
        image = reduce_to(whole, self.short_side)
        if image.size != whole.size:
            self._scales[index] = image.width / whole.width, image.height / whole.height
        return (image,)

    def _prepare(
        self, pictures: tuple[Image.Image, ...], index: int, key: tuple[int, int], *, lost: bool
    ) -> tuple[Any, Any]:
        across, down = self._scales.get(index, (1.0, 1.0))
        labels, corners, areas, ignored = self.samples[index].boxes
        scale = np.array([across, down, across, down])
        boxes = Boxes(labels.copy(), corners * scale, areas * (across * down), ignored.copy())
        pixels, target = self.prepare(pictures[0], boxes, key)
        return pixels, None if lost else target
