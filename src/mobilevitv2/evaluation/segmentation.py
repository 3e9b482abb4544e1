"""How well a segmenter's masks agree with the true ones, at the size of the true ones."""

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mobilevitv2.data.masks.classes import FROM_VALUES
from mobilevitv2.data.masks.opening import IGNORED, SegmentationData
from mobilevitv2.errors import DataError
from mobilevitv2.evaluation.chosen import Chosen, Progress, match_classes
from mobilevitv2.images.reading import load_image
from mobilevitv2.predict.predictor import Predictor, Unreadable
from mobilevitv2.results import Segmentation
from mobilevitv2.scores.segmentation import SegmentationScores

if TYPE_CHECKING:
    from mobilevitv2.class_names import Color
    from mobilevitv2.report.masked_panels import Example


@dataclass(frozen=True)
class MaskScore:
    """How well one class was found; nan where nothing defines it."""

    name: str
    iou: float
    accuracy: float
    """Of the pixels that are of this class, the share taken for it."""
    share: float
    """Of the true pixels that count, those of this class."""


@dataclass(frozen=True)
class SegmentationEvaluation:
    """What `evaluate` found of a segmenter; shares are in [0, 1]."""

    model: str
    data: str
    split: str
    count: int
    """Images."""
    miou: float
    """Mean intersection over union, over the classes that occur."""
    pixel_accuracy: float
    mean_class_accuracy: float
    classes: list[MaskScore]
    confusion: list[list[int]]
    """Pixels, [true][predicted], in the order of `classes`, which is the model's."""
    images_per_second: float
    unreadable: dict[str, str] = field(default_factory=dict)
    """Path of an image of the data that was left out, and a sentence that says why."""

    def to_dict(self) -> dict[str, Any]:
        """All of it in plain types; None for what nothing defines."""
        values = asdict(self)
        for row in values["classes"]:
            row |= {key: None for key, value in row.items() if value != value}  # nan
        return values


def evaluate_segmenter(
    predictor: Predictor,
    chosen: Chosen,
    *,
    batch_size: int | None = None,
    report: str | Path | None = None,
    progress: Progress | None = None,
) -> SegmentationEvaluation:
    """Counts that grow image by image, at the size of the masks; see `evaluate`.

    Memory does not grow with the number of images, but for 8 bytes an image for the report.
    """
    data: SegmentationData = chosen.data
    to_model = np.full(256, IGNORED, np.uint8)
    to_model[: len(data.classes)] = _numbers_in_model(predictor.classes, data)
    scores = SegmentationScores(len(predictor.classes), IGNORED)
    unreadable = {path: f"{path} {why}" for path, why in data.unreadable.items()}
    of_images: dict[int, float] = {}
    started = time.perf_counter()
    results = predictor.stream((image for image, _ in chosen.samples), batch_size=batch_size)
    for index, result in enumerate(results):
        if isinstance(result, Unreadable):
            unreadable[result.source] = result.reason
            continue
        assert isinstance(result, Segmentation)
        truth = to_model[data.read_mask(chosen.samples[index][1])]
        of_images[index] = scores.update(result.mask, truth)
        if progress is not None:
            progress(index + 1, len(chosen.samples))
    seconds = time.perf_counter() - started
    if not of_images:
        raise DataError(f"no image of the {chosen.split} split of {data.name} can be read.")
    columns = (scores.iou, scores.class_accuracy, scores.pixel_shares)
    rows = zip(predictor.classes, *(column.tolist() for column in columns), strict=True)
    result = SegmentationEvaluation(
        model=str(predictor.source or type(predictor.network).__name__),
        data=data.name,
        split=chosen.split,
        count=len(of_images),
        miou=scores.miou,
        pixel_accuracy=scores.pixel_accuracy,
        mean_class_accuracy=scores.mean_class_accuracy,
        classes=[MaskScore(*row) for row in rows],
        confusion=scores.confusion.tolist(),
        images_per_second=len(of_images) / seconds,
        unreadable=unreadable,
    )
    if report is not None:
        chosen_ones = _examples(predictor, chosen, to_model, of_images)
        colors = predictor.colors
        _report(Path(report), result, colors, scores, list(chosen_ones), seconds)
    return result


def _numbers_in_model(of_model: list[str], data: SegmentationData) -> list[int]:
    """For each class of the data its number in the model: by name, or, without names, the same."""
    if data.origin == FROM_VALUES and len(data.classes) <= len(of_model):
        return list(range(len(data.classes)))
    return match_classes(of_model, data.classes, "segmentation")


def _examples(
    predictor: Predictor, chosen: Chosen, to_model: np.ndarray, of_images: dict[int, float]
) -> "Iterator[Example]":
    """The worst, the middling and the best images, predicted once more."""
    from mobilevitv2.report.masked_panels import Example
    from mobilevitv2.report.page import told_of

    for index in told_of(of_images):
        path, mask = chosen.samples[index]
        result = predictor(path)
        yield Example(
            name=str(path),
            image=load_image(path),
            truth=to_model[chosen.data.read_mask(mask)],
            predicted=result.mask,
            certainty=result.certainty,
            miou=of_images[index],
        )


def _report(
    out: Path,
    result: SegmentationEvaluation,
    colors: "list[Color]",
    scores: SegmentationScores,
    examples: "list[Example]",
    seconds: float,
) -> None:
    from mobilevitv2.report.segmentation import write_segmentation_report

    names = [score.name for score in result.classes]
    write_segmentation_report(
        out,
        history=[],
        classes=names,
        colors=colors,
        scores=scores,
        examples=examples,
        title=f"{result.model} on {result.data}",
        settings={"model": result.model, "data": result.data, "split": result.split},
        timing={"seconds": seconds, "images per second": result.images_per_second},
    )
