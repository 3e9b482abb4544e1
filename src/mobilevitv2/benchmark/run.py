"""How fast a model runs on this machine, in every installed runtime: `benchmark`.

All contenders take turns in one process, so that whatever else the machine does affects them alike;
compare the figures with each other rather than with another day's.
"""

import json
import platform
import statistics
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from mobilevitv2.bundle import bundle_of
from mobilevitv2.config import image_sides
from mobilevitv2.devices import versions_of
from mobilevitv2.errors import ConfigError, UnsupportedError, require
from mobilevitv2.predict.backends.choose import RuntimeName
from mobilevitv2.predict.backends.engine import EngineBackend, open_engine
from mobilevitv2.runtime.native import PRECISIONS, instructions_for, missing
from mobilevitv2.runtime.timing import interleaved

PACKAGES = ("mobilevitv2", "torch", "onnxruntime", "openvino", "executorch", "timm", "transformers")
ENGINE = "engine"  # what tables call it


@dataclass(frozen=True)
class Timing:
    """One contender at one batch size."""

    model: str
    runtime: str
    precision: str
    batch: int
    median_ms: float
    fastest_ms: float

    @property
    def images_per_second(self) -> float:
        """At the median."""
        return 1e3 * self.batch / self.median_ms


@dataclass(frozen=True)
class Benchmark:
    """All timings, slowest last, and the machine."""

    source: str
    image_size: tuple[int, int]
    rounds: int
    machine: dict[str, Any]
    timings: list[Timing]
    left_out: dict[str, str]  # each runtime that wasn't measured, and why

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        rows = [asdict(t) | {"images_per_second": t.images_per_second} for t in self.timings]
        return asdict(self) | {"timings": rows}

    def save(self, folder: str | Path) -> Path:
        """Write benchmark.json, and benchmark.png if matplotlib is installed."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(self.to_dict(), indent=2, ensure_ascii=False)
        (folder / "benchmark.json").write_text(text + "\n", encoding="utf-8")
        if find_spec("matplotlib"):
            _plot(self, folder / "benchmark.png")
        return folder


def benchmark(
    source: str | Path,
    *,
    image_size: int | Sequence[int] | None = None,
    batches: Sequence[int] = (1, 8),
    rounds: int = 30,
    threads: int | None = None,
    runtime: RuntimeName = "auto",
    peers: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Benchmark:
    """Measure a model, and with `peers` timm's and transformers' of the same width beside it.

    It runs in the engine in each precision that this processor has and, if PyTorch is installed,
    also there and as an export in every other runtime. `runtime` leaves only the engine (native) or
    only PyTorch (torch). The peers have random weights and run in the same runtimes. `threads`
    holds for every runtime; by default each chooses. Raises what `export` raises.
    """
    source = bundle_of(source)
    left_out: dict[str, str] = {}
    networks = {} if runtime == "torch" else _in_the_engine(source, threads, left_out)
    if runtime == "native" or (networks and find_spec("torch") is None):
        if peers:
            raise ConfigError("peers run in PyTorch: install it, and leave the runtime auto.")
        if not networks:
            open_engine(source)  # says why not
        live = None
        processor = networks["fp32"].open_processor(source)
    else:
        require("torch", extra="torch")
        from mobilevitv2.benchmark.contenders import Contenders

        live = Contenders(source, threads, exports=runtime == "auto", peers=peers)
        processor = live.processor
    size = image_sides(image_size or processor.square_size)
    timings: list[Timing] = []
    with tempfile.TemporaryDirectory() as folder:
        for i, batch in enumerate(batches):
            place = Path(folder) / str(batch)
            place.mkdir()
            calls: dict[tuple[str, str, str], Callable[[np.ndarray], Any]] = {
                ("mobilevitv2", ENGINE, name): network for name, network in networks.items()
            }
            if live is not None:
                calls |= live.calls(size, batch, place, left_out)
            pixels = np.random.default_rng(0).random((batch, 3, *size), np.float32)
            times = interleaved({k: partial(call, pixels) for k, call in calls.items()}, rounds)
            timings += [
                Timing(*name, batch, statistics.median(values), min(values))
                for name, values in times.items()
            ]
            if progress is not None:
                progress(i + 1, len(batches))
    timings.sort(key=lambda t: (t.batch, t.median_ms))
    return Benchmark(str(source), size, rounds, machine(threads), timings, left_out)


def machine(threads: int | None = None) -> dict[str, Any]:
    """The machine and its software."""
    cpu = platform.processor()
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), cpu)
    precisions = () if missing() else PRECISIONS
    return {
        "cpu": cpu,
        "instructions": {name: instructions_for(name) for name in precisions},
        "threads": threads or "each runtime's own",
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": versions_of(PACKAGES),
    }


def _in_the_engine(
    source: str | Path, threads: int | None, left_out: dict[str, str]
) -> dict[str, EngineBackend]:
    """The bundle in each precision that this processor has; none if the engine can't run it."""
    try:
        first = open_engine(source, threads=threads)
    except (UnsupportedError, ImportError) as error:
        left_out[ENGINE] = str(error)
        return {}
    networks = {"fp32": first}
    for name in ("bf16", "int8"):
        try:
            networks[name] = EngineBackend(first.bundle, threads=threads, precision=name)
        except UnsupportedError as error:
            left_out[f"{ENGINE}, {name}"] = str(error)
    return networks


def _plot(result: Benchmark, path: Path) -> None:
    require("matplotlib", extra="train").use("Agg")
    plots = require("matplotlib.pyplot", extra="train")
    batches = sorted({t.batch for t in result.timings})
    figure, axes = plots.subplots(1, len(batches), figsize=(6.4 * len(batches), 5), squeeze=False)
    colors = {"mobilevitv2": "#2563eb", "timm": "#d97706", "transformers": "#9ca3af"}
    for axis, batch in zip(axes[0], batches, strict=True):
        rows = [t for t in result.timings if t.batch == batch][::-1]
        names = [f"{t.model}  {t.runtime}, {t.precision}" for t in rows]
        bars = axis.barh(names, [t.median_ms for t in rows], color=[colors[t.model] for t in rows])
        axis.bar_label(bars, fmt="%.1f", padding=3)
        axis.set_title(f"batch {batch}")
        axis.set_xlabel("ms, median")
        axis.spines[["top", "right"]].set_visible(False)
        axis.margins(x=0.12)
    height, width = result.image_size
    figure.suptitle(f"{Path(result.source).name}, {height}x{width} px, {result.machine['cpu']}")
    figure.tight_layout()
    figure.savefig(path, dpi=150)
    plots.close(figure)
