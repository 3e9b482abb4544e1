"""Boxes of Pascal VOC's form: an XML file for each image."""

import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mobilevitv2.data.boxes.found import Annotated, FoundBoxes
from mobilevitv2.data.boxes.voc_layout import XML, VocLayout, XmlFolders
from mobilevitv2.data.boxes.voc_xml import VocFile, read_voc_xml
from mobilevitv2.data.classes.folders import is_hidden
from mobilevitv2.data.masks.pairs import some_of
from mobilevitv2.errors import DataError
from mobilevitv2.images.reading import IMAGE_SUFFIXES


@dataclass
class _Listing:
    """The files of one folder by their path in it without the suffix."""

    images: dict[str, Path] = field(default_factory=dict)
    annotations: dict[str, Path] = field(default_factory=dict)
    strays: int = 0
    hidden: int = 0


def read_voc(layout: VocLayout) -> FoundBoxes:
    """All that the XML files of the splits say; the classes are the names in them, sorted.

    An image without an XML file is left out: it may have boxes that nobody drew yet. Raises
    DataError where an XML file has no image.
    """
    places = layout.splits.values()
    folders = list(dict.fromkeys(p for place in places for p in (place.images, place.annotations)))
    listings = {folder: _list(folder, {*folders} - {folder}) for folder in folders}
    found = FoundBoxes("Pascal VOC", [], "what the XML files name", {})
    found.strays = sum(listing.strays for listing in listings.values())
    found.hidden = sum(listing.hidden for listing in listings.values())
    numbers: dict[str, int] = {}
    alone: set[Path] = set()
    if all(place.names is None for place in places):
        alone.update(p for listing in listings.values() for p in listing.annotations.values())
    for split, place in layout.splits.items():
        images, annotations = listings[place.images].images, listings[place.annotations].annotations
        names = images if place.names is None else _listed(place, images, annotations)
        if split == "test" and not any(name in annotations for name in names):
            continue  # Pascal VOC kept those of its test images to itself
        alone |= {annotations[name] for name in names if name not in images}
        alone -= {annotations[name] for name in names if name in images and name in annotations}
        found.splits[split] = []
        for name, image in ((name, images[name]) for name in names if name in images):
            if name not in annotations:
                found.unannotated.append(str(image))
                continue
            try:
                content = read_voc_xml(annotations[name])
            except DataError as error:
                found.unreadable[str(annotations[name])] = str(error)
                continue
            found.splits[split].append(_annotated(image, annotations[name], content, numbers))
    if alone:
        raise DataError(
            f"{layout.root} has XML files without an image: {some_of(sorted(alone))}. Give each an "
            "image of the same name (a.xml, a.jpg), or move what stands alone away."
        )
    return _sorted(found, numbers)


def _list(folder: Path, others: set[Path]) -> _Listing:
    """The files below a folder, but for those below the `others`."""
    found = _Listing()
    for parent, below, files in os.walk(folder):
        found.hidden += sum(map(is_hidden, [*below, *files]))
        below[:] = sorted(n for n in below if not is_hidden(n) and Path(parent, n) not in others)
        for path in (Path(parent, name) for name in sorted(files) if not is_hidden(name)):
            suffix = path.suffix.lower()
            named = found.annotations if suffix == XML else found.images
            if suffix not in (XML, *IMAGE_SUFFIXES):
                found.strays += 1
                continue
            name = path.relative_to(folder).with_suffix("").as_posix()
            if name in named:
                raise DataError(
                    f"{named[name]} and {path} have one name, by which image and XML file are "
                    "matched. Rename or remove one."
                )
            named[name] = path
    return found


def _listed(place: XmlFolders, images: dict[str, Path], annotations: dict[str, Path]) -> list[str]:
    """The names that a list gives, with or without the suffix of the image."""
    there = images.keys() | annotations.keys()
    names = [n if n in there else Path(n).with_suffix("").as_posix() for n in place.names or ()]
    if absent := [name for name in names if name not in there]:
        raise DataError(
            f"{place.images} lacks images that the list of its split names: {some_of(absent)}. "
            "Add them, or take them off the list."
        )
    return names


def _annotated(image: Path, path: Path, content: VocFile, numbers: dict[str, int]) -> Annotated:
    objects = content.objects
    return Annotated(
        image,
        path,
        np.array([numbers.setdefault(o.name, len(numbers)) for o in objects], np.int64),
        np.array([o.corners for o in objects], np.float64).reshape(-1, 4),
        np.array([o.difficult for o in objects], bool),
        np.full(len(objects), np.nan),
        np.arange(1, len(objects) + 1),
        content.size,
    )


def _sorted(found: FoundBoxes, numbers: dict[str, int]) -> FoundBoxes:
    """With the classes in the order of their names, whichever file came first."""
    found.names = sorted(numbers)
    place = np.zeros(len(numbers), np.int64)
    place[[numbers[name] for name in found.names]] = np.arange(len(numbers))
    found.splits = {
        split: [one._replace(labels=place[one.labels]) for one in images]
        for split, images in found.splits.items()
    }
    return found
