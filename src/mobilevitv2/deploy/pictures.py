"""The images that a file is calibrated with and verified on, and how they are prepared.

A classifier sees a crop, a segmenter the whole image in its own proportions, and a detector the
whole image stretched to its size.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mobilevitv2.errors import ConfigError, DataError, ImageError
from mobilevitv2.images.finding import collect_images
from mobilevitv2.images.reading import ImageSource, load_image
from mobilevitv2.processor import MobileViTImageProcessor
from mobilevitv2.processor_settings import MULTIPLE
from mobilevitv2.runtime.targets import Target
from mobilevitv2.tasks import task_named

FEWEST = 10  # images that calibration needs
MOST = 200  # images of a folder that are used
PARTS = 32  # of photos, to verify on where no images are given


def usual_size(processor: MobileViTImageProcessor, task: str, target: Target) -> Any:
    """What the processor makes of a square; any size for a segmenter, if the target can."""
    if task_named(task).fit == "whole" and not target.fixed:
        return "any"
    return processor.square_size


def sizes_to_verify(
    sizes: list[tuple[int, int]] | None, processor: MobileViTImageProcessor
) -> list[tuple[int, int]]:
    """The input sizes; for any, the processor's and one of another shape."""
    if sizes is not None:
        return sizes
    height, width = (-(-side // MULTIPLE) * MULTIPLE for side in processor.square_size)
    return [(height, width), (height + MULTIPLE, width + 2 * MULTIPLE)]


def for_size(
    processor: MobileViTImageProcessor, size: tuple[int, int], task: str
) -> MobileViTImageProcessor:
    """A classifier's with another crop and a resize in proportion; the others' uncropped."""
    if task_named(task).fit != "crop":
        return processor.stretched(*size)
    old = (processor.crop_size["height"], processor.crop_size["width"])
    if size == old and processor.do_center_crop:
        return processor
    resized = crop = {"height": size[0], "width": size[1]}
    shortest = processor.size.get("shortest_edge")
    if size[0] == size[1] and shortest is not None:
        scale = min(size) / min(old)
        resized = {"shortest_edge": max(round(shortest * scale), size[0])}
    return replace(processor, size=resized, crop_size=crop, do_resize=True, do_center_crop=True)


def prepared(
    images: Sequence[ImageSource], processor: MobileViTImageProcessor, task: str
) -> list[np.ndarray]:
    """float32 [3, H, W] of each image that can be read."""
    stretches = task_named(task).fit == "stretch" and "height" in processor.size
    as_it_is = processor.do_center_crop or stretches
    arrays = []
    for image in images:
        try:
            picture = load_image(image)
        except (ImageError, OSError):
            continue
        fitted = processor if as_it_is else processor.fitted(picture.size)
        arrays.append(fitted(picture).pixel_values[0])
    return arrays


def calibration(
    folder: str | Path, processor: MobileViTImageProcessor, task: str, input: str, batch: Any
) -> list[np.ndarray]:
    """The graph's inputs for up to 200 images, one at a time."""
    arrays = prepared(images_of(folder), processor, task)
    if len(arrays) < FEWEST:
        raise DataError(
            f"{folder} has {len(arrays)} readable images; calibration needs at least {FEWEST}, "
            f"better {MOST}."
        )
    if input == "uint8":
        raise ConfigError("int8 can't have uint8 input; leave the input float.")
    if batch not in (None, "any", 1):
        raise ConfigError("int8 is calibrated one image at a time; leave batch out.")
    return [array[None] for array in arrays]


def chosen(folder: str | Path | None) -> tuple[list[ImageSource], str]:
    """Images to verify on, and a description: those of the folder, parts of photos, or noise."""
    if folder is not None:
        return images_of(folder), f"images of {folder}"
    generator = np.random.default_rng(0)
    try:
        from sklearn.datasets import load_sample_images
    except ImportError:
        return [_noise(generator) for _ in range(PARTS)], "noise, for lack of photos"
    photos = load_sample_images().images
    parts: list[ImageSource] = []
    for i in range(PARTS):
        photo = photos[i % len(photos)]
        side = int(generator.integers(96, min(photo.shape[:2])))
        top, left = (int(generator.integers(0, n - side + 1)) for n in photo.shape[:2])
        parts.append(Image.fromarray(photo[top : top + side, left : left + side]))
    return parts, "parts of scikit-learn's two photos"


def _noise(generator: np.random.Generator) -> Image.Image:
    """Smooth noise, 3 to 48 blots a side."""
    blots = int(generator.integers(3, 49))
    pixels = generator.integers(0, 256, (blots, blots, 3), np.uint8)
    return Image.fromarray(pixels).resize((320, 320), Image.Resampling.BICUBIC)


def images_of(folder: str | Path) -> list[ImageSource]:
    """Up to 200 images in a folder and its subfolders, spread evenly."""
    found = [item.source for item in collect_images([str(folder)])]
    step = max(len(found) / MOST, 1)
    return [found[int(i * step)] for i in range(min(MOST, len(found)))]
