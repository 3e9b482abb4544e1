"""One annotation file of Pascal VOC's form (Everingham et al., 2010), read with care."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple
from xml.parsers import expat

from mobilevitv2.errors import DataError

ROOT = ("annotation",)
OBJECT = (*ROOT, "object")
CORNERS = ("xmin", "ymin", "xmax", "ymax")


class VocObject(NamedTuple):
    """A box with its class, as it is written."""

    name: str
    corners: tuple[float, ...]
    """x1, y1, x2, y2; NaN where a number is missing or none"""
    difficult: bool


class VocFile(NamedTuple):
    """What counts of a file."""

    objects: list[VocObject]
    size: tuple[int, int] | None


def read_voc_xml(path: Path) -> VocFile:
    """What the file says. Raises DataError, beginning in "is", for one that can't be read.

    Corners are taken as they are written. Those of Pascal VOC itself count pixels from 1 and name
    the last one; the tools that people draw boxes with write edges from 0, and nothing in a file
    tells which it is. A pixel at most is at stake.

    A DOCTYPE is refused before anything of it is read, so that there are no entities to expand and
    no files to fetch.
    """
    texts: dict[tuple[str, ...], str] = {}
    objects: list[dict[tuple[str, ...], str]] = []
    place: list[str] = []

    def start(name: str, _: object) -> None:
        place.append(name)
        if tuple(place) == OBJECT:
            objects.append({})
        text("")

    def end(_: str) -> None:
        place.pop()

    def text(content: str) -> None:
        where = tuple(place)
        inside = where[: len(OBJECT)] == OBJECT
        known = objects[-1] if inside else texts
        known[where] = known.get(where, "") + content

    def refuse(*_: object) -> None:
        raise DataError(
            "is refused: it has a DOCTYPE, which annotations don't need and which could make "
            "a reader expand or fetch other things; remove it"
        )

    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = text
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(path.read_bytes(), True)
    except expat.ExpatError as error:
        raise DataError(f"is not valid XML ({error})") from error
    except (OSError, ValueError, LookupError) as error:  # the latter two of a strange encoding
        if isinstance(error, DataError):
            raise
        raise DataError(f"is not readable ({error})") from error
    if not any(where[: len(ROOT)] == ROOT for where in texts):
        raise DataError("is no annotation: its root is not <annotation>, with <object> in it")
    found = [_object(known) for known in objects]
    if nameless := [i for i, one in enumerate(found, start=1) if not one.name]:
        raise DataError(f"is no whole annotation: its object {nameless[0]} has no name of a class")
    return VocFile(found, _size(texts))


def _object(known: dict[tuple[str, ...], str]) -> VocObject:
    box = (*OBJECT, "bndbox")
    corners = tuple(_number(known.get((*box, corner), "")) for corner in CORNERS)
    name = known.get((*OBJECT, "name"), "").strip()
    return VocObject(name, corners, known.get((*OBJECT, "difficult"), "").strip() == "1")


def _size(texts: dict[tuple[str, ...], str]) -> tuple[int, int] | None:
    """The image's; None where it is missing, 0 as some tools write it, or no number."""
    sides: Iterable[float] = (_number(_of(texts, "size", side)) for side in ("width", "height"))
    whole = [int(side) for side in sides if 0 < side < 1e9]
    return (whole[0], whole[1]) if len(whole) == 2 else None


def _of(texts: dict[tuple[str, ...], str], *below: str) -> str:
    return texts.get((*ROOT, *below), "").strip()


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")
