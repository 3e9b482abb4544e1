"""Classes of a whole image, drawn as bars beneath it."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

from mobilevitv2.results import drawing
from mobilevitv2.results.drawing import INK, PAPER, percent

TRACK, STRONG, FAINT = "#2a2e37", "#2563eb", "#475569"
FONT = 0.035  # of the picture's width


class Bar(NamedTuple):
    """A class and its score in [0, 1], and whether it is emphasized."""

    label: str
    score: float
    strong: bool


def with_bars(picture: Image.Image, bars: Sequence[Bar]) -> Image.Image:
    """The RGB picture with a row for each bar beneath it, as a new image.

    A row is the name on a bar as long as its score, and the number. A small picture is enlarged.
    """
    picture = drawing.enlarged(picture)
    width = max(picture.width, drawing.SHORTEST_PICTURE)
    font_size = drawing.font_size_for(picture, FONT)
    font = ImageFont.load_default(size=font_size)
    gap, corner = font_size // 2, font_size // 4
    height = 2 * font_size
    sheet = Image.new("RGB", (width, len(bars) * (height + gap) + gap), PAPER)
    draw = ImageDraw.Draw(sheet)
    track = width - 3 * gap - math.ceil(draw.textlength("> 99.9 %", font=font))  # px of score 1
    for row, (label, score, strong) in enumerate(bars):
        top = gap + row * (height + gap)
        middle, bottom = top + height / 2, top + height - 1
        draw.rounded_rectangle((gap, top, gap + track, bottom), corner, fill=TRACK)
        if filled := round(track * score):
            bar = (gap, top, gap + filled, bottom)
            draw.rounded_rectangle(bar, min(corner, filled // 2), fill=STRONG if strong else FAINT)
        text = drawing.shortened(label, track - 2 * gap, draw, font)
        draw.text((2 * gap, middle), text, INK, font, anchor="lm")
        draw.text((width - gap, middle), percent(score), INK, font, anchor="rm")
    return drawing.stacked(picture, sheet)
