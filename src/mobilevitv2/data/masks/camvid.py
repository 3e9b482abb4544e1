"""Masks in CamVid's layout: trainannot beside train."""

from pathlib import Path

from mobilevitv2.data.paired import PairFolders
from mobilevitv2.data.split_names import SPLIT_NAMES, by_split, folders_in

ANNOT = "annot"


def find_roots(source: Path) -> list[Path]:
    """The folder itself, if it has training images and their masks."""
    folders = folders_in(source)
    found = any(name in folders and name + ANNOT in folders for name in SPLIT_NAMES["train"])
    return [source] if found else []


def find_splits(root: Path) -> dict[str, PairFolders]:
    """The splits that have masks."""
    folders = folders_in(root)
    return {
        split: PairFolders(images, folders[images.name.lower() + ANNOT])
        for split, images in by_split(folders).items()
        if images.name.lower() + ANNOT in folders
    }
