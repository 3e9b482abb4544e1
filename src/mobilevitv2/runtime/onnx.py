"""ONNX files in onnxruntime."""

from pathlib import Path
from typing import Any

import numpy as np

from mobilevitv2.errors import CheckpointError, require
from mobilevitv2.runtime.record import NAME, Record


class File:
    """A session of onnxruntime on the CPU."""

    precision = "fp32"

    def __init__(self, path: Path, *, threads: int | None, precision: str) -> None:
        ort: Any = require("onnxruntime", extra="")
        options = ort.SessionOptions()
        options.log_severity_level = 3  # errors; they come as exceptions as well
        # Else its threads keep spinning between calls, which slows everything else.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        if threads is not None:
            options.intra_op_num_threads = threads
        try:
            self.session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's own errors have no base class
            reason = str(error).split("\n")[0]
            raise CheckpointError(
                f"{path} can't be opened by onnxruntime: it is damaged or isn't ONNX ({reason})."
            ) from error
        found = self.session.get_modelmeta().custom_metadata_map.get(NAME)
        self.record = None if found is None else Record.from_json(found, str(path))
        taken = self.session.get_inputs()
        if len(taken) != 1:
            raise CheckpointError(
                f"{path} takes {len(taken)} inputs ({', '.join(i.name for i in taken)}); expected "
                "one, the images."
            )
        self.name = taken[0].name
        self.input_shape = tuple(n if isinstance(n, int) else None for n in taken[0].shape)

    def __call__(self, pixels: np.ndarray) -> list[np.ndarray]:
        return self.session.run(None, {self.name: np.ascontiguousarray(pixels)})
