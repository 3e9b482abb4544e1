"""torch.export's .pt2, in PyTorch."""

from pathlib import Path
from typing import Any

import numpy as np

from mobilevitv2.errors import CheckpointError, require
from mobilevitv2.runtime.pt2_archive import without_code
from mobilevitv2.runtime.record import NAME, Record


class File:
    """The graph on the CPU; no code in the file runs. `threads` is that of the whole process."""

    precision = "fp32"

    def __init__(self, path: Path, *, threads: int | None, precision: str) -> None:
        torch: Any = require("torch", extra="torch")
        extra = {f"{NAME}.json": ""}
        try:
            program = torch.export.load(without_code(path), extra_files=extra)
        except CheckpointError:
            raise
        except Exception as error:  # a damaged archive fails in many ways
            raise CheckpointError(f"{path} is damaged or no program of torch.export.") from error
        found = extra[f"{NAME}.json"]
        self.record = Record.from_json(found, str(path)) if found else None
        shape = next(
            node.meta["val"].shape
            for node in program.graph.nodes
            if node.op == "placeholder" and node.name in program.graph_signature.user_inputs
        )
        self.input_shape = tuple(n if isinstance(n, int) else None for n in shape)
        if threads is not None:
            torch.set_num_threads(threads)
        # torch's guards reject sizes that are right: a detector's for any size was traced where no
        # map has a side of 1, and they expect that of every image. The record checks inputs.
        try:
            self.module = program.module(check_guards=False)
        except TypeError:  # torch before 2.9 has no guards in the graph
            self.module = program.module()
        self.torch = torch

    def __call__(self, pixels: np.ndarray) -> list[np.ndarray]:
        with self.torch.inference_mode():
            found = self.module(self.torch.from_numpy(np.ascontiguousarray(pixels)))
        found = found if isinstance(found, tuple | list) else (found,)
        return [tensor.numpy() for tensor in found]
