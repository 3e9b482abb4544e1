"""LiteRT (TensorFlow Lite)."""

import io
import zipfile
from contextlib import redirect_stdout
from pathlib import Path

from mobilevitv2.deploy.exported_module import ExportedModule
from mobilevitv2.errors import require
from mobilevitv2.runtime.record import NAME, Record


def write(module: ExportedModule, record: Record, path: Path) -> None:
    """Make the file, with record and labels in an archive at its end, as TensorFlow Lite has it."""
    litert_torch = require("litert_torch", extra="litert")
    with redirect_stdout(io.StringIO()):  # its progress would mix with our result
        # Without enable_x64 classes would be int32.
        model = litert_torch.convert(module, (module.example(),), enable_x64=True)
        model.export(str(path))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(f"{NAME}.json", record.to_json())
        archive.writestr("labels.txt", "\n".join(record.labels))
