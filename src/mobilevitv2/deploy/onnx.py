"""ONNX, from which OpenVINO's and the web's files are made too."""

from pathlib import Path
from typing import Any

import torch
from torch.export import Dim

from mobilevitv2.deploy.detection import translations
from mobilevitv2.deploy.exported_module import ExportedModule
from mobilevitv2.deploy.request import Request
from mobilevitv2.errors import ConfigError, require
from mobilevitv2.processor_settings import MULTIPLE
from mobilevitv2.runtime.record import NAME, Record

TRACED_OPSET = 20  # onnxruntime opens it sooner than 21, which keeps GroupNormalization
LARGEST = 128 * MULTIPLE  # px; torch.export needs a bound


def write(module: ExportedModule, record: Record, path: Path) -> None:
    """Make the file."""
    onnx, request = require("onnx", extra="onnx"), module.request
    model = to_onnx(module)
    if request.precision == "fp16":
        model = _to_half(model)
    if request.opset not in (None, TRACED_OPSET):
        model = to_opset(model, request.opset)
    if request.precision == "int8":
        from mobilevitv2.deploy.quantize import quantize_onnx

        model = quantize_onnx(model, request.calibration, float_nodes(model))
    shorten_names(model)
    model.producer_name = NAME  # what other tools look for
    model.doc_string = f"MobileViTv2 for {record.task}"
    onnx.helper.set_model_props(model, {NAME: record.to_json()})
    onnx.checker.check_model(model)
    onnx.save(model, path)


def to_onnx(module: ExportedModule) -> Any:
    """The model in memory, fp32, opset 20, its constants folded."""
    program = torch.onnx.export(
        module,
        (module.example(),),
        dynamo=True,
        opset_version=TRACED_OPSET,
        input_names=["pixels"],
        output_names=module.output_names,
        dynamic_shapes=(free_axes(module.request),),
        custom_translation_table=translations(),
        verbose=False,
    )
    assert program is not None
    return simplify(program.model_proto)


def free_axes(request: Request) -> dict[int, Any]:
    """Which axes of the input are free."""
    free: dict[int, Any] = {} if request.batch else {0: Dim("batch", min=1)}
    if request.fixed_size is None:
        height, width = (1, 2) if request.input == "uint8" else (2, 3)
        most = LARGEST // MULTIPLE
        free[height] = MULTIPLE * Dim("rows", min=2, max=most)
        free[width] = MULTIPLE * Dim("columns", min=2, max=most)
    return free


SHORTER = {  # parts of names, which in a small int8 file are a tenth of its bytes
    "model.mobilevitv2.": "",
    ".convolution": "",
    "_DequantizeLinear": "_dq",
    "_QuantizeLinear": "_q",
    "_Output": "",
    "_Input": "_in",
    "_quantized": "_int8",
}


def shorten_names(model: Any) -> None:
    """Shorten the names of the graph's values, except its inputs and outputs."""

    def short(name: str) -> str:
        for long, shorter in SHORTER.items():
            name = name.replace(long, shorter)
        return name

    graph = model.graph
    kept = {value.name for value in (*graph.input, *graph.output)}
    for node in graph.node:
        node.name = short(node.name)
        node.input[:] = [n if n in kept else short(n) for n in node.input]
        node.output[:] = [n if n in kept else short(n) for n in node.output]
    for tensor in graph.initializer:
        tensor.name = short(tensor.name)
    del graph.value_info[:]  # every runtime infers the shapes for itself


def float_nodes(model: Any) -> list[str]:
    """Names of the convolutions and products inside norms and attention."""
    names = (tensor.name for tensor in model.graph.initializer)
    weights = {name for name in names if not name.endswith(("average", "inside"))}
    return [
        node.name
        for node in model.graph.node
        if node.op_type in ("Conv", "MatMul") and node.input[1] not in weights
    ]


def simplify(model: Any) -> Any:
    """Turn means over a whole map into pooling, which is faster, and drop traces of Python."""
    onnx = require("onnx", extra="onnx")
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes = []
    for node in model.graph.node:
        axes = constants.get(node.input[1]) if node.op_type == "ReduceMean" else None
        if axes is None or sorted(onnx.numpy_helper.to_array(axes) % 4) != [2, 3]:
            nodes.append(node)
            continue
        keeps = all(a.i for a in node.attribute if a.name == "keepdims")
        name, (source, _), (mean,) = node.name, node.input, node.output
        pooled = mean if keeps else f"{mean}_pooled"
        nodes.append(onnx.helper.make_node("GlobalAveragePool", [source], [pooled], name))
        if not keeps:
            nodes.append(onnx.helper.make_node("Flatten", [pooled], [mean], f"{name}_flat"))
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    for part in (*model.graph.node, *model.graph.value_info, *kept, model.graph):
        part.ClearField("metadata_props")  # where in torch it came from: a fifth of a small file
    return model


def to_opset(model: Any, opset: int) -> Any:
    """The model in another opset; ConfigError if that lacks one of its operators."""
    onnx = require("onnx", extra="onnx")
    try:
        changed = onnx.version_converter.convert_version(model, opset)
        onnx.checker.check_model(changed)
    except (RuntimeError, onnx.checker.ValidationError) as error:
        reason = str(error).strip().split("\n")[0]
        raise ConfigError(
            f"the model can't be written in opset {opset} ({reason}). A fixed image size "
            "and logits as output need the fewest operators."
        ) from error
    return changed


def _to_half(model: Any) -> Any:
    """Weights and arithmetic in fp16; input and output stay as they are."""
    float16 = require("onnxruntime.transformers.float16", extra="onnx")
    graphs = require("onnxruntime.transformers.onnx_model", extra="onnx")
    half = graphs.OnnxModel(float16.convert_float_to_float16(model, keep_io_types=True))
    half.topological_sort()
    return half.model
