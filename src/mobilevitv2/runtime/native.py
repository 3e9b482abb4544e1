"""The package's own engine for the CPU: a bundle's folder opened in C++, arrays in and out.

The library has a plain C interface (native/include/mobilevitv2.h), so ctypes suffices, nothing is
compiled against Python, and the interpreter's lock is released while it computes. It lies beside
this file, or, of an editable install, where pip put it; MOBILEVITV2_ENGINE=/path/to/library takes
another one, MOBILEVITV2_NO_ENGINE=1 none.
"""

import ctypes
import json
import os
import sys
import weakref
from collections.abc import Collection
from ctypes import POINTER, byref, c_char_p, c_int, c_size_t, c_void_p
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from mobilevitv2.errors import CheckpointError, ConfigError, ImageError, UnsupportedError

INTERFACE = 1  # MV2_INTERFACE of the header that this file was written for
LIBRARY = {"darwin": "_engine.dylib", "win32": "_engine.dll"}.get(sys.platform, "_engine.so")
NativePrecision = Literal["fp32", "bf16", "int8"]  # in the order of their numbers in the header
PRECISIONS: tuple[NativePrecision, ...] = get_args(NativePrecision)
STAGES = "stage_"  # the outputs that are looked at only where somebody asks for them
LARGEST = 2**31 - 1  # of what C calls an int

INPUT, FILE, UNSUPPORTED, MEMORY = 1, 2, 3, 4  # MV2_ERROR_


@dataclass(frozen=True)
class Output:
    """One output for one image."""

    name: str
    shape: tuple[int, ...]


class NativeRuntime:
    """A bundle in the engine. Safe to call from several threads at once, and after a fork."""

    def __init__(
        self,
        folder: str | Path,
        *,
        threads: int | None = None,
        precision: NativePrecision = "fp32",
        instructions: str | None = None,
    ) -> None:
        """Open a folder with config.json, model.safetensors and preprocessor_config.json.

        `threads` is how many a call may use, by default one for each core; `instructions` is one of
        those that `instructions_for` lists, by default its first. Raises CheckpointError,
        ConfigError, UnsupportedError for what PyTorch alone can run, MemoryError, or ImportError
        where the engine is missing.
        """
        if precision not in PRECISIONS:
            raise ConfigError(
                f"precision is {precision!r}; the engine has {', '.join(PRECISIONS)}."
            )
        if threads is not None and not 1 <= threads <= LARGEST:
            raise ConfigError(f"threads is {threads}; at least 1 is wanted.")
        self._library = _library()
        if not instructions_for(precision):
            raise UnsupportedError(f"the engine has no {precision} for this processor.")
        self._opened = (str(folder), threads, precision, instructions)
        chosen = None if instructions is None else instructions.encode()
        options = _Options(threads or 0, PRECISIONS.index(precision), chosen)
        handle = c_void_p()
        code, message = _said(
            self._library.mv2_open, os.fsencode(folder), byref(options), byref(handle)
        )
        if code:
            raise _error(code, message, ConfigError)
        self._handle = handle
        closing = weakref.finalize(self, self._library.mv2_close, handle)
        closing.atexit = False  # daemon threads may still compute then
        self.description: dict[str, Any] = json.loads(self._library.mv2_describe(handle))
        """task, labels, precision, instructions, threads, weights [bytes], processor."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Copied and pickled as what to open, which other processes open again."""
        return _opened_again, self._opened

    @property
    def task(self) -> str:
        """classification, segmentation, detection or backbone"""
        return self.description["task"]

    @property
    def labels(self) -> list[str]:
        """The classes in the order of the logits."""
        return list(self.description["labels"])

    @property
    def precision(self) -> str:
        """fp32, bf16 or int8"""
        return self.description["precision"]

    @property
    def instructions(self) -> str:
        """The instruction set that it computes with, such as avx2."""
        return self.description["instructions"]

    @property
    def channels(self) -> int:
        """Of the images that go in."""
        return self.description.get("channels", 3)

    def outputs(self, height: int, width: int) -> list[Output]:
        """What comes out for an image of height x width px: the answers, then stage_0 to stage_4.

        Raises ImageError for a size that the model can't take.
        """
        _check_sides(height, width)
        found = (_Output * 16)()
        count = c_int()
        self._call(
            self._library.mv2_outputs,
            height,
            width,
            found,
            len(found),
            byref(count),
            error=ImageError,
        )
        return [Output(o.name.decode(), tuple(o.shape[: o.rank])) for o in found[: count.value]]

    def __call__(
        self, pixels: np.ndarray, wanted: Collection[str] | None = None
    ) -> dict[str, np.ndarray]:
        """float32 [B, C, H, W] in [0, 1], in the weights' channel order, to the outputs by name.

        Those are the `wanted` ones, by default all but the maps of the stages, each float32 with
        the batch in front of its shape. Raises ImageError.
        """
        if pixels.ndim != 4 or pixels.shape[1] != self.channels:
            raise ImageError(
                f"pixels of shape {list(pixels.shape)} came; [B, {self.channels}, H, W] is wanted."
            )
        pixels = np.ascontiguousarray(pixels, np.float32)
        batch, _, height, width = pixels.shape
        arrays, places, counts = self._room(height, width, wanted, batch)
        if batch:
            self._call(
                self._library.mv2_run,
                pixels.ctypes.data,
                batch,
                height,
                width,
                places,
                counts,
                len(counts),
                error=ImageError,
            )
        return arrays

    def prepare(self, photo: np.ndarray) -> np.ndarray:
        """A photo, uint8 RGB [H, W, 3], to float32 [3, h, w] as preprocessor_config.json says.

        Bit for bit what `MobileViTImageProcessor` with these settings makes. Raises ImageError.
        """
        photo = _rows(photo)
        height, width = self._prepared_size(photo)
        pixels = np.empty((3, height, width), np.float32)
        self._call(
            self._library.mv2_prepare,
            *_place(photo),
            pixels.ctypes.data,
            pixels.size,
            error=ImageError,
        )
        return pixels

    def run_photo(
        self, photo: np.ndarray, wanted: Collection[str] | None = None
    ) -> dict[str, np.ndarray]:
        """`prepare` and the run in one: uint8 RGB [H, W, 3] to the outputs, without a batch."""
        photo = _rows(photo)
        arrays, places, counts = self._room(*self._prepared_size(photo), wanted)
        self._call(
            self._library.mv2_run_photo,
            *_place(photo),
            places,
            counts,
            len(counts),
            error=ImageError,
        )
        return arrays

    def profile(self, height: int, width: int, *, rounds: int = 30) -> dict[str, Any]:
        """Where the time of one image of this size goes.

        `peak`, the multiply-adds a second of one thread in registers alone, and `parts`, each with
        name, seconds (median of `rounds`) and multiply_adds. Raises ImageError.
        """
        _check_sides(height, width)
        room = ctypes.create_string_buffer(1 << 16)
        self._call(
            self._library.mv2_profile, height, width, rounds, room, len(room), error=ImageError
        )
        return json.loads(room.value)

    def _prepared_size(self, photo: np.ndarray) -> tuple[int, int]:
        height, width = c_int(), c_int()
        self._call(
            self._library.mv2_prepared_size,
            *photo.shape[:2],
            byref(height),
            byref(width),
            error=ImageError,
        )
        return height.value, width.value

    def _room(
        self, height: int, width: int, wanted: Collection[str] | None, *batch: int
    ) -> tuple[dict[str, np.ndarray], Any, Any]:
        """New arrays for the wanted outputs, and where each output of the model goes, or 0."""
        known = self.outputs(height, width)
        if wanted is None:
            wanted = {output.name for output in known if not output.name.startswith(STAGES)}
        elif strange := set(wanted) - {output.name for output in known}:
            raise ConfigError(
                f"there is no output {', '.join(sorted(strange))}; there are "
                f"{', '.join(output.name for output in known)}."
            )
        arrays = {
            o.name: np.empty((*batch, *o.shape), np.float32) for o in known if o.name in wanted
        }
        rooms = [arrays.get(output.name) for output in known]
        places = (c_void_p * len(rooms))(*[None if r is None else r.ctypes.data for r in rooms])
        counts = (c_size_t * len(rooms))(*[0 if r is None else r.size for r in rooms])
        return arrays, places, counts

    def _call(self, function: Any, *arguments: Any, error: type[Exception]) -> None:
        code, message = _said(function, self._handle, *arguments)
        if code:
            raise _error(code, message, error)


def available() -> bool:
    """Whether the engine is here and may be used; `missing` says why not."""
    return missing() is None


def missing() -> str | None:
    """Why the engine is not here, in one sentence; None where it is."""
    try:
        _library()
    except ImportError as error:
        return str(error)
    return None


def instructions_for(precision: NativePrecision) -> list[str]:
    """The instruction sets of this processor that the engine has in this precision, best first."""
    return _library().mv2_instructions(PRECISIONS.index(precision)).decode().split()


# The library


class _Options(ctypes.Structure):
    _fields_ = (("threads", c_int), ("precision", c_int), ("instructions", c_char_p))


class _Output(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char * 32),
        ("rank", c_int),
        ("shape", ctypes.c_int64 * 4),
        ("count", c_size_t),
    )


MESSAGE = (c_char_p, c_size_t)
PHOTO = (c_void_p, c_int, c_int, ctypes.c_ssize_t)
RESULTS = (POINTER(c_void_p), POINTER(c_size_t), c_int)
FUNCTIONS: dict[str, tuple[Any, tuple[Any, ...]]] = {  # name: what it gives, what it takes
    "mv2_instructions": (c_char_p, (c_int,)),
    "mv2_open": (c_int, (c_char_p, POINTER(_Options), POINTER(c_void_p), *MESSAGE)),
    "mv2_close": (None, (c_void_p,)),
    "mv2_describe": (c_char_p, (c_void_p,)),
    "mv2_outputs": (
        c_int,
        (c_void_p, c_int, c_int, POINTER(_Output), c_int, POINTER(c_int), *MESSAGE),
    ),
    "mv2_run": (c_int, (c_void_p, c_void_p, c_int, c_int, c_int, *RESULTS, *MESSAGE)),
    "mv2_prepared_size": (
        c_int,
        (c_void_p, c_int, c_int, POINTER(c_int), POINTER(c_int), *MESSAGE),
    ),
    "mv2_prepare": (c_int, (c_void_p, *PHOTO, c_void_p, c_size_t, *MESSAGE)),
    "mv2_profile": (c_int, (c_void_p, c_int, c_int, c_int, *MESSAGE, *MESSAGE)),
    "mv2_run_photo": (c_int, (c_void_p, *PHOTO, *RESULTS, *MESSAGE)),
}


def _library() -> Any:
    if os.environ.get("MOBILEVITV2_NO_ENGINE", "") not in ("", "0"):
        raise ImportError("the engine is turned off by MOBILEVITV2_NO_ENGINE. Unset it.")
    if named := os.environ.get("MOBILEVITV2_ENGINE"):
        if not os.path.isfile(named):
            raise ImportError(f"MOBILEVITV2_ENGINE is {named}, which does not exist.")
        return _loaded(os.path.abspath(named))
    for folder in (Path(__file__).parent, *sys.modules["mobilevitv2.runtime"].__path__):
        if os.path.isfile(path := os.path.join(folder, LIBRARY)):
            return _loaded(path)
    raise ImportError(
        "this installation has no engine: there was no C++17 compiler, or the build failed. "
        "Install one (Debian: apt-get install g++) and run: pip install --force-reinstall "
        "--no-deps -v mobilevitv2 (in a checkout: pip install -v .)."
    )


@cache
def _loaded(path: str) -> Any:
    try:
        library = ctypes.CDLL(path)
        found = library.mv2_interface()
    except (OSError, AttributeError) as error:
        raise ImportError(
            f"the engine {path} can't be loaded ({error}). Install mobilevitv2 anew."
        ) from error
    if found != INTERFACE:
        raise ImportError(
            f"the engine {path} has interface {found}, and {INTERFACE} is wanted: it is of another "
            "version of mobilevitv2. Install mobilevitv2 anew."
        )
    for name, (gives, takes) in FUNCTIONS.items():
        function = getattr(library, name, None)
        if function is None:
            raise ImportError(f"the engine {path} has no {name}. Install mobilevitv2 anew.")
        function.restype, function.argtypes = gives, takes
    return library


def _said(function: Any, *arguments: Any) -> tuple[int, str]:
    message = ctypes.create_string_buffer(2048)
    code = function(*arguments, message, len(message))
    return code, message.value.decode(errors="replace") if code else ""


def _error(code: int, message: str, of_input: type[Exception]) -> Exception:
    """The exception for an MV2_ERROR_ number."""
    kinds = {
        INPUT: of_input,
        FILE: CheckpointError,
        UNSUPPORTED: UnsupportedError,
        MEMORY: MemoryError,
    }
    if code not in kinds:
        return RuntimeError(f"the engine failed, which is a bug of mobilevitv2: {message}")
    return kinds[code](message)


def _opened_again(folder: str, threads: int | None, precision: Any, name: str | None) -> Any:
    return NativeRuntime(folder, threads=threads, precision=precision, instructions=name)


def _check_sides(height: int, width: int) -> None:
    if not (1 <= height <= LARGEST and 1 <= width <= LARGEST):
        raise ImageError(f"an image of {height}x{width} px can't be computed; resize it.")


def _rows(photo: np.ndarray) -> np.ndarray:
    """The same photo, copied only where the pixels of a row do not lie side by side."""
    if photo.dtype != np.uint8 or photo.ndim != 3 or photo.shape[2] != 3:
        raise ImageError(
            f"a photo of {photo.dtype} {list(photo.shape)} came; uint8 RGB [H, W, 3] is wanted."
        )
    _check_sides(*photo.shape[:2])
    plain = photo.strides[1:] == (3, 1) and photo.strides[0] >= 3 * photo.shape[1]
    return photo if plain else np.ascontiguousarray(photo)


def _place(photo: np.ndarray) -> tuple[int, int, int, int]:
    return photo.ctypes.data, *photo.shape[:2], photo.strides[0]
