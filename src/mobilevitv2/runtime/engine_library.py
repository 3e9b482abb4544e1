"""The engine's library, called through its C interface (native/include/mobilevitv2.h) with ctypes.

Nothing is compiled against Python, and the interpreter's lock is released during a call. The
library lies beside this file or, in an editable install, where pip put it.
MOBILEVITV2_ENGINE=/path/to/library chooses another one, MOBILEVITV2_NO_ENGINE=1 none.
"""

import ctypes
import os
import sys
from ctypes import POINTER, c_char_p, c_int, c_size_t, c_void_p
from functools import cache
from pathlib import Path
from typing import Any

from mobilevitv2.errors import CheckpointError, UnsupportedError

INTERFACE = 1  # the header's MV2_INTERFACE that this file was written for
NAME = {"darwin": "_engine.dylib", "win32": "_engine.dll"}.get(sys.platform, "_engine.so")
INPUT, FILE, UNSUPPORTED, MEMORY = 1, 2, 3, 4  # MV2_ERROR_
ERRORS = {FILE: CheckpointError, UNSUPPORTED: UnsupportedError, MEMORY: MemoryError}
MAX_INT = 2**31 - 1
REINSTALL = "Reinstall mobilevitv2."


class COptions(ctypes.Structure):
    """mv2_options"""

    _fields_ = (("threads", c_int), ("precision", c_int), ("instructions", c_char_p))


class COutput(ctypes.Structure):
    """mv2_output"""

    _fields_ = (
        ("name", ctypes.c_char * 32),
        ("rank", c_int),
        ("shape", ctypes.c_int64 * 4),
        ("count", c_size_t),
    )


MODEL, SIZE, MESSAGE = c_void_p, (c_int, c_int), (c_char_p, c_size_t)
PHOTO = (c_void_p, *SIZE, ctypes.c_ssize_t)
RESULTS = (POINTER(c_void_p), POINTER(c_size_t), c_int)
FUNCTIONS: dict[str, tuple[Any, tuple[Any, ...]]] = {  # name: type of its result, its parameters
    "mv2_instructions": (c_char_p, (c_int,)),
    "mv2_open": (c_int, (c_char_p, POINTER(COptions), POINTER(MODEL), *MESSAGE)),
    "mv2_close": (None, (MODEL,)),
    "mv2_describe": (c_char_p, (MODEL,)),
    "mv2_outputs": (c_int, (MODEL, *SIZE, POINTER(COutput), c_int, POINTER(c_int), *MESSAGE)),
    "mv2_run": (c_int, (MODEL, c_void_p, c_int, *SIZE, *RESULTS, *MESSAGE)),
    "mv2_prepared_size": (c_int, (MODEL, *SIZE, POINTER(c_int), POINTER(c_int), *MESSAGE)),
    "mv2_prepare": (c_int, (MODEL, *PHOTO, c_void_p, c_size_t, *MESSAGE)),
    "mv2_profile": (c_int, (MODEL, *SIZE, c_int, *MESSAGE, *MESSAGE)),
    "mv2_run_photo": (c_int, (MODEL, *PHOTO, *RESULTS, *MESSAGE)),
}


def library() -> Any:
    """The loaded library; an ImportError says why there is none and what to do."""
    if os.environ.get("MOBILEVITV2_NO_ENGINE", "") not in ("", "0"):
        raise ImportError("the engine is turned off by MOBILEVITV2_NO_ENGINE; unset it.")
    if named := os.environ.get("MOBILEVITV2_ENGINE"):
        if not os.path.isfile(named):
            raise ImportError(f"MOBILEVITV2_ENGINE is {named}, which does not exist.")
        return _load(os.path.abspath(named))
    for folder in (Path(__file__).parent, *sys.modules["mobilevitv2.runtime"].__path__):
        if os.path.isfile(path := os.path.join(folder, NAME)):
            return _load(path)
    raise ImportError(
        "this installation has no engine: there was no C++17 compiler, or the build failed. "
        "Install a compiler (Debian: apt-get install g++) and run: pip install --force-reinstall "
        "--no-deps -v mobilevitv2 (in a checkout: pip install -v .)."
    )


@cache
def _load(path: str) -> Any:
    try:
        loaded = ctypes.CDLL(path)
        interface = loaded.mv2_interface()
    except (OSError, AttributeError) as error:
        raise ImportError(f"can't load the engine {path} ({error}). {REINSTALL}") from error
    if interface != INTERFACE:
        raise ImportError(
            f"expected interface {INTERFACE} of the engine {path}, got {interface}: it belongs to "
            f"another version of mobilevitv2. {REINSTALL}"
        )
    for name, (result, parameters) in FUNCTIONS.items():
        function = getattr(loaded, name, None)
        if function is None:
            raise ImportError(f"the engine {path} has no {name}. {REINSTALL}")
        function.restype, function.argtypes = result, parameters
    return loaded


def call(function: Any, *arguments: Any, error: type[Exception]) -> None:
    """Call a function that takes room for a message last; MV2_ERROR_INPUT raises `error`."""
    message = ctypes.create_string_buffer(2048)
    code = function(*arguments, message, len(message))
    if code:
        text = message.value.decode(errors="replace")
        if code not in (INPUT, *ERRORS):
            raise RuntimeError(f"the engine failed, which is a bug in mobilevitv2: {text}")
        raise ERRORS.get(code, error)(text)
