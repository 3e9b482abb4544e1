"""Results on the terminal."""

import csv
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer
from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from mobilevitv2.results.drawing import percent
from mobilevitv2.tasks import task_named

if TYPE_CHECKING:
    from mobilevitv2.benchmark.precision_choice import PrecisionFigures
    from mobilevitv2.benchmark.run import Benchmark
    from mobilevitv2.deploy import Export
    from mobilevitv2.predict.info import ExportInfo, ModelInfo
    from mobilevitv2.results import Result
    from mobilevitv2.runtime.record import Record
    from mobilevitv2.training import TrainingResult

BAR = 24  # characters for a score of 1
MOST_LABELS = 20

Pairs = list[tuple[str, float]]  # labels and scores


def show(result: RenderableType | dict[str, Any]) -> None:
    """Print to standard output; a dict as one line of JSON."""
    if isinstance(result, dict):
        typer.echo(json.dumps(result, ensure_ascii=False))
    else:
        Console(highlight=False).print(result)


@contextmanager
def progress(what: str, *, lines: bool = False) -> Iterator[Callable[[int, int | None], None]]:
    """A bar on standard error, to be told (done, total).

    It is hidden from files and pipes, and from a terminal to which `lines` are printed meanwhile.
    """
    console = Console(stderr=True)
    if not console.is_terminal or (lines and sys.stdout.isatty()):
        yield lambda done, total: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    with Progress(*columns, console=console, transient=True, redirect_stdout=False) as shown:
        bar = shown.add_task(what, total=None)
        yield lambda done, total: shown.update(bar, completed=done, total=total)


def json_line(result: "Result") -> None:
    """Print a result as a line of JSON."""
    typer.echo(result.to_json())


def csv_writer(task: str, classes: Sequence[str], top_k: int) -> "Callable[[Result], None]":
    """Prints a header at once, and the lines of each result that it is called with."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(task_named(task).result_class.csv_header(classes, top_k))
    return lambda result: writer.writerows(result.csv_rows())


def one_prediction(result: "Result") -> RenderableType:
    """All classes of one image, with bars; or all objects, with their boxes."""
    source = Text(str(result.source), "dim")
    if cells := result.table():
        headings, *rows = cells
        table = new_table(headings[0], right=headings[1:])
        for row in rows:
            table.add_row(*map(Text, row))
        headline = Text.assemble(source, "  ", (str(result), "bold"))
        return Group(headline, table) if rows else headline
    table = Table.grid(padding=(0, 2))
    table.add_column(overflow="fold")
    table.add_column(justify="right")
    table.add_column()
    for label, score, strong in result.bars():
        style = "bold" if strong else "dim"
        bar = "█" * round(BAR * score)
        table.add_row(Text(label, style), Text(percent(score), style), Text(bar, "blue"))
    return Group(source, table)


def predictions(rows: Sequence[tuple[str, Pairs]]) -> RenderableType:
    """A row for each image, of its name and its best labels."""
    table = new_table()
    table.add_column("image", overflow="fold", ratio=3)
    table.add_column("label", overflow="fold", ratio=2)
    table.add_column("score", justify="right", no_wrap=True)
    others = max(len(pairs) for _, pairs in rows) > 1
    if others:
        table.add_column("then", overflow="fold", ratio=3, style="dim")
    for source, pairs in rows:
        first, *later = pairs or [("nothing", 0.0)]
        rest = ", ".join(f"{label} {percent(score)}" for label, score in later)
        cells = [Text(source), Text(first[0], "bold"), percent(first[1]) if pairs else ""]
        table.add_row(*cells, *([Text(rest)] if others else []))
    return table


def model_info(info: "ModelInfo | ExportInfo") -> RenderableType:
    """A model in figures."""
    from mobilevitv2.predict.info import ModelInfo

    height, width = info.image_size
    named = info.labels[:MOST_LABELS]
    if info.thresholds is not None:
        limits = zip(named, info.thresholds, strict=False)
        named = [f"{label} above {percent(threshold, 0)}" for label, threshold in limits]
    labels = ", ".join(named)
    if len(info.labels) > MOST_LABELS:
        labels += f", and {len(info.labels) - MOST_LABELS:,} more (--json lists all)"
    order = info.channel_order.upper()
    if isinstance(info, ModelInfo):
        own = {
            "width": f"{info.width:g}",
            "parameters": f"{info.parameters:,}",
            "MACs": f"{info.macs / 1e6:,.0f} million per image",
            "image": f"{height} x {width} px, {order}",
            "layout": info.layout,
        }
    else:
        own = {
            "image": f"{height} x {width} px, {order}",
            **_inputs_and_outputs(info),
            "made for": info.target,
            "made by": ", ".join(f"{name} {v}" for name, v in info.versions.items()),
            "weights": info.weights,
        }
    return _facts(
        {
            "model": info.source,
            "task": info.task,
            **own,
            "file": f"{info.file} ({info.file_bytes / 1e6:,.1f} MB)",
            "runs in": info.runs_in,
            "classes": f"{info.classes:,}",
            "labels": labels,
        }
    )


def _inputs_and_outputs(record: "Record | ExportInfo") -> dict[str, str]:
    sizes = ", ".join(f"{h}x{w}" for h, w in record.sizes or []) or "multiples of 32"
    return {
        "input": f"{record.input}, batch {record.batch or 'any'}, {sizes} px",
        "output": record.output if record.top_k is None else f"the {record.top_k} best classes",
        "precision": record.precision,
    }


def exported(result: "Export") -> RenderableType:
    """A file, and how it compared with its model."""
    facts = {
        "file": f"{result.path} ({result.bytes / 1e6:,.1f} MB)",
        **_inputs_and_outputs(result.record),
        "checked on": result.checked_on,
    }
    checks = [f"same answer: {check}" for check in result.checks]
    parts = [_facts(facts), *map(Text, checks)]
    compared = result.comparison
    if compared is not None:
        table = new_table("", right=("MB", "ms per image", "same class", "right"))
        for name, row in (("fp32", compared.fp32), ("int8", compared.int8)):
            right = "no labels" if row.accuracy is None else percent(row.accuracy)
            figures = f"{row.bytes / 1e6:.2f}", f"{row.ms:.1f}", percent(row.agreement)
            table.add_row(name, *figures, right)
        parts += [Text(f"\nint8 beside fp32, {compared.images} images"), table]
        if compared.warning:
            parts.insert(0, Text(compared.warning, style="bold yellow"))
    return Group(*parts)


def benchmark(result: "Benchmark") -> RenderableType:
    """Every contender, fastest first, by batch size."""
    numbers = ("batch", "ms", "images/s", "times the fastest")
    table = new_table("model", "runtime", "precision", right=numbers)
    for batch in sorted({t.batch for t in result.timings}):
        rows = [t for t in result.timings if t.batch == batch]
        for t in rows:
            ratio = t.median_ms / rows[0].median_ms
            figures = f"{t.median_ms:,.1f}", f"{t.images_per_second:,.1f}", f"{ratio:.2f}"
            table.add_row(t.model, t.runtime, t.precision, str(batch), *figures)
        table.add_section()
    height, width = result.image_size
    machine = result.machine
    said = f"{height}x{width} px, {machine['cpu']}, threads: {machine['threads']}, medians"
    return Group(Text(said), table)


def precisions(chosen: str, rows: Sequence["PrecisionFigures"]) -> RenderableType:
    """The engine's precisions, fastest first, and which is chosen."""
    table = new_table("precision", "instructions", right=("ms per image", "first class as fp32"))
    for row in rows:
        style = "bold" if row.precision == chosen else ""
        cells = (row.precision, row.instructions, f"{row.ms:,.1f}", percent(row.agreement))
        table.add_row(*(Text(cell, style) for cell in cells))
    said = f"{rows[0].images:,} images; the fastest that answers as fp32 is --precision {chosen}"
    return Group(Text(said), table)


def trained(result: "TrainingResult") -> RenderableType:
    """How good the model is, where it is, and what to do next."""
    minutes, seconds = divmod(round(result.seconds), 60)
    best = f"epoch {result.best_epoch} of {len(result.history)}"
    title = task_named(result.task).figures[result.metric]
    facts = {title: f"{percent(result.score)} on the validation images ({best})"}
    if result.test_score is not None:
        facts["test"] = f"{percent(result.test_score)} on held-out images"
    return _facts(
        facts
        | {
            "time": f"{minutes} min {seconds} s" if minutes else f"{seconds} s",
            "model": str(result.best),
            "report": str(result.report),
            "next": f"mobilevitv2 predict {result.best} photo.jpg",
        }
    )


def _facts(values: dict[str, str]) -> RenderableType:
    table = Table.grid(padding=(0, 3))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in values.items():
        table.add_row(name, Text(value))
    return table


def new_table(*left: str, right: Sequence[str] = ()) -> Table:
    """An empty table with these headings above columns of text, and above numbers."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, header_style="dim", pad_edge=False)
    for heading in left:
        table.add_column(heading, overflow="fold")
    for heading in right:
        table.add_column(heading, justify="right")
    return table
