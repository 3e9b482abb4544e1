"""Boxes in Pascal VOC's format: an XML file for each image."""

from pathlib import Path

import numpy as np

from mobilevitv2.data.boxes.found import Annotated, FoundBoxes
from mobilevitv2.data.boxes.voc_layout import XML
from mobilevitv2.data.boxes.voc_xml import read_voc_xml
from mobilevitv2.data.class_lists import GivenClasses
from mobilevitv2.data.paired import PairLayout, by_name, listed_names
from mobilevitv2.data.sentences import some_of
from mobilevitv2.data.visible import visible_files
from mobilevitv2.errors import DataError
from mobilevitv2.images.reading import IMAGE_SUFFIXES


def read_voc(layout: PairLayout, _: GivenClasses | None = None) -> FoundBoxes:
    """All that the XML files of the splits say; the classes are the names in them, sorted.

    An image without an XML file is left out: it may have boxes that nobody drew yet. Raises
    DataError where an XML file has no image.
    """
    found = FoundBoxes("Pascal VOC", [], "what the XML files name", {})
    places = layout.splits.values()
    folders = dict.fromkeys(p for place in places for p in (place.images, place.labels))
    listings = {folder: _list(folder, folders.keys() - {folder}, found) for folder in folders}
    numbers: dict[str, int] = {}
    alone: set[Path] = set()
    if all(place.names is None for place in places):
        alone.update(path for _, annotations in listings.values() for path in annotations.values())
    for split, place in layout.splits.items():
        images, annotations = listings[place.images][0], listings[place.labels][1]
        there = images.keys() | annotations.keys()
        names = images if place.names is None else listed_names(place, there)
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
            objects = enumerate(content.objects, start=1)
            boxes = [(i, numbers.setdefault(o.name, len(numbers)), o.corners) for i, o in objects]
            ignored = np.array([one.difficult for one in content.objects], bool)
            of_image = Annotated.of(image, annotations[name], boxes)
            found.splits[split].append(of_image._replace(ignored=ignored, size=content.size))
    if alone:
        raise DataError(
            f"{layout.root} has XML files without an image: {some_of(sorted(alone))}. Give each an "
            "image of the same name (a.xml, a.jpg), or move what stands alone away."
        )
    found.names = sorted(numbers)  # whichever file came first
    rank = np.argsort([numbers[name] for name in found.names])
    for split, images in found.splits.items():
        found.splits[split] = [one._replace(labels=rank[one.labels]) for one in images]
    return found


def _list(
    folder: Path, others: set[Path], found: FoundBoxes
) -> tuple[dict[str, Path], dict[str, Path]]:
    """The images and the XML files below a folder, but for those below the `others`."""
    images, annotations = [], []
    for path in visible_files(folder, found, without=others):
        suffix = path.suffix.lower()
        if suffix in IMAGE_SUFFIXES:
            images.append(path)
        elif suffix == XML:
            annotations.append(path)
        else:
            found.strays += 1
    return by_name(images, folder, "XML files"), by_name(annotations, folder, "XML files")
