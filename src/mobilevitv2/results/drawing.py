"""How results are drawn: on which picture, how large, in which letters, and where it is written."""

import math
import os
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from mobilevitv2.files.writing import write_atomic
from mobilevitv2.images.reading import load_image

SHORTEST_PICTURE = 320  # px; smaller ones are drawn enlarged, so that there is something to see
SMALLEST_FONT = 14  # px
PAPER, INK = "#16181d", "#ffffff"


def percent(score: float) -> str:
    """A probability for people: `93.1 %`; never rounded to a certainty that it is not."""
    rounded = f"{100 * score:.1f}"
    if rounded == "100.0" and score < 1:
        return "> 99.9 %"
    return "< 0.1 %" if rounded == "0.0" and score > 0 else f"{rounded} %"


def picture_for(given: Any, kept: Image.Image | None, source: str | None) -> Image.Image:
    """The RGB picture to draw on: the one given, else the one predicted from, else its file."""
    chosen = next((image for image in (given, kept, source) if image is not None), None)
    if chosen is None:
        raise ValueError("This prediction came without its image. Give it: draw(image).")
    return load_image(chosen)


def enlargement(picture: Image.Image) -> int:
    """How many pixels wide each pixel of the picture is drawn."""
    return math.ceil(SHORTEST_PICTURE / max(picture.size))


def enlarged(picture: Image.Image) -> Image.Image:
    """The picture, as large as it is drawn."""
    scale = enlargement(picture)
    if scale == 1:
        return picture
    tiny = max(picture.size) < 64  # its pixels are what there is to see
    smooth = Image.Resampling.NEAREST if tiny else Image.Resampling.BICUBIC
    return picture.resize((picture.width * scale, picture.height * scale), smooth)


def font_size_for(picture: Image.Image, share: float) -> int:
    """Letters of this share of the width, in px, but not of a strip that is long and low."""
    width = max(picture.width, SHORTEST_PICTURE)
    return max(SMALLEST_FONT, round(share * min(width, 1.5 * picture.height)))


def stacked(picture: Image.Image, rows: Image.Image) -> Image.Image:
    """The picture, centered, with rows of text beneath it that are as wide or wider."""
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
    """The path, where the picture now is, whole; its folder is made."""
    path, data = Path(path), BytesIO()
    data.name = path.name  # whose suffix says the format
    picture.save(data)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, data.getvalue())
    return path
