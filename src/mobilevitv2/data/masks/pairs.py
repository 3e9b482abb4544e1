"""Which mask belongs to which image: the one of the same name."""

from dataclasses import dataclass, field
from pathlib import Path

from mobilevitv2.data.masks.folders import MASK_SUFFIXES
from mobilevitv2.data.masks.layouts import LAYOUT
from mobilevitv2.data.paired import PairLayout, by_name, listed_names
from mobilevitv2.data.sentences import some_of
from mobilevitv2.data.visible import LeftOut, visible_files
from mobilevitv2.errors import DataError
from mobilevitv2.images.reading import IMAGE_SUFFIXES

MaskedSample = tuple[Path, Path]  # an image and its mask


@dataclass
class Pairs(LeftOut):
    """The pairs of each split, in the order of their names; what else lies there is counted."""

    splits: dict[str, list[MaskedSample]] = field(default_factory=dict)


def find_pairs(layout: PairLayout) -> Pairs:
    """All pairs. Raises DataError where there are none, or an image or a mask stands alone."""
    found = Pairs()
    listings: dict[Path, dict[str, Path]] = {}  # VOC's splits share their folders
    alone: dict[str, list[Path]] = {"images without a mask": [], "masks without an image": []}
    for split, place in layout.splits.items():
        for folder, suffixes in ((place.images, IMAGE_SUFFIXES), (place.labels, MASK_SUFFIXES)):
            if folder not in listings:
                listings[folder] = _files_by_name(folder, suffixes, found)
        images, masks = listings[place.images], listings[place.labels]
        names = images.keys() | masks.keys()
        if place.names is not None:
            if split == "test" and not any(name in masks for name in place.names):
                continue  # Pascal VOC keeps the masks of its test images to itself
            names = listed_names(place, images)
        pairs = [(images.get(name), masks.get(name)) for name in sorted(names)]
        found.splits[split] = [(image, mask) for image, mask in pairs if image and mask]
        alone["images without a mask"] += [image for image, mask in pairs if image and not mask]
        alone["masks without an image"] += [mask for image, mask in pairs if mask and not image]
    if listed := "; ".join(f"{what}: {some_of(paths)}" for what, paths in alone.items() if paths):
        raise DataError(
            f"{layout.root} has {listed}. Give each image a mask of the same name (a.jpg, a.png), "
            "or move what stands alone away."
        )
    return found


def _files_by_name(folder: Path, suffixes: frozenset[str], found: Pairs) -> dict[str, Path]:
    files = []
    for path in visible_files(folder, found):
        if path.suffix.lower() in suffixes and path.is_file():
            files.append(path)
        else:
            found.strays += 1
    if not files:
        what = "images" if suffixes is IMAGE_SUFFIXES else "masks"
        endings = ", ".join(sorted(suffixes))
        raise DataError(f"{folder} holds no {what} ({endings}). Expected {LAYOUT}.")
    return by_name(files, folder, "masks")
