"""Which mask belongs to which image: the one of the same name."""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from mobilevitv2.data.classes.folders import is_hidden
from mobilevitv2.data.masks.layouts import LAYOUT, MASK_SUFFIXES, MaskLayout, PairFolders
from mobilevitv2.errors import DataError
from mobilevitv2.images.reading import IMAGE_SUFFIXES

NAMED = 5  # files that a sentence names; the rest is counted

MaskedSample = tuple[Path, Path]  # an image and its mask


@dataclass
class Pairs:
    """The pairs of each split, in the order of their names; what else lies there is counted."""

    splits: dict[str, list[MaskedSample]] = field(default_factory=dict)
    strays: int = 0
    hidden: int = 0


def find_pairs(layout: MaskLayout) -> Pairs:
    """All pairs. Raises DataError where there are none, or an image or a mask stands alone."""
    found = Pairs()
    listings: dict[Path, dict[str, Path]] = {}  # VOC's splits share their folders
    for folders in layout.splits.values():
        for folder, suffixes in ((folders.images, IMAGE_SUFFIXES), (folders.masks, MASK_SUFFIXES)):
            if folder not in listings:
                listings[folder] = _files_by_name(folder, suffixes, found)
    without_mask: list[Path] = []
    without_image: list[Path] = []
    for split, folders in layout.splits.items():
        images, masks = listings[folders.images], listings[folders.masks]
        if folders.names is not None:
            if split == "test" and not any(name in masks for name in folders.names):
                continue  # Pascal VOC keeps the masks of its test images to itself
            images, masks = _listed(folders, images), _only(masks, folders.names)
        without_mask += [path for name, path in images.items() if name not in masks]
        without_image += [path for name, path in masks.items() if name not in images]
        both = sorted(images.keys() & masks.keys())
        found.splits[split] = [(images[name], masks[name]) for name in both]
    _check_alone(layout.root, without_mask, without_image)
    return found


def some_of(files: Iterable[Path | str]) -> str:
    """How many, and the first few."""
    listed = [str(file) for file in files]
    more = ", ..." if len(listed) > NAMED else ""
    return f"{len(listed):,} ({', '.join(listed[:NAMED])}{more})"


def _check_alone(root: Path, without_mask: list[Path], without_image: list[Path]) -> None:
    alone = {"images without a mask": without_mask, "masks without an image": without_image}
    if said := "; ".join(f"{what}: {some_of(paths)}" for what, paths in alone.items() if paths):
        raise DataError(
            f"{root} has {said}. Give each image a mask of the same name (a.jpg, a.png), or move "
            "what stands alone away."
        )


def _listed(folders: PairFolders, images: dict[str, Path]) -> dict[str, Path]:
    assert folders.names is not None
    if absent := [name for name in folders.names if name not in images]:
        raise DataError(
            f"{folders.images} lacks images that the list of its split names: {some_of(absent)}. "
            "Add them, or take them off the list."
        )
    return _only(images, folders.names)


def _only(files: dict[str, Path], names: Iterable[str]) -> dict[str, Path]:
    return {name: files[name] for name in names if name in files}


def _files_by_name(folder: Path, suffixes: frozenset[str], found: Pairs) -> dict[str, Path]:
    """The files below a folder, by their path in it without the suffix."""
    named: dict[str, Path] = {}
    for parent, below, files in os.walk(folder):
        found.hidden += sum(map(is_hidden, [*below, *files]))
        below[:] = sorted(name for name in below if not is_hidden(name))
        for path in (Path(parent, name) for name in sorted(files) if not is_hidden(name)):
            if path.suffix.lower() not in suffixes or not path.is_file():
                found.strays += 1
                continue
            name = path.relative_to(folder).with_suffix("").as_posix()
            if name in named:
                raise DataError(
                    f"{named[name]} and {path} have one name, by which image and mask are matched. "
                    "Rename or remove one."
                )
            named[name] = path
    if not named:
        what = "images" if suffixes is IMAGE_SUFFIXES else "masks"
        endings = ", ".join(sorted(suffixes))
        raise DataError(f"{folder} holds no {what} ({endings}). Wanted is {LAYOUT}.")
    return dict(sorted(named.items()))
