"""What quantization gains and costs: an int8 file beside the same export in fp32."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from mobilevitv2.deploy.agreement import detections_of, has_partner
from mobilevitv2.predict.backends.exported import ExportedBackend
from mobilevitv2.runtime.timing import interleaved

ROUNDS = 20
POINT = 0.01  # of accuracy, or of agreement; a larger loss is said first


@dataclass(frozen=True)
class Figures:
    """One file."""

    bytes: int
    ms: float
    """Median of single images, in its runtime on this machine."""
    agreement: float
    """Share of images, of a segmenter of pixels, with the fp32 file's first class, in [0, 1]; of
    detections, the share that both files have."""
    accuracy: float | None
    """Share of images right, where their folders are named as classes."""


@dataclass(frozen=True)
class Comparison:
    """The same model in both precisions, on the same images."""

    images: int
    fp32: Figures
    int8: Figures

    @property
    def warning(self) -> str | None:
        """What speaks against the int8 file, in a sentence."""
        said = []
        if self.int8.ms > self.fp32.ms:
            said.append(
                f"is slower here than fp32 ({self.int8.ms:.1f} ms against {self.fp32.ms:.1f})"
            )
        if self.lost > POINT:
            what = "agreement" if self.int8.accuracy is None else "accuracy"
            said.append(f"loses {100 * self.lost:.1f} points of {what}")
        return f"The int8 file {' and '.join(said)}." if said else None

    @property
    def lost(self) -> float:
        """Accuracy lost, or where there are no labels, agreement; in [0, 1]."""
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

    `labels` are the names of the classes that are right.
    """
    both = {"fp32": fp32, "int8": int8}
    answers = {name: [file(array[None])[0] for array in pixels] for name, file in both.items()}
    detects = fp32.task == "detection"
    firsts = {} if detects else {n: _first_classes(found) for n, found in answers.items()}
    times = interleaved({n: partial(file, pixels[0][None]) for n, file in both.items()}, ROUNDS)
    found = {}
    for name, size in zip(both, sizes, strict=True):
        right = None
        if labels is not None:
            named = [fp32.classes[i] for i in firsts[name]]
            right = float(np.mean([a == b for a, b in zip(named, labels, strict=True)]))
        if detects:
            agreement = _same_boxes(answers["fp32"], answers[name], fp32.overlap)
        else:
            agreement = float((firsts[name] == firsts["fp32"]).mean())
        found[name] = Figures(size, statistics.median(times[name]), agreement, right)
    return Comparison(len(pixels), found["fp32"], found["int8"])


def _first_classes(answers: Sequence[np.ndarray]) -> np.ndarray:
    """Of logits [N] one class, of [N, h, w] one for each pixel; a mask [H, W] has them already."""
    return np.concatenate(
        [a.ravel() if a.ndim == 2 else np.atleast_1d(a.argmax(0)).ravel() for a in answers]
    )


def _same_boxes(first: Sequence[np.ndarray], second: Sequence[np.ndarray], overlap: float) -> float:
    """The share of detections that both have; 1 where there are none at all."""
    pairs = [[detections_of(a, overlap) for a in pair] for pair in zip(first, second, strict=True)]
    seen = np.concatenate([has_partner(*p) for a, b in pairs for p in ((a, b), (b, a))])
    return float(seen.mean()) if len(seen) else 1.0


def labels_of(paths: Sequence[object], classes: Sequence[str]) -> list[str] | None:
    """The names of the folders that the images are in, if all of them are classes."""
    names = [Path(p).parent.name if isinstance(p, str | Path) else "" for p in paths]
    return names if names and set(names) <= set(classes) else None
