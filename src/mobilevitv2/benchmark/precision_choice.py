"""The engine's best precision for a model: the fastest here that answers as fp32 does.

What bf16 and int8 cost depends on the model and the images, so both are measured on typical images.
"""

import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from mobilevitv2.errors import DataError
from mobilevitv2.images.finding import collect_images
from mobilevitv2.images.reading import ImageSource
from mobilevitv2.predict.backends.engine import EngineBackend, open_engine
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
    ms: float
    """Median for one image, without reading and preparing it."""
    good: bool
    """Whether it agrees well enough to be chosen."""

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

    `images` are a folder or pictures, better some hundred, as the model will see them. Each is
    computed in every precision that the processor has, in turn. Chosen is the fastest whose first
    class is fp32's on 99 % (bf16) or 98 % (int8) of them; int8 is not tried for detectors. Raises
    DataError where no image can be read, and what opening a bundle in the engine raises.
    """
    predictor = Predictor(source, runtime="native", threads=threads, precision="fp32")
    assert isinstance(predictor.backend, EngineBackend)
    if isinstance(images, str | Path):
        images = [found.source for found in collect_images([str(images)])]
    sources = list(images)
    tried = task_named(predictor.task).engine_precisions
    networks = {"fp32": predictor.backend} | {
        name: open_engine(predictor.backend.bundle, threads=threads, precision=name)
        for name in tried
        if name != "fp32" and instructions_for(name)
    }
    times: dict[str, list[float]] = {name: [] for name in networks}
    same: dict[str, list[np.ndarray]] = {name: [] for name in networks}
    arrays = chain.from_iterable(predictor.read_ahead(sources))
    for i, item in enumerate(arrays):
        if isinstance(item, Prepared):
            _compare(networks, item.pixels[None], times, same)
        if progress is not None:
            progress(i + 1, len(sources))
    if not times["fp32"]:
        raise DataError(f"none of the {len(sources)} images can be read.")
    rows = [
        _figures(network, times[name], np.concatenate(same[name]))
        for name, network in networks.items()
    ]
    rows.sort(key=lambda row: row.ms)
    return next(row.precision for row in rows if row.good), rows


def _compare(
    networks: dict[str, EngineBackend],
    pixels: np.ndarray,
    times: dict[str, list[float]],
    same: dict[str, list[np.ndarray]],
) -> None:
    """One image in every precision; the first of all runs twice, to warm up."""
    part, expected = task_named(networks["fp32"].task).part("predict"), None
    for name, network in networks.items():
        if not times[name]:
            network(pixels)
        start = time.perf_counter()
        answer = network(pixels)
        times[name].append(1e3 * (time.perf_counter() - start))
        expected = answer if expected is None else expected
        same[name].append(part.same(expected, answer, network.thresholds))


def _figures(network: EngineBackend, times: Sequence[float], same: np.ndarray) -> PrecisionFigures:
    precision = network.runtime.precision
    agreement = float(same.mean()) if len(same) else 1.0
    return PrecisionFigures(
        precision=precision,
        instructions=network.runtime.instructions,
        images=len(times),
        agreement=agreement,
        ms=statistics.median(times),
        good=agreement >= LEAST[precision],
    )
