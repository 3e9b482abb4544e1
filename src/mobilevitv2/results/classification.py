"""The most probable classes of a whole image."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from PIL import Image

from mobilevitv2.results.drawing import percent
from mobilevitv2.results.probabilities import checked_logits, softmax
from mobilevitv2.results.result import ImageResult


@dataclass(frozen=True)
class Classification(ImageResult):
    """The most probable classes of one image, best first; `scores` are probabilities in [0, 1].

    The probabilities are over all classes, so those of the few kept here sum to at most 1.
    """

    labels: list[str]
    scores: list[float]
    source: str | None = None
    image: Image.Image | None = field(default=None, repr=False, compare=False)

    @classmethod
    def from_logits(
        cls,
        logits: np.ndarray,
        id2label: Mapping[int, str],
        top_k: int = 5,
        *,
        source: str | os.PathLike | None = None,
        image: Image.Image | None = None,
    ) -> Self:
        """From one image's logits [classes]; equal scores stay in the order of their classes.

        Raises ValueError if logits aren't finite or don't match the names.
        """
        probabilities = softmax(checked_logits(logits, id2label))
        if top_k < 1:
            raise ValueError(f"top_k must be at least 1, not {top_k}.")
        best = np.argsort(-probabilities, kind="stable")[:top_k]
        return cls(
            labels=[id2label[int(index)] for index in best],
            scores=[float(probabilities[index]) for index in best],
            source=None if source is None else os.fspath(source),
            image=image,
        )

    @property
    def label(self) -> str:
        """The most probable class."""
        return self.labels[0]

    @property
    def score(self) -> float:
        """The probability of `label`, in [0, 1]."""
        return self.scores[0]

    def __str__(self) -> str:
        return f"{self.label} {percent(self.score)}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values: source, label, score, labels, scores."""
        return {
            "source": self.source,
            "label": self.label,
            "score": self.score,
            "labels": list(self.labels),
            "scores": list(self.scores),
        }

    def pairs(self) -> list[tuple[str, float]]:
        return list(zip(self.labels, self.scores, strict=True))

    @classmethod
    def csv_header(cls, classes: Sequence[str], top_k: int) -> list[str]:
        ranks = range(2, min(top_k, len(classes)) + 1)
        others = [f"{name}_{rank}" for rank in ranks for name in ("label", "score")]
        return ["image", "label", "score", *others]

    def csv_rows(self) -> list[list[Any]]:
        return [[self.source, *(cell for pair in self.pairs() for cell in pair)]]
