"""How the benchmarks measure: interleaved in one process, medians, a table, a JSON file."""

import json
import multiprocessing
import platform
import statistics
import subprocess
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from mobilevitv2.runtime.timing import interleaved

__all__ = ["interleaved", "machine", "median", "peak_memory", "report"]

RESULTS = Path(__file__).parent / "results"


def median(values: list[float]) -> float:
    """The median of the rounds."""
    return statistics.median(values)


def peak_memory(work: Callable[..., Callable[[], Any]], *arguments: Any) -> float:
    """MiB that calling what `work(*arguments)` returns adds to a fresh process, at its peak."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak_memory, (work, arguments))


def _peak_memory(work: Callable[..., Callable[[], Any]], arguments: tuple) -> float:
    torch.set_num_threads(2)
    call = work(*arguments)
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    call()
    return (_status("VmHWM") - before) / 1024


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1])


def machine() -> dict[str, Any]:
    """What the figures were measured on, and with."""
    cpu = next(
        (
            line.split(":")[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parent,
    ).stdout.strip()
    packages = ("mobilevitv2", "torch", "timm", "transformers")
    return {
        "cpu": cpu,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "versions": {name: metadata.version(name) for name in packages},
        "commit": commit,
    }


def report(name: str, title: str, rows: list[dict[str, Any]]) -> None:
    """Print the rows as a table and write them with the machine to results/NAME.json."""
    table = Table(title=title)
    for column in rows[0]:
        table.add_column(column, justify="left" if isinstance(rows[0][column], str) else "right")
    for row in rows:
        table.add_row(*(f"{v:.3g}" if isinstance(v, float) else str(v) for v in row.values()))
    Console().print(table)
    RESULTS.mkdir(exist_ok=True)
    content = {"title": title, "machine": machine(), "rows": rows}
    (RESULTS / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n")
