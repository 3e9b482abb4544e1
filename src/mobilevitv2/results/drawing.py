"""How results are drawn and written: how large, in which letters, and scores as bars."""

import math
import os
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image, ImageDraw, ImageFont

from mobilevitv2.files.writing import write_atomic

SHORTEST_PICTURE = 320  # px; smaller ones are drawn enlarged, so that there is something to see
SMALLEST_FONT = 14  # px
PAPER, INK = "#16181d", "#ffffff"
TRACK, STRONG, FAINT = "#2a2e37", "#2563eb", "#475569"  # of bars
BAR_FONT = 0.035  # of the picture's width


def percent(score: float, digits: int = 1) -> str:
    """A probability for people: `93.1 %`; never rounded to a certainty that it isn't."""
    rounded, step = f"{100 * score:.{digits}f}", 10**-digits
    if score < 1 and float(rounded) == 100:
        return f"> {100 - step:g} %"
    return f"< {step:g} %" if score > 0 and float(rounded) == 0 else f"{rounded} %"


def enlargement(picture: Image.Image) -> int:
    """How many times as large the picture is drawn."""
    return math.ceil(SHORTEST_PICTURE / max(picture.size))


def enlarged(picture: Image.Image) -> Image.Image:
    """The picture at the size at which it is drawn."""
    scale = enlargement(picture)
    if scale == 1:
        return picture
    tiny = max(picture.size) < 64  # single pixels should stay visible
    smooth = Image.Resampling.NEAREST if tiny else Image.Resampling.BICUBIC
    return picture.resize((picture.width * scale, picture.height * scale), smooth)


def font_size_for(picture: Image.Image, share: float) -> int:
    """px: this share of the width, less for a long and low picture."""
    width = max(picture.width, SHORTEST_PICTURE)
    return max(SMALLEST_FONT, round(share * min(width, 1.5 * picture.height)))


def stacked(picture: Image.Image, rows: Image.Image) -> Image.Image:
    """The picture, centered above rows of text that are at least as wide."""
    sheet = Image.new("RGB", (rows.width, picture.height + rows.height), PAPER)
    sheet.paste(picture, ((rows.width - picture.width) // 2, 0))
    sheet.paste(rows, (0, picture.height))
    return sheet


def shortened(text: str, width: float, draw: ImageDraw.ImageDraw, font: Any) -> str:
    """The text on one line, cut to this many px."""
    text = " ".join(text.split())  # a line break can't be measured
    if draw.textlength(text, font=font) <= width:
        return text
    while text and draw.textlength(f"{text}...", font=font) > width:
        text = text[:-1]
    return f"{text.rstrip()}..."


def written(picture: Image.Image, path: str | os.PathLike) -> Path:
    """The path, after the picture was written there, whole; makes its folder."""
    path, data = Path(path), BytesIO()
    data.name = path.name  # its suffix sets the format
    picture.save(data)
    write_atomic(path, data.getvalue())
    return path


class Bar(NamedTuple):
    """A class and its score in [0, 1], and whether it is emphasized."""

    label: str
    score: float
    strong: bool


def with_bars(picture: Image.Image, bars: Sequence[Bar]) -> Image.Image:
    """The RGB picture with a row for each bar beneath it, as a new image.

    A row is the name on a bar as long as its score, and the number. A small picture is enlarged.
    """
    picture = enlarged(picture)
    width = max(picture.width, SHORTEST_PICTURE)
    font_size = font_size_for(picture, BAR_FONT)
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
        text = shortened(label, track - 2 * gap, draw, font)
        draw.text((2 * gap, middle), text, INK, font, anchor="lm")
        draw.text((width - gap, middle), percent(score), INK, font, anchor="rm")
    return stacked(picture, sheet)
