"""Published data sets whose masks hold numbers, and how to tell that a folder is one of them."""

import re
from dataclasses import dataclass
from functools import cached_property

from mobilevitv2.class_names import ADE20K, CAMVID, VOC, Color, palette


@dataclass(frozen=True)
class KnownSet:
    """A published data set's names, and how to tell it from others of the same layout."""

    kind: str
    """Of the layout."""
    mark: str
    """Part of the folder's name, as a regular expression."""
    classes: tuple[str, ...]
    void: int | None = None
    """A value beside 255 that doesn't count."""
    reduce_labels: bool = False
    given_colors: tuple[Color, ...] = ()

    @cached_property
    def colors(self) -> list[Color]:
        """One per class."""
        if self.given_colors:
            return list(self.given_colors)
        first = int(self.reduce_labels)  # the color of 0 is that of void
        return palette(first + len(self.classes))[first:]

    def fits(self, kind: str, folder: str, largest: int, *, reduce_labels: bool) -> bool:
        """Do masks whose largest class is this belong to this set?

        Only in a folder with the set's name: others use the same layouts.
        """
        if kind != self.kind or reduce_labels != self.reduce_labels:
            return False
        named = re.search(rf"(?<![a-z])({self.mark})(?![a-z])", folder.lower()) is not None
        return named and (largest < len(self.classes) or largest == self.void)


KNOWN = {
    "voc": KnownSet("voc", "voc", VOC),
    "camvid": KnownSet(
        "camvid", "camvid", tuple(CAMVID), void=11, given_colors=tuple(CAMVID.values())
    ),
    "ade20k": KnownSet("folders", "ade20k|adechallengedata", ADE20K, reduce_labels=True),
}
