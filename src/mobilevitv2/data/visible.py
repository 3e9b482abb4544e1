"""The files below a folder, except for those that people don't see there."""

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

RUBBISH = frozenset({"thumbs.db", "desktop.ini", "__macosx"})  # hidden, though named without a dot


@dataclass(kw_only=True)
class LeftOut:
    """How many files are left out: those of no use, and hidden ones."""

    strays: int = 0
    hidden: int = 0


def is_hidden(name: str) -> bool:
    """Is a file or folder left out because of its name?"""
    return name.startswith(".") or name.lower() in RUBBISH


def visible_files(
    folder: Path, left_out: LeftOut, *, without: Collection[Path] = (), follow_links: bool = False
) -> Iterator[Path]:
    """In the order of their names, except for those below `without`; hidden ones are counted.

    With `follow_links`, links to folders are followed, except into a folder that came before.
    """
    seen = set()
    for parent, below, files in os.walk(folder, followlinks=follow_links):
        real = os.path.realpath(parent) if follow_links else parent
        if real in seen:  # a link to a folder above
            below.clear()
            continue
        seen.add(real)
        left_out.hidden += sum(map(is_hidden, [*below, *files]))
        visible = (name for name in below if not is_hidden(name))
        below[:] = sorted(name for name in visible if Path(parent, name) not in without)
        yield from (Path(parent, name) for name in sorted(files) if not is_hidden(name))
