"""Images with masks: opened by `open_segmentation`, decoded by `MaskedImages`."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mobilevitv2.class_names import Color
from mobilevitv2.data.class_lists import GivenClasses
from mobilevitv2.data.data_set import Data, settled, usable
from mobilevitv2.data.decoded import DecodedSamples, reduce_to
from mobilevitv2.data.headers import Header
from mobilevitv2.data.masks.classes import settle_classes
from mobilevitv2.data.masks.reading import (
    IGNORED,
    MaskedSample,
    check_values,
    class_table,
    look_at_pairs,
    read_classes,
)
from mobilevitv2.data.paired import PairFolders, PairLayout, find_voc, pair_up
from mobilevitv2.data.split_names import (
    SPLIT_NAMES,
    by_split,
    check_share,
    check_train,
    folders_in,
    nothing_found,
)
from mobilevitv2.errors import DataError
from mobilevitv2.images.finding import LeftOut, has_files
from mobilevitv2.images.reading import load_image

ANNOT = "annot"  # CamVid's masks of `train` are in `trainannot`
IMAGES = "images"
MASKS = ("masks", "labels", "annotations")
MASK_SUFFIXES = frozenset([".png", ".bmp", ".tif", ".tiff", ".gif"])  # no JPEG, which changes them


@dataclass(kw_only=True)
class SegmentationData(Data[MaskedSample]):
    """Images with masks, and what their pixels are."""

    task = "segmentation"

    colors: list[Color]  # RGB of each class, for drawing
    ignored: tuple[int, ...] = (IGNORED,)  # values in the mask files that don't count
    reduce_labels: bool = False  # a class is its value in the files less one
    pixels: dict[str, list[int]] = field(default_factory=dict)
    """For each split, the pixels of each class."""
    void: dict[str, int] = field(default_factory=dict)
    """For each split, the pixels that don't count."""
    images: dict[str, list[int]] = field(default_factory=dict)
    """For each split, the images in which each class is seen."""
    unlabeled: list[str] = field(default_factory=list)  # masks without a pixel that counts

    def counts(self) -> dict[str, list[int]]:
        return self.images

    def amounts(self) -> dict[str, list[int]]:
        return self.pixels

    def annotations(self) -> dict[str, Any]:
        named = zip(self.classes, self.colors, strict=True)
        return {
            "classes": {name: list(color) for name, color in named},
            "ignore": list(self.ignored),
            "reduce_labels": self.reduce_labels,
        }

    def target(self, sample: MaskedSample) -> str | None:
        return self.relative(sample[1])

    def read_mask(self, path: Path) -> np.ndarray:
        """uint8 [H, W]: class numbers, and IGNORED if a pixel doesn't count.

        Raises ImageError for a file that can't be read, DataError for other values than at opening.
        """
        table = class_table(self.ignored, reduce_labels=self.reduce_labels)
        return read_classes(path, table, len(self.classes))

    def _table(self) -> list[list[str]]:
        rows = [["class", *(title for name in self.splits for title in (name, "images"))]]
        rows += [[label] for label in [*self.classes, "void", "all"]]
        for split, samples in self.splits.items():
            counted, void = self.pixels[split], self.void[split]
            shares = [_percent(pixels, sum(counted)) for pixels in counted]
            shares += [_percent(void, void + sum(counted)), ""]
            images = [*(f"{n:,}" for n in self.images[split]), "", f"{len(samples):,}"]
            for row, share, number in zip(rows[1:], shares, images, strict=True):
                row += [share, number]
        return rows

    def _left_out(self) -> dict[str, list[str]]:
        void = [f"{path} is void throughout" for path in self.unlabeled]
        return {"without a label": void, **super()._left_out()}


def is_segmentation(source: str | Path) -> bool:
    """Does the folder look like images with masks? The masks are not opened."""
    source = Path(source).expanduser()
    return source.is_dir() and any(find(source) for find in FORMATS)


def open_segmentation(
    source: str | Path,
    *,
    seed: int = 0,
    val_share: float = 0.2,
    classes: GivenClasses | None = None,
    ignore: int | Sequence[int] | None = None,
    reduce_labels: bool = False,
) -> SegmentationData:
    """The images and masks of a folder: image and mask folders, Pascal VOC's, or CamVid's layout.

    If nothing is split yet, `val_share` of the pairs is drawn for validation by `seed`.
    `classes` are names, also with their RGB, a file of them (see `read_class_list`) or a published
    set's name; unset, they are a classes.txt or classes.json in the folder, a published set after
    which the folder is named, or the values in the masks. Value 255 never counts, nor do those of
    `ignore`; `reduce_labels` leaves out 0 and takes one off the others, as for ADE20K.

    Pairs with an unreadable file or a mask that is void throughout are left out and counted. Raises
    DataError if this makes no data set.
    """
    check_share(val_share)
    ignored = [] if ignore is None else [ignore] if isinstance(ignore, int) else list(ignore)
    if wrong := [v for v in ignored if not isinstance(v, int) or not 0 <= v <= 255]:
        raise DataError(f"ignore has {wrong[0]!r}; expected values of masks, 0 to 255.")
    ignored = tuple(sorted({*ignored, IGNORED}))
    source = Path(source).expanduser()
    layout = find_layout(source)
    left_out = LeftOut()
    pairs = {
        split: [(image, mask) for image, mask in of_split if mask]
        for split, of_split in pair_up(layout, MASK_SUFFIXES, "mask", left_out).items()
    }
    every = [pair for of_split in pairs.values() for pair in of_split]
    headers, masks, unreadable = look_at_pairs(every)
    chosen, colors, ignored = settle_classes(
        classes, source, layout, masks, ignored=ignored, reduce_labels=reduce_labels
    )
    table = class_table(ignored, reduce_labels=reduce_labels)
    check_values(masks, table, len(chosen.names), chosen.origin)
    pixels = {}  # int64 [classes] of each mask
    for mask, look in masks.items():
        counts = np.bincount(table, look.counts, minlength=256)
        pixels[mask] = counts[: len(chosen.names)].astype(np.int64)
    void = "is void throughout: every pixel has a value that is ignored"
    unlabeled = {str(path): void for path, counted in pixels.items() if not counted.any()}
    splits = usable(pairs, unreadable | unlabeled)
    fields = settled(source, splits, headers, val_share, seed)  # splits get a `val`
    return SegmentationData(
        classes=chosen.names,
        colors=colors,
        origin=chosen.origin,
        ignored=ignored,
        reduce_labels=reduce_labels,
        unlabeled=list(unlabeled),
        unreadable=unreadable,
        **vars(left_out),
        **_tally(splits, headers, pixels),
        **fields,
    )


def _tally(
    splits: dict[str, list[MaskedSample]],
    headers: dict[Path, Header],
    pixels: dict[Path, np.ndarray],
) -> dict[str, dict]:
    """`pixels`, `void` and `images` of the data, split by split."""
    tally: dict[str, dict] = {"pixels": {}, "void": {}, "images": {}}
    for name, pairs in splits.items():
        counted = np.stack([pixels[mask] for _, mask in pairs])
        area = sum(math.prod(headers[image].size) for image, _ in pairs)
        tally["pixels"][name] = counted.sum(0).tolist()
        tally["void"][name] = area - int(counted.sum())
        tally["images"][name] = (counted > 0).sum(0).tolist()
    return tally


def _percent(part: int, whole: int) -> str:
    return f"{part / whole:.2%}" if whole else "0.00%"


def find_layout(source: Path) -> PairLayout:
    """The layout of a folder. Raises DataError if it has none, or more than one."""
    found = (find(source) for find in FORMATS) if source.is_dir() else iter(())
    layout = next((layout for layout in found if layout), None)
    if layout is None:
        raise nothing_found(source, "images with masks", LAYOUT)
    check_train(layout.root, layout.splits, f": {LAYOUT}")
    return layout


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


VOC = {"labels": "SegmentationClass", "lists": "ImageSets/Segmentation", "has_labels": Path.is_dir}
FORMATS = (partial(find_voc, **VOC), _camvid, _plain)  # the first that fits counts
LAYOUT = (
    "images and masks folders with files of the same names (images/a.jpg and masks/a.png; split as "
    "images/train or train/images, if at all), or CamVid's (train and trainannot, val and "
    "valannot), or Pascal VOC's layout (JPEGImages and SegmentationClass)"
)


class MaskedImages(DecodedSamples):
    """Images with masks, replaced by any other pair.

    `prepare(image, mask, (epoch, index))` makes both of the upright RGB image and its mask, uint8
    [H, W] as `read_mask` gives it: class numbers, and IGNORED, which a mask that doesn't count
    holds throughout. Masks are reduced with their images by taking the nearest pixel.
    """

    def __init__(
        self,
        samples: Sequence[Any],
        read_mask: Callable[[Path], np.ndarray],
        *args: Any,
        **options: Any,
    ) -> None:
        super().__init__(samples, *args, **options)
        self.read_mask = read_mask

    def _decode(self, index: int) -> tuple[Image.Image, ...]:
        path, mask_path = self.samples[index]
        image, mask = load_image(path), Image.fromarray(self.read_mask(mask_path))
        if image.size != mask.size:
            raise DataError(f"{mask_path} and {path} are no longer the same size. Restore them.")
        image = reduce_to(image, self.short_side)
        if mask.size != image.size:
            mask = mask.resize(image.size, Image.Resampling.NEAREST)
        return image, mask

    def _prepare(
        self, pictures: tuple[Image.Image, ...], index: int, key: tuple[int, int], *, lost: bool
    ) -> tuple[Any, Any]:
        image, mask = pictures[0], np.array(pictures[1])  # a copy, which may be written to
        if lost:
            mask[:] = IGNORED
        return self.prepare(image, mask, key)
