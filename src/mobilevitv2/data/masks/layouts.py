"""Where a folder keeps its images and the masks of them, told by the names of its folders."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from mobilevitv2.data.masks import camvid, folders, voc
from mobilevitv2.data.paired import PairFolders, PairLayout, only_root
from mobilevitv2.data.split_names import nothing_found
from mobilevitv2.errors import DataError


class MaskFormat(NamedTuple):
    """A layout of images and masks."""

    kind: str
    find_roots: Callable[[Path], list[Path]]
    """Data sets of this layout in a folder; [] where it doesn't look like it."""
    find_splits: Callable[[Path], dict[str, PairFolders]]
    description: str


FORMATS = (  # the first that fits counts
    MaskFormat(
        "voc",
        voc.find_roots,
        voc.find_splits,
        "Pascal VOC's layout (JPEGImages and SegmentationClass)",
    ),
    MaskFormat(
        "camvid",
        camvid.find_roots,
        camvid.find_splits,
        "CamVid's (train and trainannot, val and valannot)",
    ),
    MaskFormat(
        "folders",
        folders.find_roots,
        folders.find_splits,
        "images and masks folders with files of the same names (images/a.jpg and masks/a.png; "
        "split as images/train or train/images, if at all)",
    ),
)
LAYOUT = ", or ".join(layout.description for layout in reversed(FORMATS))


def is_segmentation(source: str | Path) -> bool:
    """Does the folder look like images with masks? Its files are not opened."""
    source = Path(source).expanduser()
    return source.is_dir() and any(layout.find_roots(source) for layout in FORMATS)


def find_layout(source: Path) -> PairLayout:
    """The layout of a folder. Raises DataError where it has none, or more than one."""
    for layout in FORMATS if source.is_dir() else ():
        if roots := layout.find_roots(source):
            root = only_root(source, roots)
            splits = layout.find_splits(root)
            if "train" not in splits and "all" not in splits:
                there = " and ".join(splits)
                raise DataError(f"{root} has {there}, but no train. Add it: {LAYOUT}.")
            return PairLayout(root, splits, layout.kind)
    raise nothing_found(source, "images with masks", LAYOUT)
