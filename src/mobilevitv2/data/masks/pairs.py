"""Which mask belongs to which image: the one of the same name."""

from dataclasses import dataclass, field
from pathlib import Path

from mobilevitv2.data.masks.folders import MASK_SUFFIXES
from mobilevitv2.data.paired import PairLayout, pair_up
from mobilevitv2.data.visible import LeftOut

MaskedSample = tuple[Path, Path]  # an image and its mask


@dataclass
class Pairs(LeftOut):
    """The pairs of each split, in the order of their names."""

    splits: dict[str, list[MaskedSample]] = field(default_factory=dict)


def find_pairs(layout: PairLayout) -> Pairs:
    """All pairs. Raises DataError where there are none, or an image or a mask stands alone."""
    found = Pairs()
    for split, pairs in pair_up(layout, MASK_SUFFIXES, "mask", found).items():
        found.splits[split] = [(image, mask) for image, mask in pairs if mask]
    return found
