"""Images named on the command line: files, folders, patterns, addresses, standard input."""

import glob
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mobilevitv2.errors import DataError
from mobilevitv2.images.download import is_address
from mobilevitv2.images.reading import IMAGE_SUFFIXES

DRAWN_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")  # formats in which drawings are saved too
STANDARD_INPUT = "-"


@dataclass(frozen=True)
class Found:
    """One image to read, what to call it, and the file name of a drawing of it."""

    source: str | bytes
    shown: str
    name: Path


def collect_images(arguments: Iterable[str]) -> list[Found]:
    """Files and addresses as given; all images in folders, sorted; all matches of patterns.

    `-` stands for one image on standard input. Files that don't exist are kept, for the reader to
    report. Raises DataError for a folder without images.
    """
    found: list[Found] = []
    for argument in arguments:
        if argument == STANDARD_INPUT:
            found.append(Found(sys.stdin.buffer.read(), STANDARD_INPUT, Path("stdin.png")))
        elif is_address(argument):
            last = argument.split("?")[0].rstrip("/").rsplit("/", 1)[-1]
            found.append(Found(argument, argument, Path(last or "image")))
        elif os.path.exists(argument) or not glob.has_magic(argument):
            found += _below(argument)
        else:
            matches = sorted(glob.glob(argument, recursive=True))
            found += [item for match in matches or [argument] for item in _below(match)]
    return found


def _below(argument: str) -> list[Found]:
    if not os.path.isdir(argument):
        return [Found(argument, argument, Path(os.path.basename(argument)))]
    images = []
    for parent, folders, files in os.walk(argument):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        images += [
            Path(parent, name)
            for name in sorted(files)
            if not name.startswith(".") and Path(name).suffix.lower() in IMAGE_SUFFIXES
        ]
    if not images:
        kinds = ", ".join(sorted(IMAGE_SUFFIXES))
        raise DataError(f"the folder {argument} holds no images ({kinds}).")
    return [Found(str(path), str(path), path.relative_to(argument)) for path in images]


def output_paths(
    found: Sequence[Found],
    folder: Path,
    *,
    suffixes: tuple[str, ...] = DRAWN_SUFFIXES,
    suffix: str = ".png",
) -> list[Path]:
    """A path in `folder` for the output of each image: all different, and none an input.

    A name keeps its suffix if it is one of `suffixes`; otherwise it gets `suffix`.
    """
    taken = {os.path.realpath(item.shown) for item in found}
    paths = []
    for item in found:
        kept = item.name.suffix.lower() in suffixes
        plain = folder / (item.name if kept else item.name.with_suffix(suffix))
        path, number = plain, 1
        while os.path.realpath(path) in taken:
            number += 1
            path = plain.with_stem(f"{plain.stem}-{number}")
        taken.add(os.path.realpath(path))
        paths.append(path)
    return paths
