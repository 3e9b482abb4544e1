"""Images on disk, and as the command line names them: by files, folders, patterns, addresses."""

import glob
import os
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mobilevitv2.errors import DataError
from mobilevitv2.images.download import is_address
from mobilevitv2.images.reading import IMAGE_SUFFIXES

VIDEO_SUFFIXES = frozenset(
    [".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".wmv", ".flv"]
)
STANDARD_INPUT = "-"
RUBBISH = frozenset({"thumbs.db", "desktop.ini", "__macosx"})  # hidden, though without a dot


def is_camera(source: str | os.PathLike) -> bool:
    """Whether this is the number of a camera."""
    return isinstance(source, str) and source.isascii() and source.isdecimal()


def is_video(source: str | os.PathLike) -> bool:
    """Whether this is the number of a camera or, by its name, a video file."""
    return is_camera(source) or Path(source).suffix.lower() in VIDEO_SUFFIXES


@dataclass(kw_only=True)
class LeftOut:
    """How many files are left out: those of no use, and hidden ones."""

    strays: int = 0
    hidden: int = 0


def is_hidden(name: str) -> bool:
    """Whether a file or folder is left out because of its name."""
    return name.startswith(".") or name.lower() in RUBBISH


def visible_files(
    folder: Path, left_out: LeftOut, *, without: Collection[Path] = (), follow_links: bool = False
) -> Iterator[Path]:
    """In the order of their names, except for those below `without`; hidden ones are counted.

    With `follow_links`, links to folders are followed, except into a folder that came before.
    """
    seen = set()
    for parent, below, files in os.walk(folder, followlinks=follow_links):
        real = os.path.realpath(parent) if follow_links else parent
        if real in seen:  # a link to a folder above
            below.clear()
            continue
        seen.add(real)
        left_out.hidden += sum(map(is_hidden, [*below, *files]))
        visible = (name for name in below if not is_hidden(name))
        below[:] = sorted(name for name in visible if Path(parent, name) not in without)
        yield from (Path(parent, name) for name in sorted(files) if not is_hidden(name))


def has_files(folder: Path, suffixes: Collection[str], *, deep: bool = True) -> bool:
    """Whether a visible file in the folder, or with `deep` below it, has one of the suffixes."""
    for path in visible_files(folder, LeftOut()):
        if not deep and path.parent != folder:  # those in the folder come first
            return False
        if path.suffix.lower() in suffixes:
            return True
    return False


def images_below(
    folder: Path, left_out: LeftOut, *, but: Collection[str] = (), follow_links: bool = False
) -> list[Path]:
    """The images among the `visible_files`; others are counted, except for the suffixes `but`."""
    images = []
    for path in visible_files(folder, left_out, follow_links=follow_links):
        suffix = path.suffix.lower()
        if suffix in IMAGE_SUFFIXES:
            images.append(path)
        elif suffix not in but:
            left_out.strays += 1
    return images


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
    images = images_below(Path(argument), LeftOut())
    if not images:
        kinds = ", ".join(sorted(IMAGE_SUFFIXES))
        raise DataError(f"the folder {argument} holds no images ({kinds}).")
    return [Found(str(path), str(path), path.relative_to(argument)) for path in images]


def output_paths(
    found: Sequence[Found], folder: Path, *, suffixes: tuple[str, ...], suffix: str
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
