"""OpenVINO's intermediate representation: .xml, and .bin beside it."""

from pathlib import Path

from mobilevitv2.deploy.form import ExportForm
from mobilevitv2.deploy.onnx import float_nodes, to_onnx
from mobilevitv2.deploy.request import Request
from mobilevitv2.errors import require
from mobilevitv2.runtime.record import NAME, Record


def write(form: ExportForm, request: Request, record: Record, path: Path) -> None:
    """Make both files, by way of ONNX, whose dynamic sizes OpenVINO gets right."""
    openvino = require("openvino", extra="openvino")
    source = to_onnx(form, request)
    leave = float_nodes(source)
    model = openvino.Core().read_model(source.SerializeToString())
    if request.precision == "int8":
        from mobilevitv2.deploy.quantize import quantize_openvino

        model = quantize_openvino(model, request.calibration, leave)
    model.set_rt_info(record.to_json(), NAME)
    openvino.save_model(model, path, compress_to_fp16=request.precision == "fp16")
