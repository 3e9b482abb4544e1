"""Where a folder keeps its images and their masks, told by the names of its folders."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from mobilevitv2.data.paired import (
    VOC_IMAGES,
    PairFolders,
    PairLayout,
    only_root,
    voc_roots,
    voc_splits,
)
from mobilevitv2.data.split_names import (
    SPLIT_NAMES,
    by_split,
    check_train,
    folders_in,
    nothing_found,
)
from mobilevitv2.errors import DataError
from mobilevitv2.images.finding import has_files

VOC_MASKS, VOC_LISTS = "SegmentationClass", "ImageSets/Segmentation"
ANNOT = "annot"  # CamVid's masks of `train` are in `trainannot`
IMAGES = "images"
MASKS = ("masks", "labels", "annotations")
MASK_SUFFIXES = frozenset([".png", ".bmp", ".tif", ".tiff", ".gif"])  # no JPEG, which changes them


class MaskFormat(NamedTuple):
    """A layout of images and masks."""

    kind: str
    find_roots: Callable[[Path], list[Path]]  # [] in a folder that doesn't look like this
    find_splits: Callable[[Path], dict[str, PairFolders]]


def is_segmentation(source: str | Path) -> bool:
    """Does the folder look like images with masks? Its files are not opened."""
    source = Path(source).expanduser()
    return source.is_dir() and any(layout.find_roots(source) for layout in FORMATS)


def find_layout(source: Path) -> PairLayout:
    """The layout of a folder. Raises DataError if it has none, or more than one."""
    for layout in FORMATS if source.is_dir() else ():
        if roots := layout.find_roots(source):
            root = only_root(source, roots)
            splits = layout.find_splits(root)
            check_train(root, splits, f": {LAYOUT}")
            return PairLayout(root, splits, layout.kind)
    raise nothing_found(source, "images with masks", LAYOUT)


def _voc_roots(source: Path) -> list[Path]:
    return voc_roots(source, lambda root: (root / VOC_MASKS).is_dir())


def _voc_splits(root: Path) -> dict[str, PairFolders]:
    whole = PairFolders(root / VOC_IMAGES, root / VOC_MASKS)
    return voc_splits(whole, root / VOC_LISTS) or {"all": whole}


def _camvid_roots(source: Path) -> list[Path]:
    folders = folders_in(source)
    found = any(name in folders and name + ANNOT in folders for name in SPLIT_NAMES["train"])
    return [source] if found else []


def _camvid_splits(root: Path) -> dict[str, PairFolders]:
    folders = folders_in(root)
    return {
        split: PairFolders(images, folders[images.name.lower() + ANNOT])
        for split, images in by_split(folders).items()
        if images.name.lower() + ANNOT in folders
    }


def _folder_roots(source: Path) -> list[Path]:
    places = [source, *by_split(folders_in(source)).values()]
    return [source] if any(map(_images_and_masks, places)) else []


def _folder_splits(root: Path) -> dict[str, PairFolders]:
    """Raises DataError if images and masks are split differently."""
    whole = _images_and_masks(root)
    if whole is None:
        halves = by_split(folders_in(root)).items()
        found = {split: _images_and_masks(folder) for split, folder in halves}
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


def _images_and_masks(folder: Path) -> PairFolders | None:
    """`images` and the masks beside it; labels and annotations may be those of boxes instead."""
    folders = folders_in(folder)
    named = [name for name in MASKS if name in folders] if IMAGES in folders else []
    for name in named:
        if name == MASKS[0] or has_files(folders[name], MASK_SUFFIXES):
            return PairFolders(folders[IMAGES], folders[name])
    return None


FORMATS = (  # the first that fits counts
    MaskFormat("voc", _voc_roots, _voc_splits),
    MaskFormat("camvid", _camvid_roots, _camvid_splits),
    MaskFormat("folders", _folder_roots, _folder_splits),
)
LAYOUT = (
    "images and masks folders with files of the same names (images/a.jpg and masks/a.png; split as "
    "images/train or train/images, if at all), or CamVid's (train and trainannot, val and "
    "valannot), or Pascal VOC's layout (JPEGImages and SegmentationClass)"
)
