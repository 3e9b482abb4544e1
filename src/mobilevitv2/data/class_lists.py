"""Names of classes that a person gives: a list, a file of them, or a published set's name."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mobilevitv2.class_names import COCO, VOC
from mobilevitv2.errors import DataError

PUBLISHED = {"voc": VOC[1:], "coco": COCO}  # without the background

GivenClasses = Path | str | Sequence[str] | Mapping[str, Sequence[int]]


def given_names(classes: GivenClasses) -> tuple[list[str], str]:
    """Names, and what a message calls them: a file's, a published set's, or a list's."""
    if not isinstance(classes, str | Path):
        return checked_names(list(classes), "the list of classes")
    if str(classes) in PUBLISHED and not Path(classes).is_file():
        return list(PUBLISHED[str(classes)]), str(classes)
    return names_of(Path(classes).expanduser())


def names_of(path: Path) -> tuple[list[str], str]:
    """The names in a file: one per line, or JSON of names, or of objects with a name."""
    named = [entry.get("name") if isinstance(entry, Mapping) else entry for entry in listed(path)]
    if path.suffix.lower() != ".json":
        named = [line.strip() for line in named if line.strip()]
    return checked_names(named, str(path))


def listed(path: Path, sets: Iterable[str] = PUBLISHED) -> list[Any]:
    """What a JSON file lists, or the lines of any other. Raises DataError for one it can't read."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        content = json.loads(text) if path.suffix.lower() == ".json" else text.splitlines()
    except FileNotFoundError:
        raise DataError(
            f"there is no class list {path}. Give a file of names, or one of {', '.join(sets)}."
        ) from None
    except json.JSONDecodeError as error:
        raise DataError(f"{path} is not valid JSON ({error}).") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} can't be read ({error}). Save it as UTF-8 text.") from error
    if not isinstance(content, list):
        raise DataError(f"{path} holds a {type(content).__name__}; expected a list of names.")
    return content


def checked_names(names: list[Any], origin: str) -> tuple[list[str], str]:
    """Both unchanged. Raises DataError for no names, no proper name, or one that is repeated."""
    if wrong := [name for name in names if not isinstance(name, str) or not name.strip()]:
        raise DataError(f"{origin} has {wrong[0]!r}, which isn't a class name.")
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise DataError(f"{origin} has {twice[0]!r} twice. Give each class a name of its own.")
    if not names:
        raise DataError(f"{origin} has no classes. Name what the images show.")
    return names, origin
