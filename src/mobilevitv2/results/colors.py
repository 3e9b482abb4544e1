"""A distinct color for each class, and masks painted with them."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from mobilevitv2.class_names import Color

STEP = 15  # between the values of a channel that are tried
LIGHTNESS = 0.5, 0.9  # OKLab, in [0, 1]: darker and lighter ones look like shadow and glare
GLARING = 0.23  # OKLab chroma; brighter colors outshine the picture
TAKEN = (0, 0, 0), (128, 128, 128), (255, 255, 255)  # no class should look like these
FILL, LINE = 140, 255  # opacity of a painted region and of its outline, 0..255


def distinct_colors(count: int) -> list[Color]:
    """This many RGB colors, each as far as possible from those before it.

    The first ones are the same for every `count`. Distances are those of OKLab (B. Ottosson,
    2020), which are about those that people see.
    """
    levels = np.arange(0, 256, STEP)
    tried = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(-1, 3)
    places = _oklab(tried)  # [K, 3]
    low, high = LIGHTNESS
    lightness, chroma = places[:, 0], np.hypot(places[:, 1], places[:, 2])
    pleasant = (lightness >= low) & (lightness <= high) & (chroma <= GLARING)
    tried, places = tried[pleasant], places[pleasant]
    if not 0 <= count <= len(tried):
        raise ValueError(f"{count} colors can't be told apart; ask for 0 to {len(tried):,}.")
    taken = _oklab(np.array(TAKEN))
    distance = np.linalg.norm(places[:, None] - taken, axis=-1).min(axis=1)
    chosen = []
    for _ in range(count):
        farthest = int(distance.round(6).argmax())  # rounded: the same on every machine
        chosen.append(farthest)
        away = np.linalg.norm(places - places[farthest], axis=-1)
        distance = np.minimum(distance, away)
    return [(int(red), int(green), int(blue)) for red, green, blue in tried[chosen]]


def class_colors(given: Sequence[Color], count: int) -> list[Color]:
    """The given colors, or distinct ones; raises ValueError unless there is one for each class."""
    colors = list(given) or distinct_colors(count)
    if len(colors) != count:
        raise ValueError(f"There are {count} classes and {len(colors)} colors.")
    return colors


def painted(mask: np.ndarray, colors: Sequence[Color]) -> Image.Image:
    """An RGB image of the mask [H, W], each pixel in the color of its class."""
    return Image.fromarray(np.array(colors, dtype=np.uint8)[mask])


def overlay(picture: Image.Image, mask: np.ndarray, colors: Sequence[Color]) -> Image.Image:
    """The RGB picture under the colors of its mask [H, W], with regions outlined."""
    opacity = np.full(mask.shape, FILL, dtype=np.uint8)
    opacity[outlines(mask, width=max(1, round(min(mask.shape) / 360)))] = LINE
    return Image.composite(painted(mask, colors), picture, Image.fromarray(opacity))


def outlines(mask: np.ndarray, width: int) -> np.ndarray:
    """bool [H, W]: pixels with another class within `width` px above or to the left."""
    found = np.zeros(mask.shape, dtype=bool)
    found[width:] = mask[width:] != mask[:-width]
    found[:, width:] |= mask[:, width:] != mask[:, :-width]
    return found


def _oklab(rgb: np.ndarray) -> np.ndarray:
    """sRGB [..., 3] in 0..255 to OKLab: lightness, green to red, blue to yellow."""
    to_cones = [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
    to_lab = [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
    return np.cbrt(linear_light(rgb) @ np.transpose(to_cones)) @ np.transpose(to_lab)


def linear_light(rgb: np.ndarray) -> np.ndarray:
    """sRGB [..., 3] in 0..255 to linear light in [0, 1]."""
    values = rgb / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
