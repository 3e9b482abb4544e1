"""What is wrong or odd about a data set, and on which of its images it can be seen."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from mobilevitv2.errors import first_of, some_of

UNEVEN = 100  # times as many of one class as of another


class Finding(NamedTuple):
    """A sentence, and what to write under each image that shows it."""

    sentence: str
    images: dict[Path, str]


def find_all(data: Any) -> list[Finding]:
    """What was found in `Data` of any kind, the worst first."""
    found = []
    for sentence, images in (*_repeated(data), *data.odd(), *_uneven(data)):
        named = f": {first_of(map(data.relative, images))}" if images else ""
        found.append(Finding(f"{sentence}{named}", images))
    return found


def _repeated(data: Any) -> Iterable[Finding]:
    """Files of one content: in two splits, with two labels, or twice in a split."""
    where: dict[Path, list[tuple[str, Any]]] = defaultdict(list)
    for split, samples in data.splits.items():
        for sample in samples:
            if isinstance(sample[0], Path):  # and not an array
                where[sample[0]].append((split, data.caption(sample)))
    across, labels, inside = {}, {}, {}
    for paths in _alike(where):
        places = [place for path in paths for place in where[path]]
        splits, captions = (list(dict.fromkeys(of_all)) for of_all in zip(*places, strict=True))
        if len(captions) > 1:
            labels |= dict.fromkeys(paths, f"as {' and '.join(captions)}")
        if len(splits) > 1:
            across |= dict.fromkeys(paths, f"in {' and '.join(splits)}")
        elif len(places) > 1:
            inside |= dict.fromkeys(paths, f"{len(places)} times in {splits[0]}")
    for images, what in (
        (across, "are in more than one split, so that scores on them are too good"),
        (labels, "have the content of one of another class"),
        (inside, "have the content of another one in their split"),
    ):
        if images:
            yield Finding(f"{len(images):,} images {what}", images)


def _alike(paths: Iterable[Path]) -> list[list[Path]]:
    """Groups of files of one content, also of one file; only those of one length are read."""
    by_length: dict[int, list[Path]] = defaultdict(list)
    for path in paths:
        if path.is_file():  # still
            by_length[path.stat().st_size].append(path)
    groups = []
    for same in by_length.values():
        by_content: dict[bytes, list[Path]] = defaultdict(list)
        for path in same:
            content = hashlib.sha256(path.read_bytes()).digest() if len(same) > 1 else b""
            by_content[content].append(path)
        groups += by_content.values()
    return groups


def _uneven(data: Any) -> Iterable[Finding]:
    """Classes that are absent from a split, or rare beside another one."""
    classes, amounts = data.classes, data.amounts()
    for split, counted in amounts.items():
        if absent := [name for name, n in zip(classes, counted, strict=True) if not n]:
            missing = f"{split} does not show {some_of(absent)}"
            yield Finding(f"{missing} of the {len(classes):,} classes", {})
    counted = amounts["train"]
    most, least = max(counted), min((n for n in counted if n), default=0)
    if least and most > UNEVEN * least:
        rare, common = classes[counted.index(least)], classes[counted.index(most)]
        often = f"train shows {common} {most / least:,.0f} times as often as {rare}"
        yield Finding(f"{often}; rare classes are learned badly", {})
