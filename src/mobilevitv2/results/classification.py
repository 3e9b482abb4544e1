"""The classes of a whole image, drawn as a bar for each beneath the picture."""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mobilevitv2.errors import DIVERGED
from mobilevitv2.results import drawing
from mobilevitv2.results.drawing import INK, PAPER, percent

TRACK, BAR, FAINT_BAR = "#2a2e37", "#2563eb", "#475569"
FONT = 0.035  # of the picture's width


@dataclass(frozen=True)
class Classification:
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
        """From one image's logits [classes]; equal scores stand in the order of their classes.

        Raises ValueError for logits that are no finite numbers or don't match the names.
        """
        logits = np.asarray(logits, dtype=np.float64)
        if logits.ndim != 1 or logits.size == 0:
            raise ValueError(f"Logits of one image have shape [classes], not {logits.shape}.")
        if set(id2label) != set(range(logits.size)):
            raise ValueError(
                f"There are {logits.size} logits, but id2label names {len(id2label)} classes: it "
                f"needs each of the numbers 0..{logits.size - 1}."
            )
        if not np.isfinite(logits).all():
            raise ValueError(f"The logits {DIVERGED}")
        if top_k < 1:
            raise ValueError(f"top_k is at least 1, not {top_k}.")
        weights = np.exp(logits - logits.max())
        probabilities = weights / weights.sum()
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

    def to_json(self) -> str:
        """`to_dict` as one line of JSON."""
        return json.dumps(self.to_dict(), ensure_ascii=False)

    def draw(self, image: Any = None) -> Image.Image:
        """The picture with a bar for each class beneath it, as a new RGB image.

        Without `image` (whatever `load_image` takes) it is the one predicted from, or its file.
        """
        picture = drawing.enlarged(drawing.picture_for(image, self.image, self.source))
        width = max(picture.width, drawing.SHORTEST_PICTURE)
        font_size = drawing.font_size_for(picture, FONT)
        return drawing.stacked(picture, _score_rows(self.labels, self.scores, width, font_size))

    def save(self, path: str | os.PathLike, image: Any = None) -> Path:
        """Draw, and write the picture; the suffix says the format, as .png. Returns the path."""
        return drawing.written(self.draw(image), path)

    def show(self, image: Any = None) -> None:
        """Draw, and open the picture in the desktop's viewer or the notebook."""
        self.draw(image).show(title=str(self))


def _score_rows(labels: list[str], scores: list[float], width: int, font_size: int) -> Image.Image:
    """A row for each class: its name on a bar as long as its score, and the number."""
    font = ImageFont.load_default(size=font_size)
    gap = font_size // 2
    height = 2 * font_size
    sheet = Image.new("RGB", (width, len(labels) * (height + gap) + gap), PAPER)
    draw = ImageDraw.Draw(sheet)
    number_width = math.ceil(draw.textlength("> 99.9 %", font=font))
    track = width - 3 * gap - number_width  # px that a score of 1 fills
    for row, (label, score) in enumerate(zip(labels, scores, strict=True)):
        top = gap + row * (height + gap)
        middle = top + height / 2
        corner = font_size // 4
        box = (gap, top, gap + track, top + height - 1)
        draw.rounded_rectangle(box, corner, fill=TRACK)
        filled = round(track * score)
        if filled:
            bar = (gap, top, gap + filled, box[3])
            draw.rounded_rectangle(bar, min(corner, filled // 2), fill=FAINT_BAR if row else BAR)
        text = drawing.shortened(label, track - 2 * gap, draw, font)
        draw.text((2 * gap, middle), text, INK, font, anchor="lm")
        draw.text((width - gap, middle), percent(score), INK, font, anchor="rm")
    return sheet
