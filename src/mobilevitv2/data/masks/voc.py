"""Masks in Pascal VOC's layout."""

from pathlib import Path

from mobilevitv2.data.paired import VOC_IMAGES, PairFolders, voc_roots, voc_splits

MASKS, LISTS = "SegmentationClass", "ImageSets/Segmentation"


def find_roots(source: Path) -> list[Path]:
    """The folders with images and masks."""
    return voc_roots(source, lambda root: (root / MASKS).is_dir())


def find_splits(root: Path) -> dict[str, PairFolders]:
    """By the lists, if there are any."""
    whole = PairFolders(root / VOC_IMAGES, root / MASKS)
    return voc_splits(whole, root / LISTS) or {"all": whole}
