"""A class for each pixel."""

from typing import Any

import numpy as np

from mobilevitv2.images.reading import ImageSource, load_image
from mobilevitv2.predict.answers import Answer, PixelClasses, PixelLogits
from mobilevitv2.predict.classification import same
from mobilevitv2.predict.predictor import Predictor, Prepared
from mobilevitv2.results.label_maps import label_map, nearest
from mobilevitv2.results.segmentation import Segmentation

__all__ = ["DEFAULTS", "answers", "pixels_of", "result", "same"]

DEFAULTS: dict[str, Any] = {}


def pixels_of(predictor: Predictor, image: ImageSource) -> tuple[np.ndarray, tuple[int, int]]:
    """The whole image, and its height and width."""
    picture = load_image(image)
    pixels = predictor.processor.fitted(picture.size)(picture).pixel_values[0]
    return pixels, (picture.height, picture.width)


def answers(predictor: Predictor, pixels: list[np.ndarray]) -> list[Answer]:
    """One for each image, averaged over its views."""
    if not predictor.views.average:
        return [predictor.answer(array[None])[0] for array in pixels]

    def scores(batch: np.ndarray) -> np.ndarray:
        return predictor.answer(batch).arrays[0]  # logits: `Predictor` refuses views of others

    return [PixelLogits(predictor.views(scores, array)) for array in pixels]


def result(predictor: Predictor, answer: Answer, item: Prepared) -> Segmentation:
    """A mask of the image's own size."""
    if isinstance(answer, PixelClasses):
        mask, certainty = nearest(answer.classes, item.size), None
    else:
        assert isinstance(answer, PixelLogits)
        mask, certainty = label_map(answer.logits, item.size, certainty=True)
    return Segmentation(
        mask=mask,
        classes=predictor.classes,
        colors=predictor.colors,
        source=item.source,
        image=item.picture,
        certainty=certainty,
    )
