"""The files below a folder, but for those that people don't see there."""

import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Protocol

RUBBISH = frozenset({"thumbs.db", "desktop.ini", "__macosx"})  # hidden, though named without a dot


class Counts(Protocol):
    """What keeps count of the files that are left out."""

    strays: int
    hidden: int


def is_hidden(name: str) -> bool:
    """Whether a file or folder is left out by its name."""
    return name.startswith(".") or name.lower() in RUBBISH


def visible_files(
    folder: Path, counts: Counts, *, without: Collection[Path] = (), follow_links: bool = False
) -> Iterator[Path]:
    """In the order of names, but for those below `without`; hidden ones are counted.

    Links to folders are followed with `follow_links`, but none into a folder that was there before.
    """
    seen = set()
    for parent, below, files in os.walk(folder, followlinks=follow_links):
        real = os.path.realpath(parent) if follow_links else parent
        if real in seen:  # a link to a folder above
            below.clear()
            continue
        seen.add(real)
        counts.hidden += sum(map(is_hidden, [*below, *files]))
        visible = (name for name in below if not is_hidden(name))
        below[:] = sorted(name for name in visible if Path(parent, name) not in without)
        yield from (Path(parent, name) for name in sorted(files) if not is_hidden(name))
