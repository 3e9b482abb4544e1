"""ExecuTorch with XNNPACK, for Android, iOS and embedded Linux."""

import logging
from collections import Counter
from pathlib import Path
from typing import Any

import torch

from mobilevitv2.deploy.exported_module import ExportedModule
from mobilevitv2.errors import require
from mobilevitv2.runtime.record import NAME, Record

logger = logging.getLogger(__name__)


def write(module: ExportedModule, record: Record, path: Path) -> None:
    """Make the file; operators that XNNPACK doesn't take are logged."""
    example = (module.example(),)
    program = torch.export.export(module, example)
    if module.request.precision == "int8":
        from mobilevitv2.deploy.quantize import quantize_program

        program = quantize_program(program, example, module.request.calibration)
    edge = lower(program, record)
    if left := undelegated(edge):
        listed = ", ".join(f"{count} x {name}" for name, count in left.most_common())
        logger.warning("XNNPACK doesn't take %d operators: %s", left.total(), listed)
    edge.to_executorch().save(str(path))


def lower(program: Any, record: Record | None = None) -> Any:
    """The edge program, with everything that XNNPACK takes delegated to it."""
    exir = require("executorch.exir", extra="executorch")
    xnnpack = require(
        "executorch.backends.xnnpack.partition.xnnpack_partitioner", extra="executorch"
    )
    return exir.to_edge_transform_and_lower(
        program,
        partitioner=[xnnpack.XnnpackPartitioner()],
        constant_methods={NAME: record.to_json()} if record else None,
    )


def undelegated(edge: Any) -> Counter[str]:
    """The operators left to ExecuTorch's portable kernels, and how often."""
    graph = edge.exported_program().graph
    names = (str(node.target) for node in graph.nodes if node.op == "call_function")
    return Counter(n for n in names if "delegate" not in n and "getitem" not in n)
