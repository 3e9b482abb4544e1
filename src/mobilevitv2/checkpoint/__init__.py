"""Checkpoints: the published key layouts, and safe reading and writing of weights."""

from mobilevitv2.checkpoint.files import Weights, read_weights, write_weights
from mobilevitv2.checkpoint.layouts import LAYOUTS, from_ours, recognize, to_ours
from mobilevitv2.checkpoint.shapes import infer_config

__all__ = [
    "LAYOUTS",
    "Weights",
    "from_ours",
    "infer_config",
    "read_weights",
    "recognize",
    "to_ours",
    "write_weights",
]
