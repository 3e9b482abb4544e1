"""One class for each image."""

import numpy as np
from PIL import Image

from mobilevitv2.class_names import ClassFacts
from mobilevitv2.images.reading import ImageSource, load_image
from mobilevitv2.predict.answers import Answer, Logits, TopK
from mobilevitv2.predict.predictor import Predictor, Prepared
from mobilevitv2.results.classification import Classification

DEFAULTS = {"top_k": 5}


def pixels_of(predictor: Predictor, image: ImageSource) -> tuple[np.ndarray, tuple[int, int]]:
    """A crop, prepared by the engine if that gives the same, and its height and width."""
    backend, processor = predictor.backend, predictor.processor
    if backend.prepares_as(processor):
        picture = load_image(image)
        width, height = processor.target_size(*picture.size)
        limit = Image.MAX_IMAGE_PIXELS
        if limit is None or width * height <= limit:  # else the processor raises
            pixels = backend.prepare(picture)
            return pixels, pixels.shape[1:]
    pixels = processor(image).pixel_values[0]
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
