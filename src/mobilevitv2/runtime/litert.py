"""LiteRT's (TensorFlow Lite's) .tflite."""

import threading
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from mobilevitv2.errors import CheckpointError, require
from mobilevitv2.runtime.record import NAME, Record


class File:
    """An interpreter; calls wait for each other, as its state is shared."""

    precision = "fp32"

    def __init__(self, path: Path, *, threads: int | None, precision: str) -> None:
        litert: Any = require("ai_edge_litert.interpreter", extra="litert-runtime")
        try:
            self.interpreter = litert.Interpreter(model_path=str(path), num_threads=threads)
        except ValueError as error:
            raise CheckpointError(f"{path} can't be opened by LiteRT: it is damaged.") from error
        self.record = None
        if zipfile.is_zipfile(path):  # with an archive at its end, where metadata lies
            with zipfile.ZipFile(path) as archive:
                if (name := f"{NAME}.json") in archive.namelist():
                    self.record = Record.from_json(archive.read(name).decode(), str(path))
        taken = self.interpreter.get_input_details()[0]
        self.index = taken["index"]
        self.outputs = [output["index"] for output in self.interpreter.get_output_details()]
        self.input_shape = tuple(int(n) if n > 0 else None for n in taken["shape_signature"])
        self.interpreter.allocate_tensors()
        self.lock = threading.Lock()

    def __call__(self, pixels: np.ndarray) -> list[np.ndarray]:
        with self.lock:
            self.interpreter.set_tensor(self.index, np.ascontiguousarray(pixels))
            self.interpreter.invoke()
            return [self.interpreter.get_tensor(index) for index in self.outputs]
