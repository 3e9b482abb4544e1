"""The engine's best precision for a model: the fastest here that answers as fp32 does.

What bf16 and int8 cost depends on the model and the images, so both are measured on typical images.
"""

import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from mobilevitv2.errors import DataError
from mobilevitv2.images.finding import collect_images
from mobilevitv2.images.reading import ImageSource
from mobilevitv2.predict.answers import Answer
from mobilevitv2.predict.backends.engine import EngineBackend
from mobilevitv2.predict.predictor import Predictor, Prepared
from mobilevitv2.runtime.native import instructions_for
from mobilevitv2.tasks import task_named

LEAST = {"fp32": 1.0, "bf16": 0.99, "int8": 0.98}  # share of first classes that are fp32's


@dataclass(frozen=True)
class PrecisionFigures:
    """One precision of the engine, on all the images."""

    precision: str
    instructions: str
    images: int
    agreement: float
    """Share of images, of a segmenter's pixels, or of a detector's anchors that see something, with
    fp32's first class, in [0, 1]."""
    ms: float  # median for one image, without reading and preparing it
    good: bool  # whether it agrees well enough to be chosen

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def choose_precision(
    source: str | Path,
    images: str | Path | Iterable[ImageSource],
    threads: int | None = None,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[str, list[PrecisionFigures]]:
    """The precision to open a bundle with on this machine, and what that rests on.

    `images` are a folder or images such as the model will see, ideally some hundred. Each is
    computed in every precision that the processor has, in turn. The fastest is chosen whose first
    class is fp32's on 99 % (bf16) or 98 % (int8) of them; int8 isn't tried for detectors. Raises
    DataError if no image can be read, and whatever opening a bundle in the engine raises.
    """
    predictor = Predictor(source, runtime="native", threads=threads, precision="fp32")
    assert isinstance(predictor.backend, EngineBackend)
    if isinstance(images, str | Path):
        images = [found.source for found in collect_images([str(images)])]
    sources = list(images)
    task = task_named(predictor.task)
    networks = {"fp32": predictor.backend} | {
        name: EngineBackend(predictor.backend.bundle, threads=threads, precision=name)
        for name in task.engine_precisions
        if name != "fp32" and instructions_for(name)
    }
    is_same, facts = task.part("predict").same, predictor.backend.facts
    times: dict[str, list[float]] = {name: [] for name in networks}
    same: dict[str, list[np.ndarray]] = {name: [] for name in networks}
    for i, item in enumerate(chain.from_iterable(predictor.read_ahead(sources))):
        if isinstance(item, Prepared):
            answers: dict[str, Answer] = {}
            for name, network in networks.items():  # fp32 is the first
                if not times[name]:
                    network(item.pixels[None])  # to warm up
                start = time.perf_counter()
                answers[name] = network(item.pixels[None])
                times[name].append(1e3 * (time.perf_counter() - start))
                same[name].append(is_same(answers["fp32"], answers[name], facts))
        if progress is not None:
            progress(i + 1, len(sources))
    if not times["fp32"]:
        raise DataError(f"none of the {len(sources)} images can be read.")
    rows = []
    for name, network in networks.items():
        alike = np.concatenate(same[name])
        agreement = float(alike.mean()) if len(alike) else 1.0
        instructions, ms = network.runtime.instructions, statistics.median(times[name])
        good = agreement >= LEAST[name]
        rows.append(PrecisionFigures(name, instructions, len(times[name]), agreement, ms, good))
    rows.sort(key=lambda row: row.ms)
    return next(row.precision for row in rows if row.good), rows
