"""Boxes drawn on a picture, with captions that stay readable in a crowd."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mobilevitv2.class_names import Color
from mobilevitv2.results import drawing
from mobilevitv2.results.colors import linear_light

FONT = 0.022  # of the picture's width
LINE = 1 / 170  # of the shorter side
THINNEST = 2  # px
RIM = 100  # opacity, 0..255, of the px around a line: it must show on a background of its color
DASH = 4  # line widths; gaps are half as long
WIDEST = 0.4  # of the picture's width: a caption, unless its box is wider, or
WIDE = 11  # times the height of its letters
LITTLE, MUCH = 0.2, 0.6  # share of a box that a caption may hide: at best, at most
BLACK, WHITE = (0, 0, 0), (255, 255, 255)

Rectangle = tuple[int, int, int, int]  # left, top, right, bottom in px, the last two exclusive
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def with_boxes(
    picture: Image.Image,
    corners: np.ndarray,
    captions: Sequence[str],
    colors: Sequence[Color],
    *,
    percents: Sequence[str] | None = None,
    dashed: Sequence[bool] | None = None,
) -> Image.Image:
    """The RGB picture with boxes [n, 4] of x1, y1, x2, y2 px drawn on it, as a new image.

    A small picture is enlarged. The first boxes are on top, and their captions are placed first;
    those without room are left out. Long captions are cut, but not the `percents` after them.
    """
    corners = np.asarray(corners, np.float64).reshape(-1, 4)
    count = len(corners)
    percents = [""] * count if percents is None else percents
    dashed = [False] * count if dashed is None else dashed
    if any(len(values) != count for values in (captions, colors, percents, dashed)):
        raise ValueError(
            f"{count} boxes need as many captions, colors, percents and dashes, but got "
            f"{len(captions)}, {len(colors)}, {len(percents)} and {len(dashed)}."
        )
    scale = drawing.enlargement(picture)
    drawn = drawing.enlarged(picture).copy()
    draw = ImageDraw.Draw(drawn, "RGBA")
    width = max(THINNEST, round(min(drawn.size) * LINE))
    places = [_outer(box, drawn.size, width) for box in corners * scale]
    for place, color, gaps in reversed(list(zip(places, colors, dashed, strict=True))):
        for stroke in _dashes(place, width) if gaps else [place]:
            _outline(draw, stroke, color, width)
    font = ImageFont.load_default(size=drawing.font_size_for(drawn, FONT))
    texts = list(zip(captions, percents, strict=True))
    _draw_captions(draw, places, texts, colors, drawn.size, font)
    return drawn


def _outer(box: np.ndarray, size: tuple[int, int], line: int) -> Rectangle:
    """The outer edge of a line along the box's sides; in the picture, and never filled."""
    middle = np.rint(box).clip(0, [*size, *size])
    low = np.minimum(middle[:2] - line // 2, np.array(size) - 3 * line).clip(0)
    high = np.maximum(middle[2:] + line - line // 2, low + 3 * line).clip(max=size)
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])


def _dashes(place: Rectangle, line: int) -> list[Rectangle]:
    left, top, right, bottom = place
    dash = DASH * line
    step = dash + dash // 2
    flat = [(start, min(start + dash, right)) for start in range(left, right, step)]
    upright = [(start, min(start + dash, bottom)) for start in range(top, bottom, step)]
    return [
        *((start, y, end, y + line) for start, end in flat for y in (top, bottom - line)),
        *((x, start, x + line, end) for start, end in upright for x in (left, right - line)),
    ]


def _outline(draw: ImageDraw.ImageDraw, place: Rectangle, color: Color, line: int) -> None:
    left, top, right, bottom = place
    rim = (*_contrast(color), RIM)
    draw.rectangle((left - 1, top - 1, right, bottom), outline=rim)
    draw.rectangle((left, top, right - 1, bottom - 1), outline=color, width=line)
    if min(right - left, bottom - top) > 2 * line + 2:
        inner = (left + line, top + line, right - line - 1, bottom - line - 1)
        draw.rectangle(inner, outline=rim)


def _draw_captions(
    draw: ImageDraw.ImageDraw,
    places: Sequence[Rectangle],
    texts: Sequence[tuple[str, str]],
    colors: Sequence[Color],
    size: tuple[int, int],
    font: Font,
) -> None:
    """Each caption at the best free place around its box, if there is one."""
    boxes = np.array(places).reshape(-1, 4)
    taken = np.zeros((0, 4), int)
    height = getattr(font, "size", drawing.SMALLEST_FONT)  # of the letters
    pad = max(2, round(0.22 * height))  # px beside them; a caption is six times as high
    for box, (caption, percent), color in zip(places, texts, colors, strict=True):
        text = " ".join(f"{caption} {percent}".split())
        if not text:
            continue
        widest = max(WIDEST * size[0], box[2] - box[0], WIDE * height)
        widest = min(size[0], widest) - 2 * pad
        if draw.textlength(text, font=font) > widest:
            room = widest - draw.textlength(f" {percent}", font=font)
            text = f"{drawing.shortened(caption, room, draw, font)} {percent}".strip()
        width = min(size[0], round(draw.textlength(text, font=font)) + 2 * pad)
        tried = _around(box, (width, 6 * pad), size)
        hidden = (_shared(tried, boxes) / (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)).max(axis=1)
        hidden[_shared(tried, taken).any(axis=1)] = np.inf
        best = int(np.argmax(hidden <= LITTLE) if hidden.min() <= LITTLE else hidden.argmin())
        if hidden[best] <= MUCH:
            left, top, right, bottom = tried[best].tolist()
            taken = np.append(taken, tried[[best]], axis=0)
            draw.rectangle((left, top, right - 1, bottom - 1), fill=color)
            at = (left + pad, (top + bottom) / 2)
            draw.text(at, text, _contrast(color), font, anchor="lm")


def _around(box: Rectangle, caption: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """Where a caption of (width, height) px can go in the picture, best first; int [6, 4]."""
    (left, top, right, bottom), (width, height) = box, caption
    corners = [
        (left, top - height),  # above the box
        (left, top),  # in it
        (right - width, top - height),
        (left, bottom),  # below it
        (right - width, bottom),
        (left, bottom - height),
    ]
    corners = np.clip(corners, 0, np.maximum(np.array(size) - caption, 0))
    return np.concatenate([corners, corners + caption], axis=1)


def _shared(some: np.ndarray, others: np.ndarray) -> np.ndarray:
    """px in both of rectangles [k, 4] and [m, 4], [k, m]"""
    low = np.maximum(some[:, None, :2], others[:, :2])
    high = np.minimum(some[:, None, 2:], others[:, 2:])
    return (high - low).clip(0).prod(axis=-1)


def _contrast(color: Color) -> Color:
    """Black or white, whichever is readable on this color, by W3C's relative luminance."""
    return BLACK if linear_light(np.array(color)) @ [0.2126, 0.7152, 0.0722] > 0.18 else WHITE
