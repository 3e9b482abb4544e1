"""One class for each image."""

import numpy as np

from mobilevitv2.class_names import ClassFacts
from mobilevitv2.images.reading import ImageSource
from mobilevitv2.predict.answers import Answer, Logits, TopK
from mobilevitv2.predict.predictor import Predictor, Prepared
from mobilevitv2.results.classification import Classification

DEFAULTS = {"top_k": 5}


def pixels_of(predictor: Predictor, image: ImageSource) -> tuple[np.ndarray, tuple[int, int]]:
    """A crop, prepared by the backend if it can, and its height and width."""
    pixels = predictor.backend.prepare(image, predictor.processor)
    if pixels is None:
        pixels = predictor.processor(image).pixel_values[0]
    return pixels, pixels.shape[1:]


def answers(predictor: Predictor, pixels: list[np.ndarray]) -> list[Answer]:
    """One for each image, computed as a batch if all have one size."""
    if len({array.shape for array in pixels}) > 1:  # the processor doesn't crop
        return [predictor.answer(array[None])[0] for array in pixels]
    together = predictor.answer(np.stack(pixels))
    return [together[i] for i in range(len(pixels))]


def same(first: Answer, second: Answer, _: ClassFacts) -> np.ndarray:
    """Whether the images, or pixels, have the same first class in both answers, bool [n]."""
    return first.first_classes() == second.first_classes()


def result(predictor: Predictor, answer: Answer, item: Prepared, *, top_k: int) -> Classification:
    """The best classes of one image."""
    if isinstance(answer, TopK):
        labels = [predictor.classes[number] for number in answer.classes[:top_k].tolist()]
        scores = answer.scores[:top_k].tolist()
        return Classification(labels, scores, item.source, item.image)
    assert isinstance(answer, Logits)
    return Classification.from_logits(
        answer.logits, predictor.id2label, top_k, source=item.source, image=item.image
    )
