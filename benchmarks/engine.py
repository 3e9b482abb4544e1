"""The native engine, onnxruntime and OpenVINO: speed, after a rest, on a busy machine, any size.

python benchmarks/engine.py [--widths 1.0 0.5] [--threads 2] [--rounds 15]

The networks have random weights and norms as uneven as trained ones. In each round a contender
makes five calls in a row, of which the first doesn't count: calls in a row are steady.
"""

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import median, peak_memory, report
from networks import make
from torch import nn

from mobilevitv2 import MobileViTImageProcessor
from mobilevitv2.deploy import export
from mobilevitv2.errors import require
from mobilevitv2.runtime import open_runtime
from mobilevitv2.runtime.native import (
    PRECISIONS,
    NativePrecision,
    NativeRuntime,
    instructions_for,
)

Call = Callable[[np.ndarray], Any]
IN_A_ROW = 5  # calls per contender and round
REST = 0.1  # seconds
USUAL = (256, 256)
REPEATS, DISTURBED = 3, 0.1  # any_size: measures again at most so often, if off by this share
SIZES = ((224, 224), (256, 256), (320, 320), (384, 384), (500, 333))
WIDTHS = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0)


def uneven(network: nn.Module, seed: int = 0) -> nn.Module:
    """The same network with norms like trained ones: no two channels are alike."""
    generator = torch.Generator().manual_seed(seed)

    def some(count: int, low: float, high: float) -> torch.Tensor:
        return torch.rand(count, generator=generator) * (high - low) + low

    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            count = module.num_features
            module.weight.data = some(count, 0.6, 1.2)
            module.bias.data = some(count, -0.3, 0.3)
            module.running_mean = some(count, -0.3, 0.3)
            module.running_var = some(count, 0.25, 0.75)
        elif isinstance(module, nn.GroupNorm):
            module.weight.data = some(module.num_channels, 0.5, 1.5)
            module.bias.data = some(module.num_channels, -0.3, 0.3)
    return network.eval()


def save(width: float, folder: Path) -> Path:
    """Our network as a bundle."""
    network: Any = make("mobilevitv2", width)
    uneven(network.model).save_pretrained(folder)  # pyright: ignore[reportCallIssue]
    MobileViTImageProcessor(do_flip_channel_order=False).save_pretrained(folder)
    return folder


def engines(folder: Path, threads: int) -> dict[str, Call]:
    """The bundle in each precision and instruction set of this processor."""
    calls: dict[str, Call] = {}
    for precision in PRECISIONS:
        for instructions in instructions_for(precision):
            if instructions == "portable" or instructions.endswith("emulated"):
                continue
            runtime = NativeRuntime(
                folder, threads=threads, precision=precision, instructions=instructions
            )
            calls[f"engine {precision} {instructions}"] = _logits(runtime)
    return calls


def _logits(runtime: NativeRuntime) -> Call:
    return lambda pixels: runtime(pixels, ["logits"])


def peers(width: float, bundle: Path, batch: int, threads: int, folder: Path) -> dict[str, Call]:
    """timm's export and ours in onnxruntime and in OpenVINO."""
    openvino = require("openvino", extra="openvino")
    image = torch.rand(batch, 3, 256, 256)
    program = torch.onnx.export(
        uneven(make("timm", width)), (image,), dynamo=True, opset_version=20, verbose=False
    )
    assert program is not None
    program.save(folder / "timm.onnx")
    openvino.save_model(
        openvino.convert_model(folder / "timm.onnx"), folder / "timm.xml", compress_to_fp16=False
    )
    export(bundle, to="onnx", out=folder / "ours.onnx", image_size=[(256, 256)], batch=batch)
    export(bundle, to="openvino", out=folder / "ours.xml", image_size=[(256, 256)], batch=batch)
    calls: dict[str, Call] = {}
    for whose in ("timm", "ours"):
        calls[f"onnxruntime fp32, {whose}"] = open_runtime(
            folder / f"{whose}.onnx", threads=threads
        )
        for precision in ("fp32", "bf16"):
            calls[f"OpenVINO {precision}, {whose}"] = open_runtime(
                folder / f"{whose}.xml", threads=threads, precision=precision
            )
    return calls


def steady(calls: dict[str, Call], pixels: np.ndarray, rounds: int) -> dict[str, float]:
    """Median milliseconds per contender, interleaved, a few calls in a row each time."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            time.sleep(0.02)
            call(pixels)
            times[name] += [timed(call, pixels) for _ in range(IN_A_ROW - 1)]
    return {name: median(values) for name, values in times.items()}


def timed(call: Call, pixels: np.ndarray) -> float:
    """Milliseconds of one call."""
    start = time.perf_counter()
    call(pixels)
    return (time.perf_counter() - start) * 1e3


def after_rest(call: Call, pixels: np.ndarray, rounds: int) -> tuple[float, float]:
    """Median milliseconds of calls in a row, and of calls after a rest."""
    in_a_row, rested = [], []
    for _ in range(rounds):
        call(pixels)
        in_a_row += [timed(call, pixels) for _ in range(4)]
        time.sleep(REST)
        rested.append(timed(call, pixels))
    return median(in_a_row), median(rested)


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """Other processes that never stop computing."""
    others = [multiprocessing.Process(target=_spin, daemon=True) for _ in range(processes)]
    for other in others:
        other.start()
    time.sleep(0.5)
    try:
        yield
    finally:
        for other in others:
            other.kill()


def _spin() -> None:
    while True:
        pass


def speed(widths: list[float], threads: int, rounds: int) -> list[dict[str, Any]]:
    """A row per contender, batch and width."""
    rows: list[dict[str, Any]] = []
    for width in widths:
        for batch in (1, 8):
            with tempfile.TemporaryDirectory() as name:
                folder = Path(name)
                bundle = save(width, folder / "bundle")
                calls = engines(bundle, threads)
                calls |= peers(width, bundle, batch, threads, folder)
                pixels = np.random.default_rng(0).random((batch, 3, 256, 256), np.float32)
                for contender, ms in steady(calls, pixels, rounds).items():
                    row = {"width": width, "batch": batch, "contender": contender}
                    rows.append(row | {"ms": ms, "images/s": 1e3 * batch / ms})
    return rows


def rests_and_crowds(threads: int, rounds: int) -> list[dict[str, Any]]:
    """Width 1.0, one image: after a rest, and beside two processes that never stop computing."""
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bundle = save(1.0, folder / "bundle")
        calls = engines(bundle, threads) | peers(1.0, bundle, 1, threads, folder)
        pixels = np.random.default_rng(0).random((1, 3, 256, 256), np.float32)
        crowded: dict[str, float] = {}
        with busy(2):
            crowded = steady(calls, pixels, rounds)
        for contender, call in calls.items():
            in_a_row, rested = after_rest(call, pixels, rounds)
            row = {"contender": contender, "in a row [ms]": in_a_row, "after 100 ms [ms]": rested}
            row |= {"rested / in a row": rested / in_a_row, "busy machine [ms]": crowded[contender]}
            rows.append(row | {"busy / quiet": crowded[contender] / in_a_row})
    return rows


def any_size(threads: int, rounds: int) -> list[dict[str, Any]]:
    """Every width and several sizes: time per multiply-add, relative to width 1.0 at 256 px.

    The latter is timed again with each width, interleaved with its sizes: the speed of a shared
    machine changes from minute to minute. If it was disturbed, a width is measured again.
    """
    rows: list[dict[str, Any]] = []
    for precision in PRECISIONS:
        if not instructions_for(precision):
            continue
        found = {width: _sizes_of(width, precision, threads, rounds) for width in WIDTHS}
        for _ in range(REPEATS):
            middle = median([usual for usual, _ in found.values()])
            for width, (usual, _) in found.items():
                if abs(usual / middle - 1) > DISTURBED:
                    found[width] = _sizes_of(width, precision, threads, rounds)
        for width, (usual, took) in found.items():
            for size, ms in took.items():
                row = {"precision": precision, "width": width, "size": f"{size[0]}x{size[1]}"}
                rows.append(row | {"ms per GMAC": ms, "against 1.0 at 256": ms / usual})
    return rows


def _sizes_of(
    width: float, precision: NativePrecision, threads: int, rounds: int
) -> tuple[float, dict[tuple[int, int], float]]:
    """Milliseconds per 10^9 multiply-adds: of width 1.0 at 256 px, and of this width by size."""
    calls: dict[str, Call] = {}
    amounts: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        for role, each, sizes in (("usual", 1.0, (USUAL,)), ("this", width, SIZES)):
            bundle = save(each, Path(name) / role)
            runtime = NativeRuntime(bundle, threads=threads, precision=precision)
            for size in sizes:
                pixels = np.full((1, 3, *size), 0.5, np.float32)
                calls[f"{role} {size}"] = partial(_of_size, _logits(runtime), pixels)
                amounts[f"{role} {size}"] = multiply_adds(each, size)
        took = steady(calls, np.empty(0), rounds)
    each_gmac = {call: ms / amounts[call] for call, ms in took.items()}
    return each_gmac[f"usual {USUAL}"], {size: each_gmac[f"this {size}"] for size in SIZES}


def memory(threads: int) -> list[dict[str, Any]]:
    """Width 1.0, 256 px: the memory that opening adds to a process, and that the first run adds."""
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        bundle = save(1.0, Path(name))
        weights = (bundle / "model.safetensors").stat().st_size / 2**20
        for precision in PRECISIONS:
            if not instructions_for(precision):
                continue
            kept = NativeRuntime(bundle, precision=precision).description["weights"] / 2**20
            row = {"precision": precision, "file [MiB]": weights, "kept weights [MiB]": kept}
            row["opening, at its peak [MiB]"] = peak_memory(_opening, bundle, precision)
            rows.append(row | {"a run [MiB]": peak_memory(_running, bundle, precision, threads)})
    return rows


def _opening(bundle: Path, precision: Any) -> Callable[[], Any]:
    return lambda: NativeRuntime(bundle, precision=precision)


def _running(bundle: Path, precision: Any, threads: int) -> Callable[[], Any]:
    runtime = NativeRuntime(bundle, precision=precision, threads=threads)
    pixels = np.full((1, 3, 256, 256), 0.5, np.float32)
    return lambda: runtime(pixels)


def _of_size(call: Call, pixels: np.ndarray, _: np.ndarray) -> Any:
    return call(pixels)


def multiply_adds(width: float, size: tuple[int, int]) -> float:
    """Of the network, in 10^9, as PyTorch counts them."""
    counter = require("torch.utils.flop_counter", extra="torch").FlopCounterMode(display=False)
    with torch.device("meta"):
        network = make("mobilevitv2", width)
        with counter:
            network.eval()(torch.rand(1, 3, *size))
    return counter.get_total_flops() / 2e9


def main() -> None:
    """Measure and report everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--widths", type=float, nargs="+", default=[1.0, 0.5])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--only", choices=("speed", "crowds", "sizes", "memory"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    tables: dict[str, tuple[str, str, Callable[[], list[dict[str, Any]]]]] = {
        "speed": (
            "engine",
            "Native engine, 256 px",
            lambda: speed(options.widths, options.threads, options.rounds),
        ),
        "crowds": (
            "engine_crowds",
            "Native engine after a rest and on a busy machine, width 1.0, 256 px",
            lambda: rests_and_crowds(options.threads, options.rounds),
        ),
        "sizes": (
            "engine_sizes",
            "Native engine, every width and size",
            lambda: any_size(options.threads, max(3, options.rounds // 3)),
        ),
    }
    tables["memory"] = (
        "engine_memory",
        "Native engine's memory, width 1.0, 256 px",
        lambda: memory(options.threads),
    )
    for key, (name, title, table) in tables.items():
        if options.only in (None, key):
            report(name, f"{title}, {options.threads} threads", table())


if __name__ == "__main__":
    main()
