"""The errors, by kind; how messages name many things, and packages that aren't installed.

Every message says what came, what was expected and what to do.
"""

from collections.abc import Iterable
from importlib import import_module
from types import ModuleType


class ImageError(ValueError):
    """An image that can't be read or used."""


class ConfigError(ValueError):
    """A configuration value of the wrong type or out of range."""


class CheckpointError(ValueError):
    """A checkpoint that is damaged, unsafe, or doesn't fit the model."""


class UnsupportedError(ConfigError):
    """A sound model or option that a runtime doesn't support; PyTorch may."""


class DataError(ValueError):
    """A data set whose folder, classes or labels can't be used."""


class ExportError(RuntimeError):
    """An exported file whose answers differ from its model's."""


KNOWN = (ImageError, CheckpointError, ConfigError, DataError, ExportError, ImportError, OSError)
"""What the command line prints as one line; everything else is a bug, with a traceback."""

DIVERGED = (
    "hold NaN or infinity, so there is no prediction. The weights are damaged, the training "
    "diverged, or float16 overflowed: try float32."
)

NAMED = 5  # of many things; the rest is counted

WITH_TORCH = ("torch", "safetensors", "huggingface_hub")  # in the extra torch; the rest in train


def require(module: str, *, extra: str) -> ModuleType:
    """The module, or an ImportError that names the extra to install."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != module.split(".")[0]:
            raise  # it is installed, and something inside it is broken
        raise ImportError(how_to_install(module, extra)) from error


def how_to_install(module: str, extra: str | None = None) -> str:
    """The sentence on how to install a missing package."""
    package = module.split(".")[0]
    extra = extra or ("torch" if package in WITH_TORCH else "train")
    return f"{package} is not installed. Get it with: pip install 'mobilevitv2[{extra}]'"


def first_of(things: Iterable[object]) -> str:
    """The first few, in words."""
    listed = [str(thing) for thing in things]
    return ", ".join(listed[:NAMED]) + (", ..." if len(listed) > NAMED else "")


def some_of(things: Iterable[object]) -> str:
    """How many there are, and the first few."""
    listed = list(things)
    return f"{len(listed):,} ({first_of(listed)})"
