"""The package's own engine for the CPU: opens a bundle's folder in C++, takes and gives arrays."""

import ctypes
import json
import os
import weakref
from collections.abc import Collection
from ctypes import byref, c_int, c_size_t, c_void_p
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from mobilevitv2.errors import ConfigError, ImageError, UnsupportedError
from mobilevitv2.runtime.engine_library import MAX_INT, COptions, COutput, call, library

NativePrecision = Literal["fp32", "bf16", "int8"]  # in the order of the header's numbers
PRECISIONS: tuple[NativePrecision, ...] = get_args(NativePrecision)
STAGES = "stage_"  # these outputs are computed only on request


@dataclass(frozen=True)
class Output:
    """One output for one image."""

    name: str
    shape: tuple[int, ...]


class NativeRuntime:
    """A bundle opened in the engine. Safe to call from several threads at once and after a fork."""

    def __init__(
        self,
        folder: str | Path,
        *,
        threads: int | None = None,
        precision: NativePrecision = "fp32",
        instructions: str | None = None,
    ) -> None:
        """Open a folder with config.json, model.safetensors and preprocessor_config.json.

        A call uses up to `threads` threads, by default one per core. `instructions` is one of
        `instructions_for`, by default the first. Raises CheckpointError, ConfigError,
        UnsupportedError for what only PyTorch runs, MemoryError, or ImportError without the engine.
        """
        if precision not in PRECISIONS:
            raise ConfigError(
                f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}."
            )
        if threads is not None and not 1 <= threads <= MAX_INT:
            raise ConfigError(f"threads must be at least 1, got {threads}.")
        self._library = library()
        if not instructions_for(precision):
            raise UnsupportedError(f"the engine has no {precision} kernels for this processor.")
        self._opened = partial(
            type(self), folder, threads=threads, precision=precision, instructions=instructions
        )
        chosen = None if instructions is None else instructions.encode()
        options = byref(COptions(threads or 0, PRECISIONS.index(precision), chosen))
        self._handle = handle = c_void_p()
        opened = byref(handle)
        call(self._library.mv2_open, os.fsencode(folder), options, opened, error=ConfigError)
        closing = weakref.finalize(self, self._library.mv2_close, handle)
        closing.atexit = False  # daemon threads may still be computing then
        found = self.description = json.loads(self._library.mv2_describe(handle))
        self.task: str = found["task"]  # classification, segmentation, detection or backbone
        self.labels: list[str] = found["labels"]  # in the order of the logits
        self.precision: NativePrecision = found["precision"]
        self.instructions: str = found["instructions"]  # such as avx2
        self.channels: int = found.get("channels", 3)  # of the input

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled by its folder, which is opened again."""
        return self._opened, ()

    def outputs(self, height: int, width: int) -> list[Output]:
        """The outputs for height x width px: the head's, then the stages'. Raises ImageError."""
        _check_sides(height, width)
        found = (COutput * 16)()
        count = c_int()
        self._call(self._library.mv2_outputs, height, width, found, len(found), byref(count))
        return [Output(o.name.decode(), tuple(o.shape[: o.rank])) for o in found[: count.value]]

    def __call__(
        self, pixels: np.ndarray, names: Collection[str] | None = None
    ) -> dict[str, np.ndarray]:
        """float32 [B, C, H, W] in [0, 1], in the weights' channel order, to the outputs by name.

        Gives the outputs `names`, by default all but the stages' maps, each float32 [B, *shape].
        Raises ImageError.
        """
        if pixels.ndim != 4 or pixels.shape[1] != self.channels:
            raise ImageError(
                f"expected pixels [B, {self.channels}, H, W], got shape {list(pixels.shape)}."
            )
        pixels = np.ascontiguousarray(pixels, np.float32)
        batch, _, height, width = pixels.shape
        arrays, places, counts = self._buffers(height, width, names, batch)
        if batch:
            images = pixels.ctypes.data, batch, height, width
            self._call(self._library.mv2_run, *images, places, counts, len(counts))
        return arrays

    def prepare(self, photo: np.ndarray) -> np.ndarray:
        """uint8 RGB [H, W, 3] to float32 [3, h, w]: the bundle's processor, bit for bit."""
        photo = _rows(photo)
        height, width = self._prepared_size(photo)
        pixels = np.empty((3, height, width), np.float32)
        self._call(self._library.mv2_prepare, *_place(photo), pixels.ctypes.data, pixels.size)
        return pixels

    def run_photo(
        self, photo: np.ndarray, names: Collection[str] | None = None
    ) -> dict[str, np.ndarray]:
        """`prepare` and a call in one: uint8 RGB [H, W, 3] to the outputs, without a batch."""
        photo = _rows(photo)
        arrays, places, counts = self._buffers(*self._prepared_size(photo), names)
        self._call(self._library.mv2_run_photo, *_place(photo), places, counts, len(counts))
        return arrays

    def profile(self, height: int, width: int, *, rounds: int = 30) -> dict[str, Any]:
        """Where the time for one image goes, in `parts`: name, seconds (median), multiply_adds.

        `peak` is one thread's multiply-adds per second in registers alone. Raises ImageError.
        """
        _check_sides(height, width)
        text = ctypes.create_string_buffer(1 << 16)
        self._call(self._library.mv2_profile, height, width, rounds, text, len(text))
        return json.loads(text.value)

    def _prepared_size(self, photo: np.ndarray) -> tuple[int, int]:
        height, width = c_int(), c_int()
        self._call(self._library.mv2_prepared_size, *photo.shape[:2], byref(height), byref(width))
        return height.value, width.value

    def _buffers(
        self, height: int, width: int, names: Collection[str] | None, *batch: int
    ) -> tuple[dict[str, np.ndarray], Any, Any]:
        """New arrays for these outputs; every output's address and size, 0 for the others."""
        known = self.outputs(height, width)
        if names is None:
            names = {output.name for output in known if not output.name.startswith(STAGES)}
        elif unknown := set(names) - {output.name for output in known}:
            raise ConfigError(
                f"the model has no output {', '.join(sorted(unknown))}; it has "
                f"{', '.join(output.name for output in known)}."
            )
        made = (output for output in known if output.name in names)
        arrays = {output.name: np.empty((*batch, *output.shape), np.float32) for output in made}
        buffers = [arrays.get(output.name) for output in known]
        places = [None if buffer is None else buffer.ctypes.data for buffer in buffers]
        counts = [0 if buffer is None else buffer.size for buffer in buffers]
        return arrays, (c_void_p * len(known))(*places), (c_size_t * len(known))(*counts)

    def _call(self, function: Any, *arguments: Any) -> None:
        call(function, self._handle, *arguments, error=ImageError)


def missing() -> str | None:
    """Why the engine can't be used; None if it can."""
    try:
        library()
    except ImportError as error:
        return str(error)
    return None


def instructions_for(precision: NativePrecision) -> list[str]:
    """The instruction sets that the engine can use here in this precision, best first."""
    return library().mv2_instructions(PRECISIONS.index(precision)).decode().split()


def _check_sides(height: int, width: int) -> None:
    if not (1 <= height <= MAX_INT and 1 <= width <= MAX_INT):
        raise ImageError(f"expected sides of 1 to {MAX_INT} px, got {height}x{width}.")


def _rows(photo: np.ndarray) -> np.ndarray:
    """The same photo, copied only if a row's pixels aren't contiguous."""
    if photo.dtype != np.uint8 or photo.ndim != 3 or photo.shape[2] != 3:
        raise ImageError(
            f"expected a photo, uint8 RGB [H, W, 3], got {photo.dtype} {list(photo.shape)}."
        )
    _check_sides(*photo.shape[:2])
    plain = photo.strides[1:] == (3, 1) and photo.strides[0] >= 3 * photo.shape[1]
    return photo if plain else np.ascontiguousarray(photo)


def _place(photo: np.ndarray) -> tuple[int, int, int, int]:
    return photo.ctypes.data, *photo.shape[:2], photo.strides[0]
