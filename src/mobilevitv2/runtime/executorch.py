"""ExecuTorch's .pte; its Python runtime takes tensors, so this one imports torch."""

import threading
from pathlib import Path
from typing import Any

import numpy as np

from mobilevitv2.errors import CheckpointError, require
from mobilevitv2.runtime.record import NAME, Record


class File:
    """A program's method `forward`; calls wait for each other, as its state is shared."""

    precision = "fp32"

    def __init__(self, path: Path, *, threads: int | None, precision: str) -> None:
        runtime: Any = require("executorch.runtime", extra="executorch")
        self.torch: Any = require("torch", extra="torch")
        try:
            program = runtime.Runtime.get().load_program(path)
            self.method = program.load_method("forward")
        except RuntimeError as error:
            raise CheckpointError(f"{path} can't be opened by ExecuTorch: {error}") from error
        self.record = None
        if NAME in program.method_names:
            text = program.load_method(NAME).execute([])[0]
            self.record = Record.from_json(text, str(path))
        self.input_shape = tuple(self.method.metadata.input_tensor_meta(0).sizes())
        self.lock = threading.Lock()

    def __call__(self, pixels: np.ndarray) -> list[np.ndarray]:
        with self.lock:
            found = self.method.execute([self.torch.from_numpy(np.ascontiguousarray(pixels))])
            return [tensor.numpy().copy() for tensor in found]
