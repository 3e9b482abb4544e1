"""OpenVINO's intermediate representation: .xml, and .bin beside it."""

from pathlib import Path
from typing import Any

import numpy as np

from mobilevitv2.deploy.exported_module import ExportedModule
from mobilevitv2.deploy.onnx import float_nodes, to_onnx
from mobilevitv2.errors import require
from mobilevitv2.runtime.record import NAME, Record


def write(module: ExportedModule, record: Record, path: Path) -> None:
    """Make both files via ONNX, whose dynamic sizes OpenVINO gets right."""
    openvino = require("openvino", extra="openvino")
    source, request = to_onnx(module), module.request
    if request.precision == "int8":
        give_biases(source)
    model = openvino.Core().read_model(source.SerializeToString())
    if request.precision == "int8":
        from mobilevitv2.deploy.quantize import quantize_openvino

        leave = float_nodes(source) + depthwise_nodes(model)
        model = quantize_openvino(model, request.calibration, leave)
    model.set_rt_info(record.to_json(), NAME)
    openvino.save_model(model, path, compress_to_fp16=request.precision == "fp16")


def depthwise_nodes(model: Any) -> list[str]:
    """Names of the depthwise convolutions, which OpenVINO computes in float even if quantized.

    OpenVINO 2026.4 fuses the quantization of their inputs, which is per channel, into the int8
    convolution before them, and that reads wrong addresses on CPUs with AMX, on maps of up to 4
    pixels: a segmentation fault (https://github.com/openvinotoolkit/openvino/issues/37577).
    """
    operators = model.get_ordered_ops()
    return [o.get_friendly_name() for o in operators if o.get_type_name() == "GroupConvolution"]


def give_biases(model: Any) -> None:
    """Give an ONNX model's convolutions without a bias one of almost nothing.

    OpenVINO 2026.4 computes an int8 convolution without bias as zero on CPUs without AMX, and one
    of exactly zero is optimized away.
    """
    onnx = require("onnx", extra="onnx")
    channels = {t.name: t.dims[0] for t in model.graph.initializer if t.dims}
    for node in model.graph.node:
        if node.op_type == "Conv" and len(node.input) == 2:
            name = f"{node.name}_bias"
            bias = np.full(channels[node.input[1]], 1e-20, np.float32)
            model.graph.initializer.append(onnx.numpy_helper.from_array(bias, name))
            node.input.append(name)
