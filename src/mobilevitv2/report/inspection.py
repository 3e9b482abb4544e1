"""`inspect`: a data set told and shown to the person who is about to train on it."""

import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mobilevitv2.class_names import Color
from mobilevitv2.data import ClassificationData, Data, DetectionData, SegmentationData
from mobilevitv2.data.findings import Finding, find_all
from mobilevitv2.errors import DataError, ImageError
from mobilevitv2.files.replacing import Place
from mobilevitv2.images.reading import load_image
from mobilevitv2.report.contact_sheet import SIDE, Tile, fitting, write_sheet
from mobilevitv2.results.boxed import with_boxes
from mobilevitv2.results.colors import distinct_colors, overlay
from mobilevitv2.scores.truth import BoxedSample

VOID: Color = (128, 128, 128)
LEGEND = 40  # classes that are named above the pictures
COLORS = 60  # more are not told apart
Sample = Any  # of whatever data: its first part is the image


@dataclass(frozen=True)
class Inspection:
    """What there is to know about a data set before training."""

    text: str
    """The data's own report, and what is wrong or odd."""
    odd: dict[Path, list[str]] = field(default_factory=dict)
    """What is odd about each image of which something is, the worst first."""
    sheets: list[Path] = field(default_factory=list)
    """The pictures that were written."""


def inspect(data: Data, out: Path | None = None, *, count: int = 16, seed: int = 0) -> Inspection:
    """Look for what is wrong with a data set; into `out` go a picture of each split and of that.

    A picture shows `count` images, chosen by `seed`, with their labels drawn in; odd.png those with
    something odd, the worst first. Every image whose length another one has is read. Raises
    FileExistsError where a file that isn't an earlier picture of the kind would be overwritten.
    """
    if count < 1:
        raise DataError(f"count is {count}; at least one image a picture is wanted.")
    found = find_all(data)
    odd: dict[Path, list[str]] = {}
    for finding in found:
        for image, words in finding.images.items():
            odd.setdefault(image, []).append(words)
    sheets = [] if out is None else _write(data, Path(out), odd, count, seed)
    return Inspection(_told(data, found, sheets), odd, sheets)


def _told(data: Data, found: list[Finding], sheets: list[Path]) -> str:
    lines = [data.report(), ""]
    lines += [f"odd: {finding.sentence}" for finding in found] or ["nothing odd was found"]
    if sheets:
        lines += ["", f"pictures: {', '.join(map(str, sheets))}"]
    return "\n".join(lines)


def _write(data: Data, out: Path, odd: dict[Path, list[str]], count: int, seed: int) -> list[Path]:
    colors = _colors(data)
    legend = (
        [] if isinstance(data, ClassificationData) else list(zip(data.classes, colors, strict=True))
    )
    named: dict[str, tuple[str, list[tuple[Sample, str]]]] = {}  # title and what is shown
    for split, samples in data.splits.items():
        drawn = random.Random(f"{seed}/{split}").sample(range(len(samples)), len(samples))[:count]
        title = f"{data.name}, {split}: {len(drawn):,} of {len(samples):,} images"
        named[split] = title, [(samples[i], "") for i in sorted(drawn)]
    if odd:
        by_image = {sample[0]: sample for samples in data.splits.values() for sample in samples}
        worst = list(odd)[:count]
        title = f"{data.name}: {len(worst):,} of {len(odd):,} images with something odd"
        named["odd"] = title, [(by_image[image], ", ".join(odd[image])) for image in worst]
    sheets = [f"{name}.png" for name in named]
    place = Place(out, "inspect")
    with place.replaced(overwrite=True, names=sheets, inputs=data.files()) as stage:
        for sheet, (title, shown) in zip(sheets, named.values(), strict=True):
            tiles = [_tile(data, colors, sample, words) for sample, words in shown]
            write_sheet(stage / sheet, title, tiles, legend[:LEGEND])
    return [out / sheet for sheet in sheets]


def _colors(data: Data) -> list[Color]:
    if isinstance(data, SegmentationData):
        return data.colors
    few = distinct_colors(min(len(data.classes), COLORS))
    return [few[i % COLORS] for i in range(len(data.classes))]


def _tile(data: Data, colors: list[Color], sample: Any, words: str) -> Tile:
    """The image with its labels in it, or a gray one that says why not."""
    name = sample[0].name if isinstance(sample[0], Path) else ""  # an array has none
    try:
        picture = load_image(sample[0])
        if isinstance(data, DetectionData):
            picture = _with_boxes(picture, sample, data.classes, colors)
        elif isinstance(data, SegmentationData):
            picture = _with_mask(picture, data.read_mask(sample[1]), colors)
        else:
            picture, label = fitting(picture), data.classes[sample[1]]
            name, words = (f"{label}: {name}", words) if words else (label, name)
    except (ImageError, DataError) as error:
        return Tile(Image.new("RGB", (SIDE, SIDE // 2), VOID), name, f"can't be drawn: {error}")
    return Tile(picture, name, words)


def _with_boxes(
    picture: Image.Image, sample: BoxedSample, classes: list[str], colors: list[Color]
) -> Image.Image:
    small, boxes = fitting(picture), sample.boxes
    scale = np.array(small.size) / picture.size
    order = np.argsort(boxes.areas, kind="stable")  # small ones on top
    labels = boxes.labels[order]
    drawn = with_boxes(
        small,
        boxes.corners[order] * np.tile(scale, 2),
        [classes[label] for label in labels],
        [colors[label] for label in labels],
        dashed=boxes.ignored[order].tolist(),
    )
    return fitting(drawn)


def _with_mask(picture: Image.Image, mask: np.ndarray, colors: list[Color]) -> Image.Image:
    small = fitting(picture)
    reduced = Image.fromarray(mask).resize(small.size, Image.Resampling.NEAREST)
    return overlay(small, np.asarray(reduced), [*colors, *[VOID] * (256 - len(colors))])
