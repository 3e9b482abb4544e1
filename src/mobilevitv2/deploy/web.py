"""The web: a folder with an ONNX file and its record, for onnxruntime-web."""

from pathlib import Path

from mobilevitv2.deploy import onnx
from mobilevitv2.deploy.exported_module import ExportedModule
from mobilevitv2.runtime.record import Record
from mobilevitv2.runtime.targets import WEB_MODEL, WEB_RECORD


def write(module: ExportedModule, record: Record, path: Path) -> None:
    """Make the folder."""
    path.mkdir()
    onnx.write(module, record, path / WEB_MODEL)
    (path / WEB_RECORD).write_text(record.to_json(), encoding="utf-8")
