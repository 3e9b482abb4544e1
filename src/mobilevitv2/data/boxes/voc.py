"""Boxes in Pascal VOC's format: an XML file for each image."""

import numpy as np

from mobilevitv2.data.boxes.found import Annotated, FoundBoxes
from mobilevitv2.data.boxes.voc_layout import XML
from mobilevitv2.data.boxes.voc_xml import read_voc_xml
from mobilevitv2.data.class_lists import GivenClasses
from mobilevitv2.data.paired import PairLayout, pair_up
from mobilevitv2.errors import DataError


def read_voc(layout: PairLayout, _: GivenClasses | None = None) -> FoundBoxes:
    """All that the XML files of the splits say; the classes are the names in them, sorted.

    An image without an XML file is left out: it may have boxes that nobody drew yet. Raises
    DataError where an XML file has no image.
    """
    found = FoundBoxes("Pascal VOC", [], "what the XML files name", {})
    numbers: dict[str, int] = {}
    for split, pairs in pair_up(layout, (XML,), "XML file", found, optional=True).items():
        found.splits[split] = []
        for image, path in pairs:
            if path is None:
                found.unannotated.append(str(image))
                continue
            try:
                content = read_voc_xml(path)
            except DataError as error:
                found.unreadable[str(path)] = str(error)
                continue
            objects = enumerate(content.objects, start=1)
            boxes = [(i, numbers.setdefault(o.name, len(numbers)), o.corners) for i, o in objects]
            ignored = np.array([one.difficult for one in content.objects], bool)
            annotated = Annotated.of(image, path, boxes)
            found.splits[split].append(annotated._replace(ignored=ignored, size=content.size))
    found.names = sorted(numbers)  # whichever file came first
    rank = np.argsort([numbers[name] for name in found.names])
    for split, images in found.splits.items():
        found.splits[split] = [one._replace(labels=rank[one.labels]) for one in images]
    return found
