"""int8 with calibration, only for weights and inputs of convolutions and linear layers.

Norms, softmax and products of maps stay float: quantizing them ruins the answer in every tool.
"""

import contextlib
import io
import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mobilevitv2.errors import ConfigError, require

QUANTIZED = ("Conv", "Gemm", "MatMul")  # of ONNX, where they have weights
PERCENTILE = 99.99  # of an input's values that int8 has to hold; with all, a few set the scale
# Operators of OpenVINO that stay float; quantized, a variance of nearly 0 would become 0.
FLOAT = ("Add", "AvgPool", "Divide", "Multiply", "Power", "ReduceMean", "Sqrt", "Subtract")


def quantize_onnx(model: Any, calibration: Sequence[np.ndarray], leave: list[str]) -> Any:
    """An ONNX model with quantize and dequantize nodes (QDQ), by onnxruntime's static method.

    The nodes named in `leave` stay as they are, and so do the biases: as int32 with a scale for
    each channel they would be larger.
    """
    onnx = require("onnx", extra="onnx")
    quantization = require("onnxruntime.quantization", extra="onnx")
    name = model.graph.input[0].name
    inputs = iter([{name: batch} for batch in calibration])

    class Reader(quantization.CalibrationDataReader):
        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(inputs, None)

    with tempfile.TemporaryDirectory() as folder:
        source, prepared, out = (Path(folder) / f"{n}.onnx" for n in ("fp32", "prepared", "int8"))
        onnx.save(model, source)
        quantization.shape_inference.quant_pre_process(source, prepared, skip_symbolic_shape=True)
        with contextlib.redirect_stdout(io.StringIO()):  # its messages
            quantization.quantize_static(
                prepared,
                out,
                Reader(),
                quant_format=quantization.QuantFormat.QDQ,
                op_types_to_quantize=list(QUANTIZED),
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
                per_channel=True,
                nodes_to_exclude=leave,
                calibrate_method=quantization.CalibrationMethod.Percentile,
                extra_options={"QuantizeBias": False, "CalibPercentile": PERCENTILE},
            )
        quantized = onnx.load(out)
    count = sum(node.op_type == "QuantizeLinear" for node in quantized.graph.node)
    if not count:
        raise ConfigError("onnxruntime quantized none of this model's operators.")
    return quantized


def quantize_openvino(model: Any, calibration: Sequence[np.ndarray], leave: list[str]) -> Any:
    """An OpenVINO model with fake-quantize nodes, by NNCF; the nodes named in `leave` stay."""
    nncf = require("nncf", extra="openvino")
    nncf.set_log_level(logging.ERROR)
    return nncf.quantize(
        model,
        nncf.Dataset(list(calibration)),
        model_type=nncf.ModelType.TRANSFORMER,
        subset_size=len(calibration),
        ignored_scope=nncf.IgnoredScope(names=leave, types=list(FLOAT), validate=False),
    )


def quantize_program(
    program: Any, example: tuple[torch.Tensor, ...], calibration: Sequence[np.ndarray]
) -> Any:
    """A program of torch.export, quantized for XNNPACK by torchao's PT2E."""
    quantizers = require(
        "executorch.backends.xnnpack.quantizer.xnnpack_quantizer", extra="executorch"
    )
    pt2e = require("torchao.quantization.pt2e.quantize_pt2e", extra="executorch")
    config = quantizers.get_symmetric_quantization_config(is_per_channel=True)
    quantizer = quantizers.XNNPACKQuantizer()
    # By module type it would silently leave nine of ten convolutions as they are.
    for operator in (torch.ops.aten.conv2d.default, torch.ops.aten.linear.default):
        quantizer.set_operator_type(operator, config)
    prepared = pt2e.prepare_pt2e(program.module(), quantizer)
    for batch in calibration:
        prepared(torch.from_numpy(batch))
    return torch.export.export(pt2e.convert_pt2e(prepared), example)
