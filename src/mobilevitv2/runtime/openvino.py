"""OpenVINO's .xml with its .bin."""

from pathlib import Path
from typing import Any

import numpy as np

from mobilevitv2.errors import CheckpointError, ConfigError, require
from mobilevitv2.runtime.record import NAME, Record


class File:
    """A model compiled by OpenVINO for the CPU; each call has its own infer request."""

    def __init__(self, path: Path, *, threads: int | None, precision: str) -> None:
        openvino: Any = require("openvino", extra="openvino")
        core = openvino.Core()
        if not path.with_suffix(".bin").is_file():
            raise CheckpointError(
                f"{path} needs its weights beside it, {path.with_suffix('.bin').name}."
            )
        try:
            model = core.read_model(path)
        except RuntimeError as error:
            raise CheckpointError(
                f"{path} can't be opened by OpenVINO: it or its .bin is damaged."
            ) from error
        found = model.get_rt_info(NAME) if model.has_rt_info(NAME) else None
        self.record = None if found is None else Record.from_json(found.astype(str), str(path))
        self.precision = _precision(core, precision)
        hint = {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}[self.precision]
        options: dict[str, Any] = {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY"}
        if threads is not None:
            options["INFERENCE_NUM_THREADS"] = threads
        shape = model.input(0).get_partial_shape()
        self.input_shape = tuple(n.get_length() if n.is_static else None for n in shape)
        self.compiled = core.compile_model(model, "CPU", options)
        self.idle: list[Any] = []  # infer requests that no thread is using

    def __call__(self, pixels: np.ndarray) -> list[np.ndarray]:
        try:
            request = self.idle.pop()
        except IndexError:
            request = self.compiled.create_infer_request()
        try:
            found = request.infer({0: np.ascontiguousarray(pixels)})
            return [np.array(found[output]) for output in self.compiled.outputs]
        finally:
            self.idle.append(request)


def _precision(core: Any, precision: str) -> str:
    able = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if precision == "auto":
        return "bf16" if "BF16" in able else "fp32"
    if precision != "fp32" and precision.upper() not in able:
        raise ConfigError(
            f"this processor doesn't compute in {precision}; OpenVINO has {', '.join(able)} here."
        )
    return precision
