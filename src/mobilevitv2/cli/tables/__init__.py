"""What `evaluate` found, on the terminal: a module per task, and what they share."""

from collections.abc import Mapping, Sequence
from math import isnan
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from mobilevitv2.cli.display import new_table
from mobilevitv2.results.drawing import percent
from mobilevitv2.tasks import task_named

MOST_CLASSES = 40  # that a table lists


def evaluation(result: Any) -> RenderableType:
    """The headline, the classes, and what went wrong."""
    return Group(*task_named(result.task).part("cli.tables").evaluation(result))


def headline(result: Any, figures: str, counted: str, *facts: str) -> list[RenderableType]:
    """The figures that matter most, what they were measured on, and further facts."""
    said = Text.assemble((figures, "bold"), f" {counted} ({result.data}, {result.split})")
    speed = f"{result.images_per_second:,.1f} images/s"
    return [said, Text(", ".join([*facts, speed]), "dim"), ""]


def class_table(scores: Sequence[Any], columns: Mapping[str, str], by: str) -> list[RenderableType]:
    """The classes with the lowest `by` first; `columns` maps headings to fields of the scores."""
    table = new_table("class, hardest first", right=list(columns))
    ranked = sorted(scores, key=lambda score: (isnan(getattr(score, by)), getattr(score, by)))
    for score in ranked[:MOST_CLASSES]:
        cells = [cell(getattr(score, field)) for field in columns.values()]
        table.add_row(Text(score.name), *cells)
    if len(ranked) > MOST_CLASSES:
        return [table, Text(f"and {len(ranked) - MOST_CLASSES:,} more classes", "dim")]
    return [table]


def share(value: float) -> str:
    """In percent, for a line of text."""
    return "undefined" if isnan(value) else percent(value)


def cell(value: float) -> str:
    """A count, or a share in percent; - where it is undefined."""
    if isinstance(value, int):
        return f"{value:,}"
    return "-" if isnan(value) else f"{100 * value:.1f}"
