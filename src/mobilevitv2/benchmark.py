"""How fast a model runs on this machine, in every runtime that is installed: `benchmark`.

All contenders are measured in one process, in turn, so that what else the machine does falls on
all of them alike; compare the figures with each other, less with those of another day.
"""

import copy
import json
import platform
import statistics
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from mobilevitv2.config import image_sides
from mobilevitv2.deploy import export, fuse
from mobilevitv2.deploy.request import TARGETS
from mobilevitv2.errors import ConfigError, require
from mobilevitv2.live import TaskModel, bundle_of, open_model, open_processor
from mobilevitv2.model.classification import MobileViTV2ForImageClassification
from mobilevitv2.runtime import open_runtime
from mobilevitv2.runtime.timing import interleaved
from mobilevitv2.views import size_of_a_square

TARGETS_HERE = ("onnx", "openvino", "executorch", "litert")
PACKAGES = ("mobilevitv2", "torch", "onnxruntime", "openvino", "executorch", "timm", "transformers")

Call = Callable[[np.ndarray], Any]


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
    """All timings, slowest last, and what they were taken on."""

    source: str
    image_size: tuple[int, int]
    rounds: int
    machine: dict[str, Any]
    timings: list[Timing]
    left_out: dict[str, str]
    """Runtime, and why it was not measured."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        rows = [asdict(t) | {"images_per_second": t.images_per_second} for t in self.timings]
        return asdict(self) | {"timings": rows}

    def save(self, folder: str | Path) -> Path:
        """Write benchmark.json, and benchmark.png where matplotlib is installed."""
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
    peers: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Benchmark:
    """Measure a model, and with `peers` timm's and transformers' of the same width beside it.

    The peers have random weights and go through the same runtimes. `threads` is for every runtime;
    by default each takes what it takes. Raises what `export` raises.
    """
    source = bundle_of(source)
    model = open_model(source).float()
    processor = open_processor(source, model)
    if peers and not isinstance(model, MobileViTV2ForImageClassification):
        raise ConfigError("peers are classifiers; leave them out for a model that names pixels.")
    size = image_sides(image_size or size_of_a_square(processor))
    if threads is not None:
        torch.set_num_threads(threads)
    left_out: dict[str, str] = {}
    timings: list[Timing] = []
    with tempfile.TemporaryDirectory() as folder:
        for i, batch in enumerate(batches):
            place = Path(folder) / str(batch)
            place.mkdir()
            calls = _ours(source, model, size, batch, threads, place, left_out)
            if peers and isinstance(model, MobileViTV2ForImageClassification):
                calls |= _peers(model, size, batch, threads, place, left_out)
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
    """What the figures were taken on."""
    cpu = platform.processor()
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), cpu)
    versions = {}
    for name in PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return {
        "cpu": cpu,
        "threads": threads or "each runtime's own",
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": versions,
    }


def _ours(
    source: str | Path,
    model: TaskModel,
    size: tuple[int, int],
    batch: int,
    threads: int | None,
    folder: Path,
    left_out: dict[str, str],
) -> dict[tuple[str, str, str], Call]:
    calls = {
        ("mobilevitv2", "PyTorch", "fp32"): _in_torch(model),
        ("mobilevitv2", "PyTorch, fused", "fp32"): _in_torch(fuse(model, size)),
    }
    for name in TARGETS_HERE:
        target = TARGETS[name]
        try:
            path = folder / f"ours{target.suffix}"
            export(source, to=name, out=path, image_size=[size], batch=batch)  # pyright: ignore[reportArgumentType]
        except ImportError as error:
            left_out[target.name] = str(error)
            continue
        for runtime in _precisions(path, threads):
            calls["mobilevitv2", target.name, runtime.precision] = runtime
    return calls


def _peers(
    model: MobileViTV2ForImageClassification,
    size: tuple[int, int],
    batch: int,
    threads: int | None,
    folder: Path,
    left_out: dict[str, str],
) -> dict[tuple[str, str, str], Call]:
    calls: dict[tuple[str, str, str], Call] = {}
    for name, make in (("timm", _timm), ("transformers", transformers_classifier)):
        try:
            network = make(model.config.width_multiplier, len(model.config.id2label or {})).eval()
        except ImportError as error:
            left_out[name] = str(error)
            continue
        calls[name, "PyTorch", "fp32"] = _in_torch(network)
        path = folder / f"{name}.onnx"
        program = torch.onnx.export(
            network, (torch.rand(batch, 3, *size),), dynamo=True, opset_version=20, verbose=False
        )
        assert program is not None
        program.save(path)
        for runtime in _precisions(path, threads):
            calls[name, "ONNX", runtime.precision] = runtime
        if find_spec("openvino"):
            openvino = require("openvino", extra="openvino")
            openvino.save_model(
                openvino.convert_model(path), path.with_suffix(".xml"), compress_to_fp16=False
            )
            for runtime in _precisions(path.with_suffix(".xml"), threads):
                calls[name, "OpenVINO", runtime.precision] = runtime
        if find_spec("executorch"):
            from mobilevitv2.deploy.executorch import lower

            traced = torch.export.export(network, (torch.rand(batch, 3, *size),))
            lower(traced).to_executorch().save(str(path.with_suffix(".pte")))
            runtime = open_runtime(path.with_suffix(".pte"), threads=threads)
            calls[name, "ExecuTorch", runtime.precision] = runtime
        last = copy.deepcopy(network).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        calls[name, "PyTorch, channels_last", "fp32"] = _in_torch(last, torch.channels_last)
    return calls


def _precisions(path: Path, threads: int | None) -> list[Any]:
    """The file opened in fp32, and in what the runtime would choose, if that is something else."""
    opened = open_runtime(path, threads=threads, precision="fp32")
    chosen = open_runtime(path, threads=threads)
    return [opened] if chosen.precision == opened.precision else [opened, chosen]


def _in_torch(network: nn.Module, layout: torch.memory_format = torch.contiguous_format) -> Call:
    def call(pixels: np.ndarray) -> Any:
        with torch.inference_mode():
            return network(torch.from_numpy(pixels).contiguous(memory_format=layout))

    return call


def _timm(width: float, classes: int) -> nn.Module:
    timm = require("timm", extra="test")
    return timm.create_model(f"mobilevitv2_{round(100 * width):03d}", num_classes=classes)


def transformers_classifier(width: float, classes: int) -> "Logits":
    """transformers' network with random weights."""
    hf = require("transformers", extra="test")
    config = hf.MobileViTV2Config(width_multiplier=width, num_labels=classes)
    network = hf.MobileViTV2ForImageClassification(config)
    for module in network.modules():  # its own initialisation gives logits of zero
        if isinstance(module, nn.Conv2d | nn.Linear | nn.BatchNorm2d):
            module.reset_parameters()
    return Logits(network)


class Logits(nn.Module):
    """A model whose output is an object, as one whose output is its logits."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.model(pixels).logits


def _plot(result: Benchmark, path: Path) -> None:
    require("matplotlib", extra="train").use("Agg")
    plots = require("matplotlib.pyplot", extra="train")
    batches = sorted({t.batch for t in result.timings})
    figure, axes = plots.subplots(1, len(batches), figsize=(6.4 * len(batches), 5), squeeze=False)
    colours = {"mobilevitv2": "#2563eb", "timm": "#d97706", "transformers": "#9ca3af"}
    for axis, batch in zip(axes[0], batches, strict=True):
        rows = [t for t in result.timings if t.batch == batch][::-1]
        names = [f"{t.model}  {t.runtime}, {t.precision}" for t in rows]
        bars = axis.barh(names, [t.median_ms for t in rows], color=[colours[t.model] for t in rows])
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
