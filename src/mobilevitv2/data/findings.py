"""What is wrong or odd about a data set, and on which of its images it can be seen."""

# n boxes of an image

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mobilevitv2.data.boxes.opening import DetectionData
from mobilevitv2.data.classes.opening import ClassificationData
from mobilevitv2.data.masks.pairs import NAMED, some_of

NETWORK = 320  # px, the sides of the square that a detector sees
TINY = 8  # px on it; half the step of the finest map on which boxes are found
LONG = 10  # times as long as wide
UNEVEN = 100  # times as many of one class as of another


class Finding(NamedTuple):
    """A sentence, and what is to stand under each image that shows it."""

    sentence: str
    images: dict[Path, str]


def find_all(data: Any) -> list[Finding]:
    """What was found in a data set of any task, the worst first."""
    found = list(_repeated(data))
    if isinstance(data, DetectionData):
        found += _boxes(data)
    amounts = getattr(data, "pixels", None) or (
        data.boxes() if isinstance(data, DetectionData) else data.counts()
    )
    return found + list(_uneven(data.classes, amounts))


def image_of(sample: Any) -> Path | None:
    """The file of a sample; None of an array."""
    return sample[0] if isinstance(sample[0], Path) else None


def _repeated(data: Any) -> Iterable[Finding]:
    """Files of one content: in two splits, in two classes, or twice in a split."""
    where: dict[Path, list[tuple[str, Any]]] = defaultdict(list)
    for split, samples in data.splits.items():
        for sample in samples:
            path = image_of(sample)
            if path is not None:
                label = sample[1] if isinstance(data, ClassificationData) else None
                where[path].append((split, label))
    across: dict[Path, str] = {}
    labels: dict[Path, str] = {}
    inside: dict[Path, str] = {}
    for paths in _alike(where):
        places = [(path, split, label) for path in paths for split, label in where[path]]
        splits = list(dict.fromkeys(split for _, split, _ in places))
        classes = list(dict.fromkeys(label for _, _, label in places))
        if len(classes) > 1:
            said = " and ".join(data.classes[label] for label in classes)
            labels |= dict.fromkeys(paths, f"as {said}")
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
            yield Finding(f"{len(images):,} images {what}: {_some(images, data)}", images)


def _alike(paths: Iterable[Path]) -> list[list[Path]]:
    """Groups of files of one content, also of one file; only those of one length are read."""
    by_length: dict[int, list[Path]] = defaultdict(list)
    for path in paths:
        if path.is_file():  # still
            by_length[path.stat().st_size].append(path)
    groups = [same for same in by_length.values() if len(same) == 1]
    for same in by_length.values():
        by_content: dict[bytes, list[Path]] = defaultdict(list)
        for path in same if len(same) > 1 else []:
            by_content[hashlib.sha256(path.read_bytes()).digest()].append(path)
        groups += by_content.values()
    return groups


def _boxes(data: DetectionData) -> Iterable[Finding]:
    if data.mended:
        said = f"{len(data.mended):,} images have boxes that were cut off or dropped"
        yield Finding(f"{said}: {_some(data.mended, data)}", data.mended)
    counts: dict[str, dict[Path, int]] = {"twice": {}, "long": {}, "tiny": {}}
    for samples in data.splits.values():
        for image, boxes in samples:
            sides = boxes.corners[:, 2:] - boxes.corners[:, :2]
            seen = sides * NETWORK / np.array(data.sizes[image])
            rows = np.column_stack([boxes.labels, boxes.corners.round(2)])
            odd = {"twice": len(rows) - len(np.unique(rows, axis=0))}
            odd["long"] = int((sides.max(1) > LONG * sides.min(1)).sum()) if len(rows) else 0
            odd["tiny"] = int((seen.min(1) < TINY).sum()) if len(rows) else 0
            for what, count in odd.items():
                if count:
                    counts[what][image] = count
    total = sum(len(s.boxes.labels) for samples in data.splits.values() for s in samples)
    said = {
        "twice": ("are there twice, of one class and place", "twice"),
        "long": (f"are more than {LONG} times as long as wide", "very long"),
        "tiny": (f"are narrower than {TINY} px at {NETWORK} px, hard to find", "tiny"),
    }
    for what, (sentence, words) in said.items():
        if images := counts[what]:
            boxes = sum(images.values())
            share = f"{boxes:,} boxes ({boxes / total:.1%})"
            yield Finding(
                f"{share} in {len(images):,} images {sentence}: {_some(images, data)}",
                {image: f"{count} {words}" for image, count in images.items()},
            )


def _uneven(classes: Sequence[str], amounts: Mapping[str, Sequence[int]]) -> Iterable[Finding]:
    """Classes that are absent from a split, or rare beside another one."""
    for split, counted in amounts.items():
        if absent := [name for name, n in zip(classes, counted, strict=True) if not n]:
            yield Finding(
                f"{split} does not show {some_of(absent)} of the {len(classes):,} classes", {}
            )
    counted = amounts["train"]
    most, least = max(counted), min((n for n in counted if n), default=0)
    if least and most > UNEVEN * least:
        rare, common = classes[list(counted).index(least)], classes[list(counted).index(most)]
        yield Finding(
            f"train shows {common} {most / least:,.0f} times as often as {rare}; rare classes are "
            "learned badly",
            {},
        )


def _some(images: Iterable[Path], data: Any) -> str:
    """The first few, as they are called in the data's folder."""
    root, listed = data.root or Path(), list(images)
    named = [str(p.relative_to(root) if p.is_relative_to(root) else p) for p in listed[:NAMED]]
    return ", ".join(named) + (", ..." if len(listed) > NAMED else "")
