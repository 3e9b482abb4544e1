"""Exports to runtimes that are extras; a runtime that is not installed skips, and says so."""

import json
import sys
from pathlib import Path

import pytest
import timm
import torch
from shapes import CLASSES as SCENE_CLASSES
from shapes import COLORS as SCENE_COLORS
from shapes import scene, trained
from tiny import CLASSES, COLORS, SIZE, picture, save_images, save_trained

from mobilevitv2 import Predictor
from mobilevitv2.deploy import export
from mobilevitv2.errors import CheckpointError, ConfigError
from mobilevitv2.runtime import open_runtime
from mobilevitv2.runtime.targets import TARGETS

pytestmark = pytest.mark.filterwarnings("ignore")  # what the exporters' own code warns of
needs = pytest.mark.needs


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    return save_trained(tmp_path_factory.mktemp("model") / "colors")


def assert_same_classes(file: Path, bundle: Path) -> None:
    pictures = [picture(c, seed=7, size=(90, 70)) for c in COLORS] * 3
    found = Predictor(file, threads=1)(pictures)
    assert [r.label for r in found] == [r.label for r in Predictor(bundle, device="cpu")(pictures)]


@needs("openvino")
@pytest.mark.parametrize(
    "options",
    [{}, {"image_size": "any"}, {"precision": "fp16"}, {"input": "uint8", "output": "top_k"}],
    ids=str,
)
def test_openvino(bundle, options, tmp_path):
    result = export(bundle, to="openvino", out=tmp_path / "colors.xml", **options)
    assert result.path.with_suffix(".bin").is_file()
    assert all(check.passed for check in result.checks)
    assert_same_classes(result.path, bundle)


@needs("openvino")
@needs("nncf")
def test_openvino_int8(bundle, tmp_path):
    import openvino

    images = save_images(tmp_path / "images", 8)
    result = export(
        bundle, to="openvino", precision="int8", calibrate=images, out=tmp_path / "int8.xml"
    )
    full = export(bundle, to="openvino", out=tmp_path / "full.xml")
    weights = result.path.with_suffix(".bin").stat().st_size
    assert weights < 0.35 * full.path.with_suffix(".bin").stat().st_size
    assert result.checks[0].agreement >= 0.9

    operators = openvino.Core().read_model(result.path).get_ops()
    found = [o for o in operators if o.get_type_name() == "FakeQuantize"]
    assert len(found) > 30
    # per channel and fused into a convolution, one ends the process on processors with AMX
    assert all(o.input_value(1).get_partial_shape().to_shape() == [] for o in found)


@needs("openvino")
def test_openvino_without_its_weights(bundle, tmp_path):
    result = export(bundle, to="openvino", out=tmp_path / "colors.xml")
    weights = result.path.with_suffix(".bin")
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match="damaged"):
        open_runtime(result.path)
    weights.unlink()
    with pytest.raises(CheckpointError, match="needs its weights beside it"):
        open_runtime(result.path)


@needs("executorch")
def test_executorch_delegates_everything(bundle, tmp_path):
    from mobilevitv2.deploy.executorch import lower, undelegated
    from mobilevitv2.deploy.exported_module import ExportedModule
    from mobilevitv2.deploy.request import Request
    from mobilevitv2.model.opening import open_model, open_processor

    model = open_model(bundle)
    request = Request(target=TARGETS["executorch"], sizes=[(SIZE, SIZE)], batch=1)
    module = ExportedModule(model, open_processor(bundle, model), request).eval()
    example = (module.example(),)
    assert undelegated(lower(torch.export.export(module, example))).total() == 0
    # the same count of timm's network, which would notice a count that is always 0
    peer = timm.create_model("mobilevitv2_050", num_classes=3).eval()
    assert undelegated(lower(torch.export.export(peer, example))).total() > 10
    result = export(bundle, to="executorch", out=tmp_path / "colors.pte")
    assert result.checks[0].passed
    assert_same_classes(result.path, bundle)


@needs("executorch")
def test_executorch_int8(bundle, tmp_path):
    images = save_images(tmp_path / "images", 8)
    result = export(
        bundle, to="executorch", precision="int8", calibrate=images, out=tmp_path / "int8.pte"
    )
    assert result.comparison is not None
    assert result.bytes < 0.5 * result.comparison.fp32.bytes
    assert result.checks[0].agreement >= 0.9


@needs("coremltools")
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_core_ml_is_converted_and_checked_in_structure(bundle, precision, tmp_path):
    """Its arithmetic is not compared: there is no Core ML on Linux."""
    import coremltools as ct

    result = export(bundle, to="coreml", precision=precision, out=tmp_path / "colors.mlpackage")
    assert result.checks == []
    model = ct.models.MLModel(str(result.path), skip_model_load=True)
    description = model.get_spec().description
    image = description.input[0].type.imageType
    assert (image.height, image.width) == (SIZE, SIZE)
    assert description.predictedFeatureName == "classLabel"
    assert json.loads(model.user_defined_metadata["mobilevitv2"])["labels"] == CLASSES


@needs("coremltools")
@pytest.mark.parametrize(
    ("size", "said"), [("any", "any"), ([[64, 64], [96, 96]], "several")], ids=str
)
def test_what_core_ml_is_not_asked_for(bundle, size, said, tmp_path):
    with pytest.raises(ConfigError, match=f"Core ML can't have image size {said}; it has one"):
        export(bundle, to="coreml", image_size=size, out=tmp_path / "colors.mlpackage")


def test_a_file_for_litert_says_what_opens_it(tmp_path, monkeypatch):
    """Which is not what makes it: that one wants another torch."""
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    (tmp_path / "colors.tflite").write_bytes(b"a graph")
    with pytest.raises(ImportError, match=r"pip install 'mobilevitv2\[litert-runtime\]'"):
        open_runtime(tmp_path / "colors.tflite")


# Segmenters


@pytest.mark.parametrize(
    ("to", "suffix", "options"),
    [
        pytest.param("openvino", ".xml", {}, marks=needs("openvino")),
        pytest.param(
            "openvino",
            ".xml",
            {"image_size": 64, "output": "mask", "input": "uint8"},
            marks=needs("openvino"),
        ),
        pytest.param("executorch", ".pte", {"image_size": 64}, marks=needs("executorch")),
        ("torch", ".pt2", {"image_size": [64, 96]}),
    ],
    ids=str,
)
def test_segmenters_answer_the_same_elsewhere(to, suffix, options, tmp_path):
    bundle = trained()[1].best
    result = export(bundle, to=to, out=tmp_path / f"scenes{suffix}", **options)
    assert result.checks
    assert all(check.passed for check in result.checks)
    image, mask = scene(3, (96, 64))
    assert (Predictor(result.path, threads=1)(image).mask == mask).mean() > 0.8


@needs("coremltools")
def test_core_ml_draws_a_segmenters_masks(tmp_path):
    import coremltools as ct

    bundle = trained()[1].best
    out = tmp_path / "scenes.mlpackage"
    result = export(bundle, to="coreml", image_size=64, output="mask", out=out)
    model = ct.models.MLModel(str(result.path), skip_model_load=True)
    (mask,) = model.get_spec().description.output
    assert mask.name == "mask"
    assert list(mask.type.multiArrayType.shape) == [1, 64, 64]
    metadata = model.user_defined_metadata
    assert metadata["com.apple.coreml.model.preview.type"] == "imageSegmenter"
    shown = json.loads(metadata["com.apple.coreml.model.preview.params"])
    assert shown["labels"] == SCENE_CLASSES
    assert shown["colors"][1] == "#{:02x}{:02x}{:02x}".format(*SCENE_COLORS[1])
