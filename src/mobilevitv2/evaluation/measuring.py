"""One pass over the chosen images: which can be read, how long it takes, and the page about it."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from PIL import Image

from mobilevitv2.errors import DataError, first_of
from mobilevitv2.evaluation.chosen import Progress
from mobilevitv2.images.reading import load_image
from mobilevitv2.predict.predictor import Predictor, Unreadable
from mobilevitv2.report.page import told_of
from mobilevitv2.tasks import TASKS


@dataclass(frozen=True)
class Measured:
    """What the results for all tasks share."""

    task: ClassVar[str]

    model: str
    data: str
    split: str
    count: int  # images
    images_per_second: float
    unreadable: dict[str, str] = field(default_factory=dict, kw_only=True)
    # ^ why an image was left out, by its path

    def to_dict(self) -> dict[str, Any]:
        """Plain values; None where undefined, as JSON can't hold nan."""
        return _plain(asdict(self))


@dataclass
class Pass:
    """Samples of a split seen once by a model; afterwards `facts` and `report` tell of it."""

    predictor: Predictor
    data: Any
    split: str
    samples: list[Any]
    batch_size: int | None
    progress: Progress | None
    count: int = 0  # images that were read
    seconds: float = 0.0

    def __post_init__(self) -> None:
        self.unreadable = {path: f"{path} {why}" for path, why in self.data.unreadable.items()}

    @property
    def images(self) -> Iterator[Any]:
        """The image of each sample."""
        return (sample[0] for sample in self.samples)

    def numbers_in_model(self) -> list[int]:
        """For each class of the data, the number of the model's class of the same name."""
        of_model, of_data = self.predictor.classes, self.data.classes
        if doubled := sorted({name for name in of_model if of_model.count(name) > 1}):
            names = first_of(map(repr, doubled))
            raise DataError(f"the model has several classes of one name: {names}.")
        only = {"data": {*of_data} - {*of_model}, "model": {*of_model} - {*of_data}}
        if differences := [
            f"{len(names)} only in the {where} ({first_of(map(repr, sorted(names)))})"
            for where, names in only.items()
            if names
        ]:
            hint = f"{TASKS[self.predictor.task].rename}; `mobilevitv2 info` lists the model's."
            if all(name.startswith("LABEL_") for name in of_model):
                hint = "The model's classes have no names: save it with id2label."
            raise DataError(f"the classes differ: {' and '.join(differences)}. {hint}")
        return [of_model.index(name) for name in of_data]

    def results(self, **options: Any) -> Iterator[tuple[int, Any]]:
        """The index of each image that can be read, and what the model says of it."""
        stream = self.predictor.stream(self.images, batch_size=self.batch_size, **options)
        for readable in self.readable([result] for result in stream):
            yield from readable.items()

    def readable(self, batches: Iterable[Sequence[Any]]) -> Iterator[dict[int, Any]]:
        """What each batch has for the images that can be read, by their indices.

        Raises DataError, at the end, where there are none.
        """
        started, seen = time.perf_counter(), 0
        for batch in batches:
            lost = {i: item for i, item in enumerate(batch, seen) if isinstance(item, Unreadable)}
            self.unreadable |= {item.source: item.reason for item in lost.values()}
            yield {i: item for i, item in enumerate(batch, seen) if i not in lost}
            seen += len(batch)
            self.count += len(batch) - len(lost)
            if self.progress is not None:
                self.progress(seen, len(self.samples))
        self.seconds = time.perf_counter() - started
        if not self.count:
            raise DataError(f"no image of the {self.split} split of {self.data.name} can be read.")

    def again(self, scores: Mapping[int, float]) -> Iterator[tuple[int, str, Image.Image, Any]]:
        """The worst, the middling and the best images by score, predicted once more.

        Each is an index, a path, the image and the model's result.
        """
        for index in told_of(scores):
            path = self.samples[index][0]
            yield index, str(path), load_image(path), self.predictor(path)

    @property
    def facts(self) -> dict[str, Any]:
        """The fields that the results for all tasks share."""
        return {
            "model": str(self.predictor.source or type(self.predictor.backend).__name__),
            "data": self.data.name,
            "split": self.split,
            "count": self.count,
            "images_per_second": self.count / self.seconds,
            "unreadable": self.unreadable,
        }

    def report(
        self, out: str | Path, *, settings: Mapping[str, str] | None = None, **shown: Any
    ) -> None:
        """Write the page into the folder `out`; `shown` is for the task's own part of it."""
        facts = self.facts
        told = {name: facts[name] for name in ("model", "data", "split")}
        TASKS[self.predictor.task].part("report").write(
            Path(out),
            history=[],
            classes=self.predictor.classes,
            title=f"{facts['model']} on {facts['data']}",
            settings={**told, **(settings or {})},
            timing={"seconds": self.seconds, "images per second": facts["images_per_second"]},
            **shown,
        )


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_plain(part) for part in value]
    return None if value != value else value  # nan is equal to nothing
