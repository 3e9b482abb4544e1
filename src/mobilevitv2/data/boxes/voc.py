"""Boxes in Pascal VOC's format (Everingham et al., 2010): an XML file for each image."""

from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np

from mobilevitv2.data.boxes.found import Annotated, FoundBoxes
from mobilevitv2.data.class_lists import GivenClasses
from mobilevitv2.data.paired import PairFolders, PairLayout, find_voc, pair_up, splits_inside
from mobilevitv2.data.split_names import by_split, folders_in, splits_in
from mobilevitv2.errors import DataError
from mobilevitv2.images.finding import has_files

XML = (".xml",)
IMAGE_FOLDERS = ("jpegimages", "images", "imgs")
XML_FOLDERS = ("annotations", "annotation", "labels", "xmls", "xml")
CORNERS = ("xmin", "ymin", "xmax", "ymax")


def looks_like_voc(source: Path) -> bool:
    """Are there XML files where such a data set has them?"""
    return source.is_dir() and (
        _in_its_folders(source) is not None
        or any(map(_xml_folder, [source, *splits_in(source).values()]))
    )


def find_layout(source: Path) -> PairLayout:
    """The layout of a folder that looks like it. Raises DataError if it can't be told."""
    if layout := _in_its_folders(source):
        return layout
    if whole := _folders_of(source):
        return PairLayout(source, splits_inside(whole))
    halves = by_split(folders_in(source))
    found = {split: _folders_of(folder) for split, folder in halves.items()}
    return PairLayout(source, {split: place for split, place in found.items() if place})


def read_voc(layout: PairLayout, _: GivenClasses | None = None) -> FoundBoxes:
    """All that the XML files of the splits say; the classes are the names in them, sorted.

    An image without an XML file is left out: it may have boxes that nobody drew yet. Raises
    DataError if an XML file has no image.
    """
    found = FoundBoxes(format="Pascal VOC", names=[], origin="what the XML files name")
    numbers: dict[str, int] = {}
    for split, pairs in pair_up(layout, XML, "XML file", found, optional=True).items():
        found.splits[split] = []
        for image, path in pairs:
            if path is None:
                found.unannotated.append(str(image))
                continue
            try:
                objects, size = read_voc_xml(path)
            except DataError as error:
                found.unreadable[str(path)] = str(error)
                continue
            boxes = [
                (i, numbers.setdefault(one.name, len(numbers)), one.corners)
                for i, one in enumerate(objects, start=1)
            ]
            ignored = np.array([one.difficult for one in objects], bool)
            annotated = Annotated.of(image, path, boxes)
            found.splits[split].append(annotated._replace(ignored=ignored, size=size))
    found.names = sorted(numbers)  # whichever file came first
    rank = np.argsort([numbers[name] for name in found.names])
    for split, images in found.splits.items():
        found.splits[split] = [one._replace(labels=rank[one.labels]) for one in images]
    return found


def _in_its_folders(source: Path) -> PairLayout | None:
    return find_voc(source, "Annotations", "ImageSets/Main", lambda f: has_files(f, XML))


def _xml_folder(folder: Path) -> Path | None:
    """The folder below that has XML files, or the folder itself."""
    below = folders_in(folder)
    named = (below[name] for name in XML_FOLDERS if name in below)
    beside = folder if has_files(folder, XML, deep=False) else None
    return next((path for path in named if has_files(path, XML)), beside)


def _folders_of(folder: Path) -> PairFolders | None:
    labels, below = _xml_folder(folder), folders_in(folder)
    images = next((below[name] for name in IMAGE_FOLDERS if name in below), folder)
    return PairFolders(images, labels) if labels else None


class VocObject(NamedTuple):
    """A box with its class, as it is written."""

    name: str
    corners: tuple[float, ...]  # x1, y1, x2, y2; NaN for what is missing or isn't a number
    difficult: bool


class _NoDoctype(ElementTree.TreeBuilder):
    """Refuses a DOCTYPE before anything in it is read: no entities to expand, no files to fetch."""

    def doctype(self, *_: object) -> None:
        raise DataError(
            "is refused: it has a DOCTYPE, which annotations don't need and which could make "
            "a reader expand or fetch other things; remove it"
        )


def read_voc_xml(path: Path) -> tuple[list[VocObject], tuple[int, int] | None]:
    """The objects, and the image's width and height unless these are missing, 0 or no numbers.

    Corners are taken as they are written. Pascal VOC itself counts pixels from 1 and names the last
    one; the tools that people draw boxes with write edges from 0, and nothing in a file tells which
    it is. They differ by a pixel. Raises DataError, beginning with "is", for an unreadable file.
    """
    parser = ElementTree.XMLParser(target=_NoDoctype())
    try:
        parser.feed(path.read_bytes())
        root = parser.close()
    except ElementTree.ParseError as error:
        raise DataError(f"is not valid XML ({error})") from error
    except DataError:
        raise
    except (OSError, ValueError, LookupError) as error:  # the latter two of a strange encoding
        raise DataError(f"is not readable ({error})") from error
    if root.tag != "annotation":
        raise DataError("isn't an annotation: its root isn't <annotation>, with <object> in it")
    objects = [
        VocObject(
            (one.findtext("name") or "").strip(),
            tuple(_number(one.findtext(f"bndbox/{corner}")) for corner in CORNERS),
            (one.findtext("difficult") or "").strip() == "1",
        )
        for one in root.iterfind("object")
    ]
    if nameless := [i for i, one in enumerate(objects, start=1) if not one.name]:
        raise DataError(f"isn't complete: its object {nameless[0]} has no class name")
    width, height = (_number(root.findtext(f"size/{side}")) for side in ("width", "height"))
    sized = 0 < width < 1e9 and 0 < height < 1e9
    return objects, (int(width), int(height)) if sized else None


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return float("nan")
