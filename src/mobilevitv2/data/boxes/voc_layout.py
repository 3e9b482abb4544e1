"""Where a folder keeps images and an XML file for each: Pascal VOC's layout, and simpler ones."""

import os
from dataclasses import dataclass
from pathlib import Path

from mobilevitv2.data.masks.layouts import VOC_IMAGES
from mobilevitv2.data.split_names import by_split, folders_in, names_in
from mobilevitv2.errors import DataError

VOC_BOXES, VOC_LISTS = "Annotations", "ImageSets/Main"
XML = ".xml"
IMAGE_FOLDERS = ("jpegimages", "images", "imgs")
XML_FOLDERS = ("annotations", "annotation", "labels", "xmls", "xml")


@dataclass(frozen=True)
class XmlFolders:
    """Where the images and the XML files of a split are; `names` are those that count, or all."""

    images: Path
    annotations: Path
    names: tuple[str, ...] | None = None


@dataclass(frozen=True)
class VocLayout:
    """The splits are `train`, `val`, `test`, or `all` where there are none."""

    root: Path
    splits: dict[str, XmlFolders]


def looks_like_voc(source: Path) -> bool:
    """Are there XML files where such a data set has them?"""
    return source.is_dir() and bool(_voc_roots(source) or any(map(_xml_folder, _halves(source))))


def find_voc(source: Path) -> VocLayout:
    """The layout of a folder that looks like it. Raises DataError where it is not to be told."""
    if roots := _voc_roots(source):
        if len(roots) > 1:
            names = " and ".join(map(str, roots))
            raise DataError(f"{source} holds several data sets: {names}. Give one of them.")
        return VocLayout(roots[0], _listed_splits(roots[0]))
    if whole := _folders_of(source):
        return VocLayout(source, _splits_inside(whole))
    halves = by_split(folders_in(source))
    found = {split: _folders_of(folder) for split, folder in halves.items()}
    return VocLayout(source, {split: place for split, place in found.items() if place})


def _voc_roots(source: Path) -> list[Path]:
    beside = [source, *sorted(source.glob("VOC2*")), *sorted(source.glob("VOCdevkit/VOC2*"))]
    return [p for p in beside if (p / VOC_IMAGES).is_dir() and has_files(p / VOC_BOXES, XML)]


def _listed_splits(root: Path) -> dict[str, XmlFolders]:
    images, annotations, lists = root / VOC_IMAGES, root / VOC_BOXES, root / VOC_LISTS
    named = {p.stem.lower(): p for p in sorted(lists.glob("*.txt"))}
    listed = by_split(named)
    if not listed and "trainval" in named:
        listed = {"all": named["trainval"]}
    if not listed:
        return _splits_inside(XmlFolders(images, annotations))
    return {split: XmlFolders(images, annotations, names_in(p)) for split, p in listed.items()}


def _halves(source: Path) -> list[Path]:
    try:
        return [source, *by_split(folders_in(source)).values()]
    except DataError:  # two folders claim to be one split, of whatever kind of data
        return [source]


def _xml_folder(folder: Path) -> Path | None:
    """The folder below that has XML files, or the folder itself."""
    below = folders_in(folder)
    named = [below[name] for name in XML_FOLDERS if name in below]
    if found := [path for path in named if has_files(path, XML)]:
        return found[0]
    return folder if has_files(folder, XML, deep=False) else None


def _folders_of(folder: Path) -> XmlFolders | None:
    annotations = _xml_folder(folder)
    below = folders_in(folder)
    images = next((below[name] for name in IMAGE_FOLDERS if name in below), folder)
    return XmlFolders(images, annotations) if annotations else None


def _splits_inside(whole: XmlFolders) -> dict[str, XmlFolders]:
    """By the folders in the folder of the images; the XML files may lie together or like them."""
    images = by_split(folders_in(whole.images))
    if whole.images == whole.annotations or not images:
        return {"all": whole}
    annotations = by_split(folders_in(whole.annotations))
    return {
        split: XmlFolders(folder, annotations.get(split, whole.annotations))
        for split, folder in images.items()
    }


def has_files(folder: Path, suffix: str, *, deep: bool = True) -> bool:
    """Does the folder have a file with this ending, or one below it?"""
    for _, below, files in os.walk(folder):
        if any(name.lower().endswith(suffix) for name in files):
            return True
        if not deep:
            below.clear()
    return False
