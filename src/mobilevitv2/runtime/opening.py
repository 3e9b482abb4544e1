"""Opens exported files: `open_runtime`."""

from importlib import import_module
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from mobilevitv2.errors import CheckpointError, ConfigError
from mobilevitv2.files.source import FOLDER_NAMES
from mobilevitv2.runtime.record import Record
from mobilevitv2.runtime.targets import FORMATS, WEB_MODEL

Precision = Literal["auto", "fp32", "bf16", "fp16", "int8"]
PRECISIONS = ("auto", "fp32", "bf16", "fp16")  # that can be chosen; an int8 file was exported so


class Runtime(Protocol):
    """An exported file, ready to run. Safe to call from several threads at once."""

    record: Record | None  # None if the file doesn't come from `export`
    input_shape: tuple[int | None, ...]  # the graph's; None where any length goes
    precision: str  # what it computes in

    def __call__(self, pixels: np.ndarray) -> list[np.ndarray]:
        """All outputs, in the graph's order, for a batch of the graph's input."""
        ...


def exported_file(source: str | Path) -> Path | None:
    """The exported file that `source`, a file or a web export's folder, means; None for others.

    A folder with weights or a training run means these, whatever lies beside them.
    """
    path = Path(source).expanduser()
    if not path.is_dir():
        return path if path.suffix.lower() in FORMATS else None
    weights = (path / folder / name for folder in ("", "best") for name in FOLDER_NAMES)
    own = (path / "recipe.yaml", *weights)
    alone = (path / WEB_MODEL).is_file() and not any(file.exists() for file in own)
    return path / WEB_MODEL if alone else None


def open_runtime(
    source: str | Path, *, threads: int | None = None, precision: Precision = "auto"
) -> Runtime:
    """Open an exported file in the runtime that it was made for.

    `threads` is how many it may use, by default the runtime's choice. `precision` is what it
    computes in, if the runtime has a choice: auto is bf16 on processors made for it, else fp32.
    Raises CheckpointError for a damaged file, ConfigError, FileNotFoundError, or ImportError with
    what to install.
    """
    path = exported_file(source)
    if path is None:
        raise CheckpointError(f"{source} isn't an exported file; they end in {', '.join(FORMATS)}.")
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist.")
    if threads is not None and threads < 1:
        raise ConfigError(f"threads is {threads}; it must be at least 1.")
    if precision == "int8":
        raise ConfigError(f"{path} is int8 only if it was exported so: mobilevitv2 export --int8.")
    if precision not in PRECISIONS:
        raise ConfigError(f"precision is {precision!r}; it must be one of {', '.join(PRECISIONS)}.")
    target = FORMATS[path.suffix.lower()]
    if not target.runs_in_any and precision not in ("auto", "fp32"):
        raise ConfigError(
            f"{target.name} computes in the precision of the file; {precision} can't be chosen "
            "when it is opened. Export it in that precision."
        )
    module = import_module(f"mobilevitv2.runtime.{target.key}")
    runtime: Runtime = module.File(path, threads=threads, precision=precision)
    if runtime.record is not None:
        check_record(runtime.record, runtime.input_shape, str(path))
    return runtime


def check_record(record: Record, input_shape: tuple[int | None, ...], name: str) -> None:
    """Raise CheckpointError if record and graph contradict each other."""
    order = (0, 3, 1, 2) if record.input == "uint8" else (0, 1, 2, 3)
    if len(input_shape) != 4:
        raise CheckpointError(f"{name} takes {list(input_shape)}, which isn't the shape of images.")
    batch, channels, height, width = (input_shape[i] for i in order)
    sizes = record.sizes or []
    fits = [
        channels in (3, None),
        batch == record.batch,
        (height is None and width is None) or [height, width] in sizes,
    ]
    if not all(fits):
        raise CheckpointError(
            f"{name} doesn't fit its record: the graph takes {list(input_shape)}, the record says "
            f"batch {record.batch or 'any'} and sizes {record.sizes or 'any'}. It was changed "
            "after it was exported; export it again."
        )
