"""`inspect`: what there is to know and to see of a data set before training on it."""

import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from mobilevitv2.class_names import Color
from mobilevitv2.data import Data
from mobilevitv2.data.findings import find_all
from mobilevitv2.errors import DataError, ImageError
from mobilevitv2.files.replacing import Place
from mobilevitv2.images.reading import load_image
from mobilevitv2.report.contact_sheet import SIDE, VOID, Tile, write_sheet
from mobilevitv2.tasks import task_named

LEGEND = 40  # classes named above the pictures
Sample = Any  # of whatever data: its first part is the image


@dataclass(frozen=True)
class Inspection:
    """What there is to know about a data set before training."""

    text: str  # the data's own report, and what looks wrong or odd
    odd: dict[Path, list[str]] = field(default_factory=dict)
    """What looks odd about an image, the worst image first."""
    sheets: list[Path] = field(default_factory=list)  # the pictures written


def inspect(data: Data, out: Path | None = None, *, count: int = 16, seed: int = 0) -> Inspection:
    """Look for what is wrong with a data set, and draw pictures of it into `out`.

    There is one for each split, which shows `count` images, chosen by `seed`, with their labels;
    and odd.png with the images that have something odd, the worst first. Image files of one length
    are read and compared. Raises FileExistsError where a file that isn't an earlier picture would
    be overwritten.
    """
    if count < 1:
        raise DataError(f"count is {count}; a picture needs at least one image.")
    found = find_all(data)
    odd: dict[Path, list[str]] = {}
    for finding in found:
        for image, words in finding.images.items():
            odd.setdefault(image, []).append(words)
    sheets = [] if out is None else _write(data, Path(out), odd, count, seed)
    lines = [f"odd: {finding.sentence}" for finding in found] or ["nothing odd was found"]
    if sheets:
        lines += ["", f"pictures: {', '.join(map(str, sheets))}"]
    return Inspection("\n".join([data.report(), "", *lines]), odd, sheets)


def _write(data: Data, out: Path, odd: dict[Path, list[str]], count: int, seed: int) -> list[Path]:
    colors = task_named(data.task).part("report").colors_of(data)
    legend = list(zip(data.classes, colors, strict=False))  # some tasks need no colors
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


def _tile(data: Data, colors: list[Color], sample: Any, words: str) -> Tile:
    """The image with its labels in it, or a gray one that says why not."""
    name = sample[0].name if isinstance(sample[0], Path) else ""  # an array has none
    try:
        tile = Tile(load_image(sample[0]), name, words)
        return task_named(data.task).part("report").labeled(tile, sample, data, colors)
    except (ImageError, DataError) as error:
        return Tile(Image.new("RGB", (SIDE, SIDE // 2), VOID), name, f"can't be drawn: {error}")
