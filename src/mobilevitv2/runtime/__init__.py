"""Runs exported files: arrays in, arrays out; only PyTorch's own formats need torch."""

from mobilevitv2.runtime.opening import Runtime, is_exported, open_runtime
from mobilevitv2.runtime.record import Record

__all__ = ["Record", "Runtime", "is_exported", "open_runtime"]
