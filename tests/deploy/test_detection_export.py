"""Exported detectors: the same boxes from every kind of file."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from shapes import scene
from squares import NAMES, SIDE, processor, save_detector, save_pictures, trained_detector
from torch import Tensor, nn

from mobilevitv2 import Predictor
from mobilevitv2.deploy import detection, export, exported_module
from mobilevitv2.errors import CheckpointError, ConfigError, ExportError
from mobilevitv2.model.boxes import to_corners
from mobilevitv2.predict.backends.exported import ExportedBackend
from mobilevitv2.predict.backends.torch import TorchBackend
from mobilevitv2.results.suppression import detect
from mobilevitv2.runtime import open_runtime
from mobilevitv2.runtime.record import Record
from mobilevitv2.runtime.targets import TARGETS

onnx = pytest.importorskip("onnx", reason="the extra onnx is not installed")
pytest.importorskip("onnxscript", reason="the extra onnx is not installed")
pytestmark = pytest.mark.filterwarnings("ignore")  # what the exporters' own code warns of
slow = pytest.mark.slow


def kind(to: str, package: str, slowly: bool = False, **options: Any) -> Any:
    marks = [pytest.mark.needs(package)] if package not in ("onnx", "torch") else []
    said = ",".join(f"{k}={v}" for k, v in options.items())
    return pytest.param(to, options, id=f"{to} {said}", marks=[*marks, slow] if slowly else marks)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    return save_detector(tmp_path_factory.mktemp("model") / "squares")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    return save_pictures(tmp_path_factory.mktemp("pictures") / "squares")


@pytest.fixture(scope="module")
def plain(bundle, pictures, tmp_path_factory) -> Path:
    """The ONNX file with nothing asked for."""
    out = tmp_path_factory.mktemp("onnx") / "squares.onnx"
    result = export(bundle, to="onnx", out=out, images=pictures)
    assert result.record.sizes == [[SIDE, SIDE]]
    return result.path


def named(to: str) -> str:
    return f"squares{TARGETS[to].suffix}"


def assert_same_boxes(file: Path, bundle: Path, *, close: float = 1e-3) -> None:
    images = [scene(50 + i, (90, 70))[0] for i in range(4)]
    found = Predictor(file, threads=1)(images)
    wanted = Predictor(bundle, device="cpu")(images)
    assert sum(len(w) for w in wanted) >= 8
    for ours, theirs in zip(found, wanted, strict=True):
        assert ours.size == (70, 90)
        assert ours.labels.tolist() == theirs.labels.tolist()
        assert np.allclose(ours.scores, theirs.scores, atol=close)
        assert np.allclose(ours.boxes, theirs.boxes, atol=90 * close)


# Every kind of file


@pytest.mark.parametrize(
    ("to", "options"),
    [
        kind("onnx", "onnx", True, output="detections", input="uint8"),
        kind("onnx", "onnx", True, image_size="any", output="detections", input="uint8"),
        kind("openvino", "openvino", output="detections"),
        kind("torch", "torch", True, image_size="any", output="boxes"),
        kind("onnx", "onnx", True, output="boxes", opset=17),
        kind("onnx", "onnx", True, output="detections", opset=17, batch=2),
        kind("onnx", "onnx", True, image_size=[[SIDE, SIDE], [96, 128]]),
        kind("web", "onnx", True, output="detections"),
        kind("openvino", "openvino", True, image_size="any"),
        kind("openvino", "openvino", True, image_size="any", output="detections"),
        kind("openvino", "openvino", True, output="boxes", input="uint8"),
        kind("executorch", "executorch", True),
        kind("executorch", "executorch", True, output="boxes", input="uint8"),
        kind("torch", "torch", True),
    ],
)
def test_a_file_answers_as_its_model(to, options, bundle, pictures, tmp_path):
    result = export(bundle, to=to, out=tmp_path / named(to), images=pictures, **options)
    assert result.record.task == "detection"
    assert result.checks
    for check in result.checks:
        assert check.passed
        assert check.detections
        assert check.box_difference is not None
        if check.precision == "fp32":
            assert 0 < check.difference < 1e-4 * check.scale
            assert 0 < check.box_difference < 1e-4
    precise: Any = {"precision": "fp32"}
    network = ExportedBackend(result.path, threads=1, **precise)
    answer = network(np.zeros((3, 3, SIDE, SIDE), np.float32))
    assert len(answer) == 3
    assert answer.fits(len(NAMES))
    if to != "openvino":  # which computes in bf16 where it can
        assert_same_boxes(result.path, bundle)


def test_the_default_file_answers_as_its_model(plain, bundle):
    assert_same_boxes(plain, bundle)
    answers = ExportedBackend(plain)(np.full((2, 3, SIDE, SIDE), 0.3, np.float32))
    live = TorchBackend(trained_detector())(np.full((2, 3, SIDE, SIDE), 0.3, np.float32))
    assert type(answers) is type(live)
    for found, wanted in zip(answers.arrays, live.arrays, strict=True):
        assert found.shape == wanted.shape
        assert np.allclose(found, wanted, atol=1e-4)


@slow
def test_weights_that_want_bgr_and_a_size_that_is_no_multiple(pictures, tmp_path):
    bundle = save_detector(tmp_path / "bgr", order="bgr")
    options: Any = {"input": "uint8", "image_size": (72, 100), "images": pictures}
    result = export(bundle, to="onnx", out=tmp_path / "bgr.onnx", **options)
    assert all(check.passed for check in result.checks)
    made = result.record.open_processor()
    assert made.size == {"height": 72, "width": 100}
    assert made.do_flip_channel_order
    assert open_runtime(result.path).input_shape[1:] == (72, 100, 3)


@slow
@pytest.mark.parametrize(
    ("to", "options"),
    [
        kind("onnx", "onnx", precision="fp16"),
        kind("onnx", "onnx", precision="fp16", output="detections"),
        kind("torch", "torch", precision="bf16"),
        kind("openvino", "openvino", precision="fp16"),
    ],
)
def test_half_precision(to, options, bundle, pictures, tmp_path):
    result = export(bundle, to=to, out=tmp_path / named(to), images=pictures, **options)
    for check in result.checks:
        assert check.passed
        assert check.precision != "fp32"
        assert check.agreement > 0.95


@slow
@pytest.mark.parametrize(
    ("to", "options"),
    [kind("onnx", "onnx"), kind("openvino", "nncf"), kind("executorch", "executorch")],
)
def test_int8_says_how_many_boxes_are_left(to, options, bundle, pictures, tmp_path):
    result = export(
        bundle, to=to, precision="int8", calibrate=pictures, out=tmp_path / named(to), **options
    )
    compared = result.comparison
    assert compared is not None
    assert compared.fp32.agreement == 1
    assert 0.3 < compared.int8.agreement < 1  # of a model of seconds; of a real one 0.98
    assert compared.int8.accuracy is None
    assert compared.int8.bytes < 0.75 * compared.fp32.bytes
    assert compared.lost == 1 - compared.int8.agreement


@slow
@pytest.mark.needs("executorch")
@pytest.mark.parametrize("output", ["logits", "boxes"])
def test_executorch_takes_all_of_it(output, bundle, pictures, tmp_path, caplog):
    export(bundle, to="executorch", output=output, out=tmp_path / "a.pte", images=pictures)
    assert "XNNPACK doesn't take" not in caplog.text


@slow
@pytest.mark.needs("coremltools")
def test_core_ml_is_converted_and_checked_in_structure(bundle, tmp_path):
    """Its arithmetic is not compared: there is no Core ML on Linux."""
    import coremltools as ct

    result = export(bundle, to="coreml", output="boxes", out=tmp_path / "squares.mlpackage")
    model: Any = ct.models.MLModel(str(result.path), skip_model_load=True)
    description = model.get_spec().description
    image = description.input[0].type.imageType
    assert (image.height, image.width) == (SIDE, SIDE)
    shapes = {o.name: list(o.type.multiArrayType.shape) for o in description.output}
    anchors = 6 * (16 + 4 + 1 + 1 + 1) + 4
    assert shapes == {"scores": [1, anchors, len(NAMES)], "corners": [1, anchors, 4]}


# Suppression in the file


class Suppression(nn.Module):
    """What follows the network in a file that gives detections."""

    def forward(self, logits: Tensor, boxes: Tensor) -> tuple[Tensor, ...]:
        scores, corners = logits.softmax(-1)[..., 1:], to_corners(boxes)
        kept = detection.suppressed(scores.transpose(1, 2).contiguous(), corners)
        return detection.best(kept, corners)


def crowds(spread: float) -> tuple[np.ndarray, np.ndarray]:
    """Logits and boxes of three images: one crowded, one sparse, one with nothing in it."""
    generator = np.random.default_rng(0)
    logits = generator.normal(0, spread, (3, 300, 6)).astype(np.float32)
    logits[1, :, 0] += 6 + 2.5 * spread
    logits[2, :, 0] += 40
    centers, sizes = generator.random((3, 300, 2)), generator.uniform(0.1, 0.5, (3, 300, 2))
    return logits, np.concatenate([centers, sizes], -1).astype(np.float32)


@pytest.fixture(scope="module", params=["onnxruntime", "PyTorch"])
def suppression(request, tmp_path_factory) -> Any:
    if request.param == "PyTorch":
        return lambda *given: [t.numpy() for t in Suppression()(*map(torch.from_numpy, given))]
    import onnxruntime

    path = tmp_path_factory.mktemp("suppression") / "suppression.onnx"
    example = (torch.rand(2, 300, 6), torch.rand(2, 300, 4))
    batch = {0: torch.export.Dim("batch")}
    program = torch.onnx.export(
        Suppression(),
        example,
        dynamo=True,
        input_names=["logits", "boxes"],
        dynamic_shapes=(batch, batch),
        custom_translation_table=detection.translations(),
        verbose=False,
    )
    assert program is not None
    program.save(path)
    session = onnxruntime.InferenceSession(path)
    return lambda logits, boxes: session.run(None, {"logits": logits, "boxes": boxes})


@pytest.mark.parametrize("spread", [1.0, 3.0])
def test_detections_of_the_file_are_those_of_detect(suppression, spread):
    logits, boxes = crowds(spread)
    scores, labels, corners = suppression(logits, boxes)
    assert scores.shape == labels.shape == corners.shape[:2] == (3, 200)
    assert labels.dtype == np.int64
    counts = []
    for i in range(3):
        wanted = detect(logits[i], boxes[i])
        count = len(wanted.scores)
        counts.append(count)
        assert not scores[i, count:].any()
        assert labels[i, :count].tolist() == wanted.labels.tolist()
        assert np.allclose(scores[i, :count], wanted.scores, atol=1e-6)
        assert np.allclose(corners[i, :count].clip(0, 1), wanted.boxes, atol=1e-6)
    assert counts[0] > counts[1] > counts[2] == 0
    other = detect(logits[0], boxes[0], nms_threshold=0.55)
    assert other.scores.tolist() != scores[0, : len(other.scores)].tolist()


@pytest.mark.parametrize(
    ("where", "name", "value"),
    [
        (detection, "OVERLAP", 0.6),
        pytest.param(detection, "LEAST_SCORE", 0.5, marks=slow),
        pytest.param(detection, "make_anchors", "transposed", marks=slow),
        pytest.param(exported_module, "fuse", "another bias", marks=slow),
    ],
)
def test_a_file_with_other_boxes_is_set_aside(
    where, name, value, bundle, pictures, tmp_path, monkeypatch
):
    real = getattr(where, name)

    def transposed(sizes, **options):  # columns for rows: right for a picture of one cell
        return real(sizes, **options)[:, [1, 0, 3, 2]]

    def another_bias(model, *arguments, **options):
        mutant = real(model, *arguments, **options)
        mutant.detection_head.predictors[1].conv_1x1.convolution.bias.add_(0.01)
        return mutant

    mutants = {"transposed": transposed, "another bias": another_bias}
    monkeypatch.setattr(where, name, mutants.get(value, value))
    with pytest.raises(ExportError, match="doesn't answer as the model does"):
        export(bundle, to="onnx", output="detections", out=tmp_path / "a.onnx", images=pictures)
    assert [path.name for path in tmp_path.iterdir()] == ["a.onnx.rejected"]


# What is asked for, and records that do not fit


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"to": "coreml", "output": "detections"}, "Core ML can't have output detections"),
        ({"to": "torch", "output": "detections"}, "torch.export can't have output detections"),
        ({"to": "executorch", "output": "detections"}, "ExecuTorch can't have output detections"),
        ({"to": "onnx", "output": "mask"}, "for detection has no output mask, but logits or boxes"),
        ({"to": "onnx", "output": "top_k"}, "for detection has no output top_k"),
        ({"to": "executorch", "image_size": "any"}, "ExecuTorch can't have image size any"),
    ],
    ids=str,
)
def test_what_a_target_cant_express_is_said(bundle, options, said, tmp_path, monkeypatch):
    monkeypatch.setattr("mobilevitv2.deploy.request.find_spec", lambda name: True)
    with pytest.raises(ConfigError, match=said):
        export(bundle, out=tmp_path / named(options["to"]), **options)


@pytest.mark.parametrize("change", [{"labels": ["one"]}, {"output": "boxes"}], ids=str)
def test_a_record_that_does_not_fit_the_graph(plain, change, tmp_path):
    model = onnx.load(plain)
    record = json.loads(model.metadata_props[0].value) | change
    onnx.helper.set_model_props(model, {"mobilevitv2": json.dumps(record)})
    onnx.save(model, tmp_path / "changed.onnx")
    with pytest.raises(CheckpointError, match="classes"):
        Predictor(tmp_path / "changed.onnx")(scene(0)[0])


def test_what_a_file_has_suppressed_is_not_suppressed_again(tmp_path):
    """Two boxes of one class that overlap by more than half, from a file that gives final boxes."""
    answers = {
        "scores": np.array([[0.9, 0.8, 0]], np.float32),
        "labels": np.array([[1, 1, 0]], np.int64),
        "corners": np.array(
            [[[0.1, 0.1, 0.5, 0.5], [0.1, 0.1, 0.5, 0.4], [0, 0, 0, 0]]], np.float32
        ),
    }
    record = Record(
        task="detection",
        labels=NAMES,
        processor=processor().to_dict(),
        sizes=[[SIDE, SIDE]],
        batch=1,
        output="detections",
    )
    helper = onnx.helper
    constants = [
        helper.make_node("Constant", [], [name], value=onnx.numpy_helper.from_array(values))
        for name, values in answers.items()
    ]
    outputs = [
        helper.make_tensor_value_info(
            name, helper.np_dtype_to_tensor_dtype(values.dtype), values.shape
        )
        for name, values in answers.items()
    ]
    pixels = helper.make_tensor_value_info("pixels", onnx.TensorProto.FLOAT, [1, 3, SIDE, SIDE])
    graph = helper.make_graph(constants, "final", [pixels], outputs)
    opset = helper.make_opsetid("", 20)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=9)
    helper.set_model_props(model, {"mobilevitv2": record.to_json()})
    onnx.save(model, tmp_path / "final.onnx")
    found = Predictor(tmp_path / "final.onnx")(scene(0, (SIDE, SIDE))[0])
    assert found.scores.tolist() == pytest.approx([0.9, 0.8])
    assert np.allclose(found.boxes / SIDE, answers["corners"][0, :2])


def test_a_file_whose_answers_are_no_numbers_says_so(plain):
    beyond = replace(Predictor(plain).processor, rescale_factor=1e36)  # what comes out overflows
    with pytest.raises(CheckpointError, match=r"answers of .*squares\.onnx hold NaN or infinity"):
        Predictor(plain, beyond)(scene(0, (90, 70))[0])
