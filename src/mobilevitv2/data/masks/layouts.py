"""Where a folder keeps its images and their masks, told by the names of its folders."""

from pathlib import Path

from mobilevitv2.data.paired import PairFolders, PairLayout, find_voc
from mobilevitv2.data.split_names import (
    SPLIT_NAMES,
    by_split,
    check_train,
    folders_in,
    nothing_found,
)
from mobilevitv2.errors import DataError
from mobilevitv2.images.finding import has_files

ANNOT = "annot"  # CamVid's masks of `train` are in `trainannot`
IMAGES = "images"
MASKS = ("masks", "labels", "annotations")
MASK_SUFFIXES = frozenset([".png", ".bmp", ".tif", ".tiff", ".gif"])  # no JPEG, which changes them


def is_segmentation(source: str | Path) -> bool:
    """Does the folder look like images with masks? The masks are not opened."""
    source = Path(source).expanduser()
    return source.is_dir() and any(find(source) for find in FORMATS)


def find_layout(source: Path) -> PairLayout:
    """The layout of a folder. Raises DataError if it has none, or more than one."""
    found = (find(source) for find in FORMATS) if source.is_dir() else iter(())
    layout = next((layout for layout in found if layout), None)
    if layout is None:
        raise nothing_found(source, "images with masks", LAYOUT)
    check_train(layout.root, layout.splits, f": {LAYOUT}")
    return layout


def _voc(source: Path) -> PairLayout | None:
    return find_voc(source, "SegmentationClass", "ImageSets/Segmentation", Path.is_dir)


def _camvid(source: Path) -> PairLayout | None:
    folders = folders_in(source)
    if not any(name in folders and name + ANNOT in folders for name in SPLIT_NAMES["train"]):
        return None
    splits = {
        split: PairFolders(images, folders[images.name.lower() + ANNOT])
        for split, images in by_split(folders).items()
        if images.name.lower() + ANNOT in folders
    }
    return PairLayout(source, splits, "camvid")


def _plain(source: Path) -> PairLayout | None:
    """Folders of images and masks. Raises DataError if they are split differently."""
    whole = _images_and_masks(source)
    if whole is None:
        halves = by_split(folders_in(source)).items()
        found = {split: _images_and_masks(folder) for split, folder in halves}
        pairs = {split: pair for split, pair in found.items() if pair}
        return PairLayout(source, pairs, "folders") if pairs else None
    images, masks = (by_split(folders_in(folder)) for folder in (whole.images, whole.labels))
    if lonely := images.keys() ^ masks.keys():
        there, absent = whole.images, whole.labels
        if not images.keys() >= lonely:
            there, absent = absent, there
        names = " and ".join(sorted(lonely))
        raise DataError(f"{there} has {names}, but {absent} doesn't. Give both the same folders.")
    pairs = {split: PairFolders(images[split], masks[split]) for split in images}
    return PairLayout(source, pairs or {"all": whole}, "folders")


def _images_and_masks(folder: Path) -> PairFolders | None:
    """`images` and the masks beside it; labels and annotations may be those of boxes instead."""
    folders = folders_in(folder)
    named = [name for name in MASKS if name in folders] if IMAGES in folders else []
    for name in named:
        if name == MASKS[0] or has_files(folders[name], MASK_SUFFIXES):
            return PairFolders(folders[IMAGES], folders[name])
    return None


FORMATS = (_voc, _camvid, _plain)  # the first that fits counts
LAYOUT = (
    "images and masks folders with files of the same names (images/a.jpg and masks/a.png; split as "
    "images/train or train/images, if at all), or CamVid's (train and trainannot, val and "
    "valannot), or Pascal VOC's layout (JPEGImages and SegmentationClass)"
)
