"""What quantization gains and costs: an int8 file beside the same export in fp32."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mobilevitv2.deploy.pictures import prepared
from mobilevitv2.images.reading import ImageSource
from mobilevitv2.predict.backends.exported import ExportedBackend
from mobilevitv2.processor import MobileViTImageProcessor
from mobilevitv2.runtime.targets import bytes_of
from mobilevitv2.runtime.timing import interleaved
from mobilevitv2.tasks import task_named

ROUNDS = 20
POINT = 0.01  # of accuracy or agreement; a larger loss is worth a warning


@dataclass(frozen=True)
class Figures:
    """One file."""

    bytes: int
    ms: float  # median for one image, in its runtime on this machine
    agreement: float  # share of images, pixels or detections as in the fp32 file, in [0, 1]
    accuracy: float | None  # share of right images, if their folders are named after classes


@dataclass(frozen=True)
class Comparison:
    """The same model in both precisions, on the same images."""

    images: int
    fp32: Figures
    int8: Figures

    @property
    def warning(self) -> str | None:
        """The int8 file's faults in a sentence; None without any."""
        faults = []
        if self.int8.ms > self.fp32.ms:
            faults.append(
                f"is slower here than fp32 ({self.int8.ms:.1f} ms against {self.fp32.ms:.1f})"
            )
        if self.lost > POINT:
            what = "agreement" if self.int8.accuracy is None else "accuracy"
            faults.append(f"loses {100 * self.lost:.1f} points of {what}")
        return f"The int8 file {' and '.join(faults)}." if faults else None

    @property
    def lost(self) -> float:
        """Lost accuracy, or without labels lost agreement, in [0, 1]."""
        if self.int8.accuracy is None or self.fp32.accuracy is None:
            return 1 - self.int8.agreement
        return self.fp32.accuracy - self.int8.accuracy


def compare(
    paths: Mapping[str, Path], processor: MobileViTImageProcessor, images: Sequence[ImageSource]
) -> Comparison:
    """Run the files `paths`, fp32 and int8, on the images that can be read."""
    files = {name: ExportedBackend(path, precision="fp32") for name, path in paths.items()}
    fp32 = files["fp32"]
    part = task_named(fp32.task).part("deploy")
    readable = [(i, array[None]) for i in images for array in prepared([i], processor, fp32.task)]
    folders = [Path(i).parent.name if isinstance(i, str | Path) else "" for i, _ in readable]
    labels = folders if part.CLASSIFIES and set(folders) <= set(fp32.classes) else None
    pixels = [array for _, array in readable]
    answers: dict[str, list[Any]] = {n: [file(a) for a in pixels] for n, file in files.items()}
    times = interleaved({n: partial(file, pixels[0]) for n, file in files.items()}, ROUNDS)
    figures = {}
    for name, path in paths.items():
        pairs = zip(answers["fp32"], answers[name], strict=True)
        alike = np.concatenate([part.same(*pair, fp32.facts) for pair in pairs])
        agreement = float(alike.mean()) if len(alike) else 1.0
        accuracy = None
        if labels is not None:
            named = [fp32.classes[answer.first_classes().item()] for answer in answers[name]]
            accuracy = float(np.mean([a == b for a, b in zip(named, labels, strict=True)]))
        median = statistics.median(times[name])
        figures[name] = Figures(bytes_of(path), median, agreement, accuracy)
    return Comparison(len(pixels), **figures)
