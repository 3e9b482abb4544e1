"""Runs exported files: arrays in, arrays out, and no torch but for the formats that are torch's."""

from mobilevitv2.runtime.opening import Runtime, is_exported, open_runtime
from mobilevitv2.runtime.record import Record

__all__ = ["Record", "Runtime", "is_exported", "open_runtime"]
