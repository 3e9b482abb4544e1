"""Where a folder keeps its images and the masks of them, told by the names of its folders."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mobilevitv2.data.split_names import SPLIT_NAMES, by_split, folders_in, names_in
from mobilevitv2.errors import DataError

Kind = Literal["voc", "camvid", "folders"]

MASK_SUFFIXES = frozenset([".png", ".bmp", ".tif", ".tiff", ".gif"])  # of either case; no JPEG
IMAGES = "images"
MASKS = ("masks", "labels", "annotations")
ANNOT = "annot"  # CamVid: trainannot beside train
VOC_IMAGES, VOC_MASKS, VOC_LISTS = "JPEGImages", "SegmentationClass", "ImageSets/Segmentation"
LAYOUT = (
    "images and masks folders with files of the same names (images/a.jpg and masks/a.png; split as "
    "images/train or train/images, if at all), Pascal VOC's layout (JPEGImages and "
    "SegmentationClass), or CamVid's (train and trainannot, val and valannot)"
)


@dataclass(frozen=True)
class PairFolders:
    """The two folders of one split; `names` says which of the files count, None means all."""

    images: Path
    masks: Path
    names: tuple[str, ...] | None = None


@dataclass(frozen=True)
class MaskLayout:
    """What was recognized: the splits are `train`, `val`, `test`, or `all` where there are none."""

    kind: Kind
    root: Path
    splits: dict[str, PairFolders]


def is_segmentation(source: str | Path) -> bool:
    """Does the folder look like images with masks? Its files are not opened."""
    source = Path(source).expanduser()
    return source.is_dir() and bool(_candidates(source))


def find_layout(source: Path) -> MaskLayout:
    """The layout of a folder. Raises DataError where it has none, or more than one."""
    if not source.is_dir():
        what = "is not a folder" if source.exists() else "does not exist"
        raise DataError(f"{source} {what}. Give a folder with {LAYOUT}.")
    found = _candidates(source)
    if not found:
        held = "is empty" if not any(source.iterdir()) else "holds no images with masks"
        raise DataError(f"{source} {held}. Wanted is {LAYOUT}.")
    if len(found) > 1:
        names = " and ".join(str(root) for _, root in found)
        raise DataError(f"{source} holds several data sets: {names}. Give one of them.")
    kind, root = found[0]
    splits = {"voc": _voc_splits, "camvid": _camvid_splits, "folders": _folder_splits}[kind](root)
    if "val" not in splits and "train" in splits and "test" in splits:
        splits["val"] = splits.pop("test")  # where it is all there is
    if "train" not in splits and "all" not in splits:
        raise DataError(f"{root} has {' and '.join(splits)}, but no train. Add it: {LAYOUT}.")
    return MaskLayout(kind, root, splits)


def _candidates(source: Path) -> list[tuple[Kind, Path]]:
    beside = [source, *sorted(source.glob("VOC2*")), *sorted(source.glob("VOCdevkit/VOC2*"))]
    if voc := [p for p in beside if (p / VOC_IMAGES).is_dir() and (p / VOC_MASKS).is_dir()]:
        return [("voc", root) for root in voc]
    folders = folders_in(source)
    if any(name + ANNOT in folders for name in SPLIT_NAMES["train"] if name in folders):
        return [("camvid", source)]
    halves = [source, *by_split(folders).values()]
    return [("folders", source)] if any(map(_image_and_mask_folder, halves)) else []


def _voc_splits(root: Path) -> dict[str, PairFolders]:
    images, masks, lists = root / VOC_IMAGES, root / VOC_MASKS, root / VOC_LISTS
    named = {p.stem.lower(): p for p in sorted(lists.glob("*.txt"))}
    listed = by_split(named)
    if not listed:
        listed = {"all": named["trainval"]} if "trainval" in named else {}
    if not listed:
        return {"all": PairFolders(images, masks)}
    return {split: PairFolders(images, masks, names_in(path)) for split, path in listed.items()}


def _camvid_splits(root: Path) -> dict[str, PairFolders]:
    folders = folders_in(root)
    return {
        split: PairFolders(images, folders[images.name.lower() + ANNOT])
        for split, images in by_split(folders).items()
        if images.name.lower() + ANNOT in folders
    }


def _folder_splits(root: Path) -> dict[str, PairFolders]:
    whole = _image_and_mask_folder(root)
    if whole is None:
        halves = by_split(folders_in(root)).items()
        found = {split: _image_and_mask_folder(folder) for split, folder in halves}
        return {split: PairFolders(*pair) for split, pair in found.items() if pair}
    images, masks = (by_split(folders_in(folder)) for folder in whole)
    if not images and not masks:
        return {"all": PairFolders(*whole)}
    if lonely := images.keys() ^ masks.keys():
        there, absent = whole if images.keys() >= lonely else whole[::-1]
        names = " and ".join(sorted(lonely))
        raise DataError(f"{there} has {names}, which {absent} has not. Give both the same folders.")
    return {split: PairFolders(images[split], masks[split]) for split in images}


def _image_and_mask_folder(folder: Path) -> tuple[Path, Path] | None:
    """`images` and the masks beside it; labels and annotations may be those of boxes instead."""
    folders = folders_in(folder)
    if IMAGES not in folders:
        return None
    of_masks = [folders[name] for name in MASKS if name in folders]
    chosen = [path for path in of_masks if path.name.lower() == MASKS[0] or _holds_masks(path)]
    return (folders[IMAGES], chosen[0]) if chosen else None


def _holds_masks(folder: Path) -> bool:
    files = (name for _, _, files in os.walk(folder) for name in files)
    return any(os.path.splitext(name)[1].lower() in MASK_SUFFIXES for name in files)
