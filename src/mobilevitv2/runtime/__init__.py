"""Runs exported files: arrays in, arrays out; only PyTorch's own formats need torch."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mobilevitv2.runtime.opening import Record, Runtime, open_runtime

__all__ = ["Record", "Runtime", "open_runtime"]


def __getattr__(name: str) -> Any:  # not imported above: reading the targets needs no numpy
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from mobilevitv2.runtime import opening

    return getattr(opening, name)
