"""A torch.export program, for PyTorch without this package and for AOTInductor."""

from pathlib import Path

import torch

from mobilevitv2.deploy.exported_module import ExportedModule
from mobilevitv2.deploy.onnx import free_axes
from mobilevitv2.predict.backends.torch import DTYPES
from mobilevitv2.runtime.record import NAME, Record


def write(module: ExportedModule, record: Record, path: Path) -> None:
    """Make the file.

    A detector's for any size is right at every size, but torch's guards reject 256 px and less:
    without this package, `program.module(check_guards=False)` opens it for these as well.
    """
    graph = InPrecision(module, DTYPES[module.request.precision]).eval()
    axes = free_axes(module.request)
    program = torch.export.export(graph, (module.example(),), dynamic_shapes=(axes,))
    torch.export.save(program, path, extra_files={f"{NAME}.json": record.to_json()})


class InPrecision(torch.nn.Module):
    """Computes in another dtype; inputs and outputs stay as they are."""

    def __init__(self, module: ExportedModule, dtype: torch.dtype) -> None:
        super().__init__()
        self.module = module.to(dtype)
        self.dtype = dtype

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        found = self.module(pixels.to(self.dtype) if pixels.is_floating_point() else pixels)
        found = found if isinstance(found, tuple) else (found,)
        return tuple(t.float() if t.is_floating_point() else t for t in found)
