"""How well a detector's boxes agree with the true ones: COCO's numbers, in px of the images."""

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mobilevitv2.data.boxes.opening import DetectionData
from mobilevitv2.errors import DataError
from mobilevitv2.evaluation.chosen import Chosen, Progress, match_classes
from mobilevitv2.files.writing import write_atomic
from mobilevitv2.images.reading import load_image
from mobilevitv2.predict.predictor import Predictor, Unreadable
from mobilevitv2.results import Detection
from mobilevitv2.results.suppression import LEAST_SCORE
from mobilevitv2.scores.detection import DetectionScores
from mobilevitv2.scores.truth import BoxedSample, Boxes

if TYPE_CHECKING:
    from mobilevitv2.report.boxed_panels import BoxedExample


@dataclass(frozen=True)
class BoxScore:
    """How well one class was found; nan where nothing defines it."""

    name: str
    ap: float
    """Average precision, averaged over ten overlaps from 0.5 to 0.95."""
    ap_50: float
    """Average precision where an overlap of 0.5 is enough."""
    boxes: int
    """True ones that count."""


@dataclass(frozen=True)
class DetectionEvaluation:
    """What `evaluate` found of a detector; shares are in [0, 1], nan where nothing defines them."""

    model: str
    data: str
    split: str
    count: int
    """Images."""
    summary: dict[str, float]
    """COCO's twelve numbers: map, map_50, map_75, map_small, mar_100 and so on."""
    classes: list[BoxScore]
    confusion: list[list[int]]
    """Boxes, [true][found], in the order of `classes`, which is the model's; the background last.
    Counted are boxes above the threshold at which the model shows them."""
    images_per_second: float
    unreadable: dict[str, str] = field(default_factory=dict)
    """Path of an image of the data that was left out, and a sentence that says why."""

    def to_dict(self) -> dict[str, Any]:
        """All of it in plain types; None for what nothing defines."""
        values = asdict(self)
        for row in (values["summary"], *values["classes"]):
            row |= {key: None for key, value in row.items() if value != value}  # nan
        return values


def evaluate(
    predictor: Predictor,
    chosen: Chosen,
    *,
    batch_size: int | None = None,
    report: str | Path | None = None,
    coco: str | Path | None = None,
    progress: Progress | None = None,
) -> DetectionEvaluation:
    """All detections with a score above 0.01 of chosen samples; see `evaluate`."""
    data: DetectionData = chosen.data
    samples: list[BoxedSample] = chosen.samples
    to_model = np.array(match_classes(predictor.classes, data.classes, predictor.task), np.int64)
    scores = DetectionScores(predictor.classes, threshold=predictor.options["threshold"])
    unreadable = {path: f"{path} {why}" for path, why in data.unreadable.items()}
    of_images: dict[int, float] = {}
    category_ids = [data.category_ids[i] for i in np.argsort(to_model)]  # in the model's order
    image_ids = _image_ids(data, samples)
    rows: list[dict[str, Any]] = []
    started = time.perf_counter()
    results = predictor.stream(
        (sample.image for sample in samples), threshold=LEAST_SCORE, batch_size=batch_size
    )
    for index, result in enumerate(results):
        if isinstance(result, Unreadable):
            unreadable[result.source] = result.reason
            continue
        assert isinstance(result, Detection)
        truth = _renumbered(samples[index].boxes, to_model)
        of_images[index] = scores.update(result.detections, truth, image=result.source)
        if coco is not None:
            rows += result.to_coco(image_ids[index], category_ids)
        if progress is not None:
            progress(index + 1, len(samples))
    seconds = time.perf_counter() - started
    if not of_images:
        raise DataError(f"no image of the {chosen.split} split of {data.name} can be read.")
    result = DetectionEvaluation(
        model=str(predictor.source or type(predictor.backend).__name__),
        data=data.name,
        split=chosen.split,
        count=len(of_images),
        summary=scores.summary,
        classes=[
            BoxScore(name, ap, ap_50, boxes)
            for name, ap, ap_50, boxes in zip(
                predictor.classes,
                scores.ap.tolist(),
                scores.ap_50.tolist(),
                _counts(samples, of_images, to_model, len(predictor.classes)),
                strict=True,
            )
        ],
        confusion=scores.confusion().tolist(),
        images_per_second=len(of_images) / seconds,
        unreadable=unreadable,
    )
    if coco is not None:
        Path(coco).parent.mkdir(parents=True, exist_ok=True)
        write_atomic(Path(coco), json.dumps(rows).encode())
    if report is not None:
        examples = list(_examples(predictor, samples, to_model, of_images))
        _report(Path(report), result, predictor, scores, examples, seconds)
    return result


def _image_ids(data: DetectionData, samples: list[BoxedSample]) -> list[int]:
    """The data's own numbers; counted from 1 where it has none, or one for two images."""
    own = [data.image_ids[image] for image, _ in samples if image in data.image_ids]
    return own if len(set(own)) == len(samples) else list(range(1, len(samples) + 1))


def _renumbered(boxes: Boxes, to_model: np.ndarray) -> Boxes:
    return boxes._replace(labels=to_model[boxes.labels])


def _counts(
    samples: list[BoxedSample], of_images: dict[int, float], to_model: np.ndarray, classes: int
) -> list[int]:
    counted = [samples[i].boxes for i in of_images]
    labels = np.concatenate([boxes.labels[~boxes.ignored] for boxes in counted])
    return np.bincount(to_model[labels], minlength=classes).tolist()


def _examples(
    predictor: Predictor,
    samples: list[BoxedSample],
    to_model: np.ndarray,
    of_images: dict[int, float],
) -> "Iterator[BoxedExample]":
    """The worst, the middling and the best images, predicted once more."""
    from mobilevitv2.report.boxed_panels import BoxedExample
    from mobilevitv2.report.page import told_of

    for index in told_of(of_images):
        path, boxes = samples[index]
        yield BoxedExample(
            name=str(path),
            image=load_image(path),
            truth=_renumbered(boxes, to_model),
            found=predictor(path).detections,
            f1=of_images[index],
        )


def _report(
    out: Path,
    result: DetectionEvaluation,
    predictor: Predictor,
    scores: DetectionScores,
    examples: "list[BoxedExample]",
    seconds: float,
) -> None:
    from mobilevitv2.report.detection import write_detection_report

    write_detection_report(
        out,
        history=[],
        classes=predictor.classes,
        colors=predictor.colors,
        scores=scores,
        examples=examples,
        title=f"{result.model} on {result.data}",
        settings={"model": result.model, "data": result.data, "split": result.split},
        timing={"seconds": seconds, "images per second": result.images_per_second},
    )
