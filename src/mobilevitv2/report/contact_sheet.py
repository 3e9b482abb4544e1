"""Many pictures on one sheet: rows of tiles with words below, and a legend of colors above."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

from mobilevitv2.class_names import Color
from mobilevitv2.results.drawing import INK, PAPER, shortened, written

WIDTH = 2000  # px, about that of the sheet
SIDE = 480  # px, the longest of a picture
SMALL = 320  # px; smaller pictures are enlarged, up to that
TINY = 64  # px; smaller pictures keep their square pixels
NARROWEST = 200  # px, for the words under a picture
GAP = 16  # px around pictures
LETTERS, TITLE = 17, 26  # px
FAINT = "#9aa3b2"
VOID: Color = (128, 128, 128)  # what has no label, or no picture


class Tile(NamedTuple):
    """A picture, its name and a remark."""

    picture: Image.Image
    name: str
    words: str = ""


def fitting(picture: Image.Image) -> Image.Image:
    """The picture at the size at which it is shown."""
    longest = max(picture.size)
    scale = min(1.0, SIDE / longest) if longest > SMALL else SMALL // longest
    if scale == 1:
        return picture
    width, height = (max(1, round(side * scale)) for side in picture.size)
    smooth = Image.Resampling.NEAREST if longest < TINY else Image.Resampling.BICUBIC
    return picture.resize((width, height), smooth, reducing_gap=3.0)


def write_sheet(
    path: Path, title: str, tiles: Sequence[Tile], legend: Sequence[tuple[str, Color]] = ()
) -> Path:
    """Write the sheet as an image; creates its folder."""
    cell = max(NARROWEST, *(tile.picture.width for tile in tiles))
    count = math.ceil(len(tiles) / max(1, WIDTH // (cell + GAP)))  # of rows
    columns = math.ceil(len(tiles) / count)
    width = columns * (cell + GAP) + GAP
    rows = [tiles[i : i + columns] for i in range(0, len(tiles), columns)]
    strips = [_head(title, legend, width), *(_row(row, cell, width) for row in rows)]
    sheet = Image.new("RGB", (width, sum(strip.height for strip in strips)), PAPER)
    down = 0
    for strip in strips:
        sheet.paste(strip, (0, down))
        down += strip.height
    return written(sheet, path)


def _row(tiles: Sequence[Tile], cell: int, width: int) -> Image.Image:
    high = max(tile.picture.height for tile in tiles)
    line = round(LETTERS * 1.4)
    lines = 2 if any(tile.words for tile in tiles) else 1
    strip = Image.new("RGB", (width, high + lines * line + 2 * GAP), PAPER)
    draw, font = ImageDraw.Draw(strip), ImageFont.load_default(LETTERS)
    for i, tile in enumerate(tiles):
        left = GAP + i * (cell + GAP)
        strip.paste(
            tile.picture, (left + (cell - tile.picture.width) // 2, high - tile.picture.height)
        )
        for row, (text, color) in enumerate(((tile.name, INK), (tile.words, FAINT))):
            text = shortened(text, cell, draw, font)
            place = left + cell // 2, high + GAP // 2 + row * line
            draw.text(place, text, color, font, anchor="ma")
    return strip


def _head(title: str, legend: Sequence[tuple[str, Color]], width: int) -> Image.Image:
    """The title and, below it, the names with their colors, on as many lines as they need."""
    font, large = ImageFont.load_default(LETTERS), ImageFont.load_default(TITLE)
    line, chip = round(LETTERS * 1.7), LETTERS
    draw = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    places, across, down = [], GAP, TITLE + 2 * GAP
    for name, color in legend:
        name = shortened(name, width - 4 * GAP, draw, font)
        long = chip + 8 + draw.textlength(name, font=font) + 2 * GAP
        if across + long > width and across > GAP:
            across, down = GAP, down + line
        places.append((across, down, name, color))
        across += round(long)
    high = down + line + GAP // 2 if places else down
    head = Image.new("RGB", (width, high), PAPER)
    draw = ImageDraw.Draw(head)
    title = shortened(title, width - 2 * GAP, draw, large)
    draw.text((GAP, GAP), title, INK, large, anchor="la")
    for across, down, name, color in places:
        draw.rounded_rectangle((across, down, across + chip, down + chip), 4, fill=color)
        draw.text((across + chip + 8, down + chip // 2), name, INK, font, anchor="lm")
    return head
