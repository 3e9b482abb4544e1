"""What quantization gains and costs: an int8 file beside the same export in fp32."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mobilevitv2.predict.backends.exported import ExportedBackend
from mobilevitv2.runtime.timing import interleaved
from mobilevitv2.tasks import task_named

ROUNDS = 20
POINT = 0.01  # of accuracy or agreement; a larger loss is worth a warning


@dataclass(frozen=True)
class Figures:
    """One file."""

    bytes: int
    ms: float
    """Median for one image, in its runtime on this machine."""
    agreement: float
    """Share of images, or a segmenter's pixels, with the fp32 file's first class, in [0, 1]; of
    detections, the share that both files have."""
    accuracy: float | None
    """Share of images that are right, if their folders are named after classes."""


@dataclass(frozen=True)
class Comparison:
    """The same model in both precisions, on the same images."""

    images: int
    fp32: Figures
    int8: Figures

    @property
    def warning(self) -> str | None:
        """What speaks against the int8 file, in a sentence."""
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
    fp32: ExportedBackend,
    int8: ExportedBackend,
    sizes: tuple[int, int],
    pixels: Sequence[np.ndarray],
    labels: Sequence[str] | None,
) -> Comparison:
    """Run both on prepared images, float32 [3, H, W]; `sizes` are the files' in bytes.

    `labels` are the names of the right classes.
    """
    both = {"fp32": fp32, "int8": int8}
    answers: dict[str, list[Any]]
    answers = {name: [file(array[None]) for array in pixels] for name, file in both.items()}
    times = interleaved({n: partial(file, pixels[0][None]) for n, file in both.items()}, ROUNDS)
    same = task_named(fp32.task).part("deploy").same
    figures = {}
    for name, size in zip(both, sizes, strict=True):
        pairs = zip(answers["fp32"], answers[name], strict=True)
        alike = np.concatenate([same(*pair, fp32.thresholds) for pair in pairs])
        agreement = float(alike.mean()) if len(alike) else 1.0
        accuracy = None
        if labels is not None:
            named = [fp32.classes[answer.first_classes().item()] for answer in answers[name]]
            accuracy = float(np.mean([a == b for a, b in zip(named, labels, strict=True)]))
        figures[name] = Figures(size, statistics.median(times[name]), agreement, accuracy)
    return Comparison(len(pixels), figures["fp32"], figures["int8"])


def labels_of(paths: Sequence[object], classes: Sequence[str]) -> list[str] | None:
    """The names of the images' folders, if all of them are classes."""
    names = [Path(p).parent.name if isinstance(p, str | Path) else "" for p in paths]
    return names if names and set(names) <= set(classes) else None
