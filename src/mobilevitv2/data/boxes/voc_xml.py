"""One annotation file in Pascal VOC's format (Everingham et al., 2010), read with care."""

from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from mobilevitv2.errors import DataError

CORNERS = ("xmin", "ymin", "xmax", "ymax")


class VocObject(NamedTuple):
    """A box with its class, as it is written."""

    name: str
    corners: tuple[float, ...]
    """x1, y1, x2, y2; NaN for what is missing or isn't a number"""
    difficult: bool


class VocFile(NamedTuple):
    """What counts of a file."""

    objects: list[VocObject]
    size: tuple[int, int] | None
    """The image's; None where it is missing, 0 as some tools write it, or not a number."""


class _NoDoctype(ElementTree.TreeBuilder):
    """Refuses a DOCTYPE before anything in it is read: no entities to expand, no files to fetch."""

    def doctype(self, *_: object) -> None:
        raise DataError(
            "is refused: it has a DOCTYPE, which annotations don't need and which could make "
            "a reader expand or fetch other things; remove it"
        )


def read_voc_xml(path: Path) -> VocFile:
    """What the file says. Raises DataError, beginning in "is", for one that can't be read.

    Corners are taken as they are written. Pascal VOC itself counts pixels from 1 and names the last
    one; the tools that people draw boxes with write edges from 0, and nothing in a file tells which
    it is. A pixel at most is at stake.
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
    sides = [_number(root.findtext(f"size/{side}")) for side in ("width", "height")]
    whole = [int(side) for side in sides if 0 < side < 1e9]
    return VocFile(objects, (whole[0], whole[1]) if len(whole) == 2 else None)


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return float("nan")
