"""How messages and reports name what there may be many of."""

from collections.abc import Iterable
from pathlib import Path

NAMED = 5  # the rest is counted


def first_of(things: Iterable[object]) -> str:
    """The first few."""
    listed = [str(thing) for thing in things]
    return ", ".join(listed[:NAMED]) + (", ..." if len(listed) > NAMED else "")


def some_of(files: Iterable[Path | str]) -> str:
    """How many, and the first few."""
    listed = list(files)
    return f"{len(listed):,} ({first_of(listed)})"
