"""Exports to LiteRT, in the environment of its own that it wants; elsewhere skipped."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from squares import save_detector, save_pictures
from tiny import CLASSES, COLORS, SIZE, picture, save_trained
from torch import Tensor, nn

from mobilevitv2 import Predictor
from mobilevitv2.deploy import export
from mobilevitv2.deploy.pictures import images_of
from mobilevitv2.errors import CheckpointError, ConfigError
from mobilevitv2.runtime import open_runtime

litert_torch = pytest.importorskip("litert_torch", reason="litert-torch is not installed")
schema: Any = pytest.importorskip("ai_edge_litert.schema_py_generated")
pytestmark = pytest.mark.filterwarnings("ignore")  # what the exporter's own code warns of


@pytest.fixture(scope="module")
def bundles(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {order: save_trained(folder / order, order) for order in ("rgb", "bgr")}


@pytest.fixture(scope="module")
def plain(bundles, tmp_path_factory) -> Path:
    """The export with nothing asked for."""
    out = tmp_path_factory.mktemp("litert") / "colors.tflite"
    result = export(bundles["rgb"], to="litert", out=out)
    assert all(check.passed and check.difference > 0 for check in result.checks)
    return result.path


@pytest.fixture(scope="module")
def served(bundles, tmp_path_factory) -> Path:
    """Bytes in and classes out, three images at a time, of weights that want BGR."""
    options = {"input": "uint8", "output": "top_k", "top_k": 2, "batch": 3}
    out = tmp_path_factory.mktemp("litert") / "served.tflite"
    result = export(bundles["bgr"], to="litert", out=out, **options)
    assert all(check.passed and check.difference > 0 for check in result.checks)
    return result.path


def test_a_file_answers_as_its_model(bundles, plain):
    pictures = [picture(c, seed=7, size=(90, 70)) for c in COLORS] * 3
    found = Predictor(plain, threads=1)(pictures)
    for ours, wanted in zip(found, Predictor(bundles["rgb"], device="cpu")(pictures), strict=True):
        assert ours.labels == wanted.labels
        assert np.allclose(ours.scores, wanted.scores, atol=1e-4)


def test_bytes_go_in_and_classes_come_out(bundles, served):
    runtime = open_runtime(served)
    assert runtime.input_shape == (3, SIZE, SIZE, 3)
    images = np.stack([np.asarray(picture(c, seed=7)) for c in COLORS])
    scores, classes = runtime(images)
    assert (scores.dtype, classes.dtype) == (np.float32, np.int64)
    original = Predictor(bundles["bgr"], device="cpu", top_k=2)
    wanted = original([picture(c, seed=7) for c in COLORS])
    assert [[CLASSES[i] for i in row] for row in classes] == [w.labels for w in wanted]
    assert np.allclose(scores, [w.scores for w in wanted], atol=1e-4)
    five = [picture(CLASSES[i % 3], seed=i) for i in range(5)]  # which fill no whole batch
    assert [r.label for r in Predictor(served)(five)] == [r.label for r in original(five)]


def test_two_hundred_photos(bundles, plain, shared_data):
    photos = images_of(shared_data / "flowers" / "val")
    original = Predictor(bundles["rgb"], device="cpu")
    pixels = [original.processor(photo).pixel_values[0] for photo in photos]
    wanted, found = original.logits(pixels), Predictor(plain).logits(pixels)
    assert len(found) == 200
    assert np.abs(found - wanted).max() <= 1e-4 * np.abs(wanted).max()
    assert (found.argmax(1) == wanted.argmax(1)).all()


@pytest.mark.parametrize("options", [{}, {"output": "boxes", "input": "uint8", "batch": 2}])
def test_a_detectors_file_finds_the_same_boxes(options, tmp_path):
    bundle, pictures = save_detector(tmp_path / "m"), save_pictures(tmp_path / "pictures")
    out = tmp_path / "squares.tflite"
    result = export(bundle, to="litert", out=out, images=pictures, **options)
    (check,) = result.checks
    assert check.passed
    assert check.detections
    photos = sorted(pictures.iterdir())
    wanted = Predictor(bundle, device="cpu")(photos)
    assert sum(map(len, wanted)) > 10
    for ours, theirs in zip(Predictor(out, threads=1)(photos), wanted, strict=True):
        assert ours.labels.tolist() == theirs.labels.tolist()
        assert np.allclose(ours.boxes, theirs.boxes, atol=0.1)
    assert_plain(*graph_of(out))


# The graph


def graph_of(file: Path) -> tuple[list[str], int]:
    """Names of all operators, those of other libraries as such, and the largest rank."""
    model = schema.ModelT.InitFromPackedBuf(file.read_bytes(), 0)
    numbers = {n: name for name, n in vars(schema.BuiltinOperator).items() if isinstance(n, int)}
    codes = [max(c.builtinCode, c.deprecatedBuiltinCode) for c in model.operatorCodes]
    names = [
        f"CUSTOM {c.customCode.decode()}" if c.customCode else numbers[n]
        for c, n in zip(model.operatorCodes, codes, strict=True)
    ]
    (graph,) = model.subgraphs
    ranks = [0 if tensor.shape is None else len(tensor.shape) for tensor in graph.tensors]
    return [names[operator.opcodeIndex] for operator in graph.operators], max(ranks)


def assert_plain(operators: list[str], rank: int) -> None:
    """Operators that every build of the interpreter has, on tensors that accelerators take."""
    assert operators.count("CONV_2D") > 20
    assert [name for name in operators if name.startswith(("CUSTOM", "STABLEHLO"))] == []
    assert rank <= 4


@pytest.mark.parametrize("which", ["plain", "served"])
def test_no_operator_of_another_library_and_no_rank_beyond_four(which, request):
    assert_plain(*graph_of(request.getfixturevalue(which)))


class Patches(nn.Module):
    """Unfolds a map with a rank of six, as MobileViTv2 is usually written."""

    def forward(self, x: Tensor) -> Tensor:
        return x.view(1, 3, 4, 2, 4, 2).permute(0, 1, 3, 5, 2, 4).exp().sum(1)


def test_the_check_of_the_graph_notices(plain, tmp_path):
    operators, rank = graph_of(plain)
    with pytest.raises(AssertionError):
        assert_plain([*operators, "CUSTOM FlexErfinv"], rank)
    example = (torch.rand(1, 3, 8, 8),)
    litert_torch.convert(Patches().eval(), example).export(str(tmp_path / "patches.tflite"))
    with pytest.raises(AssertionError):
        assert_plain(operators, graph_of(tmp_path / "patches.tflite")[1])


# The command, and bad input


def test_the_command_prints_its_result_and_nothing_else(bundles, tmp_path):
    """In a process of its own: the converter writes to where Python does not look."""
    out = tmp_path / "colors.tflite"
    command = [sys.executable, "-m", "mobilevitv2.cli", "export", str(bundles["rgb"])]
    command += ["--to", "litert", "--out", str(out), "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["checks"][0]["passed"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"batch": "any"}, "LiteRT takes a fixed number of images; give batch"),
        ({"image_size": "any"}, "LiteRT can't have image size any; it has one"),
        ({"image_size": [[64, 64], [96, 96]]}, "LiteRT can't have image size several; it has one"),
        ({"precision": "fp16"}, "LiteRT can't have precision fp16; it has fp32"),
    ],
    ids=str,
)
def test_what_litert_is_not_asked_for(bundles, options, said, tmp_path):
    with pytest.raises(ConfigError, match=said):
        export(bundles["rgb"], to="litert", out=tmp_path / "a.tflite", **options)


def test_damaged_files(plain, tmp_path):
    whole = plain.read_bytes()
    for name, content in {
        "cut": whole[: len(whole) // 2],
        "text": b"no graph",
        "empty": b"",
    }.items():
        file = tmp_path / f"{name}.tflite"
        file.write_bytes(content)
        with pytest.raises(CheckpointError, match=rf"{name}\.tflite can't be opened by LiteRT"):
            Predictor(file)
    with zipfile.ZipFile(plain) as archive:
        graph_ends = archive.infolist()[0].header_offset
    (tmp_path / "bare.tflite").write_bytes(whole[:graph_ends])
    with pytest.raises(CheckpointError, match="has no record"):
        Predictor(tmp_path / "bare.tflite")
