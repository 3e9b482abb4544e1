"""All the classes that an image shows, each decided by itself."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self

import numpy as np
from PIL import Image

from mobilevitv2.results.drawing import Bar, percent
from mobilevitv2.results.probabilities import checked_logits, sigmoid
from mobilevitv2.results.result import ImageResult

RUNNERS_UP = 3  # classes below their thresholds that are drawn


@dataclass(frozen=True)
class MultiLabel(ImageResult):
    """The classes in one image: all whose probability is above their threshold.

    `all_scores` and `thresholds`, in [0, 1], are in the order of `classes`. Raises ValueError if
    they don't match.
    """

    classes: list[str]
    all_scores: list[float]
    thresholds: list[float]
    source: str | None = None
    image: Image.Image | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        counts = len(self.classes), len(self.all_scores), len(self.thresholds)
        if len(set(counts)) > 1:
            raise ValueError("There are {} classes, {} scores and {} thresholds.".format(*counts))
        if not np.isfinite([*self.all_scores, *self.thresholds]).all():
            raise ValueError("The scores or thresholds hold NaN or infinity.")

    @classmethod
    def from_logits(
        cls,
        logits: np.ndarray,
        id2label: Mapping[int, str],
        thresholds: Sequence[float] | float = 0.5,
        *,
        source: str | os.PathLike | None = None,
        image: Image.Image | None = None,
    ) -> Self:
        """From one image's logits [classes], and thresholds [classes] or one for all.

        Raises ValueError if logits aren't finite or don't match the names or thresholds.
        """
        scores = sigmoid(checked_logits(logits, id2label))
        each = np.full(len(scores), thresholds) if np.isscalar(thresholds) else thresholds
        return cls(
            classes=[id2label[number] for number in range(len(scores))],
            all_scores=scores.tolist(),
            thresholds=np.asarray(each, np.float64).tolist(),
            source=None if source is None else os.fspath(source),
            image=image,
        )

    @cached_property
    def _ranked(self) -> list[Bar]:
        """All classes: those above their thresholds, then the others, each best first."""
        columns = zip(self.classes, self.all_scores, self.thresholds, strict=True)
        bars = [Bar(name, score, score > threshold) for name, score, threshold in columns]
        return sorted(bars, key=lambda bar: (not bar.strong, -bar.score))

    @property
    def labels(self) -> list[str]:
        """The classes above their thresholds, most probable first."""
        return [label for label, _ in self.pairs()]

    @property
    def scores(self) -> list[float]:
        """The probabilities of `labels`."""
        return [score for _, score in self.pairs()]

    @property
    def label(self) -> str:
        """The first of `labels`; empty if there are none."""
        return next(iter(self.labels), "")

    @property
    def score(self) -> float:
        """The probability of `label`; 0 if there is none."""
        return next(iter(self.scores), 0.0)

    def __str__(self) -> str:
        named = (f"{label} {percent(score, 0)}" for label, score in self.pairs())
        return ", ".join(named) or "nothing"

    def to_dict(self) -> dict[str, Any]:
        """Plain values: source, labels, scores, and all: the probability of every class."""
        return {
            "source": self.source,
            "labels": self.labels,
            "scores": self.scores,
            "all": dict(zip(self.classes, self.all_scores, strict=True)),
        }

    def pairs(self) -> list[tuple[str, float]]:
        return [(label, score) for label, score, strong in self._ranked if strong]

    def bars(self) -> list[Bar]:
        """The classes above their thresholds, and the best few of those below."""
        return self._ranked[: len(self.pairs()) + RUNNERS_UP]

    @classmethod
    def csv_header(cls, classes: Sequence[str], top_k: int) -> list[str]:
        return ["image", "labels", *classes]

    def csv_rows(self) -> list[list[Any]]:
        return [[self.source, ";".join(self.labels), *self.all_scores]]
