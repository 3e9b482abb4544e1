"""Masks in a folder beside the folder `images`, with the splits in both, or around both."""

import os
from pathlib import Path

from mobilevitv2.data.paired import PairFolders
from mobilevitv2.data.split_names import by_split, folders_in
from mobilevitv2.errors import DataError

IMAGES = "images"
MASKS = ("masks", "labels", "annotations")
MASK_SUFFIXES = frozenset([".png", ".bmp", ".tif", ".tiff", ".gif"])  # of either case; no JPEG


def find_roots(source: Path) -> list[Path]:
    """The folder itself, if it has such folders."""
    return [source] if any(map(_pair, [source, *by_split(folders_in(source)).values()])) else []


def find_splits(root: Path) -> dict[str, PairFolders]:
    """Raises DataError where images and masks are split differently."""
    whole = _pair(root)
    if whole is None:
        found = {split: _pair(folder) for split, folder in by_split(folders_in(root)).items()}
        return {split: pair for split, pair in found.items() if pair}
    images, masks = (by_split(folders_in(folder)) for folder in (whole.images, whole.labels))
    if not images and not masks:
        return {"all": whole}
    if lonely := images.keys() ^ masks.keys():
        there, absent = whole.images, whole.labels
        if not images.keys() >= lonely:
            there, absent = absent, there
        names = " and ".join(sorted(lonely))
        raise DataError(f"{there} has {names}, but {absent} doesn't. Give both the same folders.")
    return {split: PairFolders(images[split], masks[split]) for split in images}


def _pair(folder: Path) -> PairFolders | None:
    """`images` and the masks beside it; labels and annotations may be those of boxes instead."""
    folders = folders_in(folder)
    if IMAGES not in folders:
        return None
    named = [folders[name] for name in MASKS if name in folders]
    masks = [path for path in named if path.name.lower() == MASKS[0] or _holds_masks(path)]
    return PairFolders(folders[IMAGES], masks[0]) if masks else None


def _holds_masks(folder: Path) -> bool:
    files = (name for _, _, files in os.walk(folder) for name in files)
    return any(os.path.splitext(name)[1].lower() in MASK_SUFFIXES for name in files)
