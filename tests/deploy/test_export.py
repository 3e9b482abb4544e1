import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from full_disk import room_for
from tiny import (
    CLASSES,
    COLORS,
    SIZE,
    exported,
    picture,
    processor,
    save_bundle,
    save_images,
    save_trained,
)
from typer.testing import CliRunner

from mobilevitv2 import MobileViTImageProcessor, Predictor
from mobilevitv2.cli import app
from mobilevitv2.deploy import export, exported_module, request
from mobilevitv2.deploy.compare import Comparison, Figures
from mobilevitv2.errors import CheckpointError, ConfigError, DataError, ExportError, ImageError
from mobilevitv2.predict.info import describe
from mobilevitv2.runtime import open_runtime
from mobilevitv2.runtime.targets import TARGETS

onnx = pytest.importorskip("onnx", reason="the extra onnx is not installed")
pytest.importorskip("onnxscript", reason="the extra onnx is not installed")
# What the exporters' own code warns of.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    return save_trained(tmp_path_factory.mktemp("model") / "colors")


@pytest.fixture(scope="module")
def bgr_bundle(tmp_path_factory) -> Path:
    return save_trained(tmp_path_factory.mktemp("model") / "bgr", order="bgr")


@pytest.fixture(scope="module")
def file() -> Path:
    return exported().path


def assert_same(exported: Predictor, original: Predictor, tolerance: float = 1e-4) -> None:
    pictures = [picture(c, seed=7, size=(90, 70)) for c in COLORS] * 3
    for found, wanted in zip(exported(pictures), original(pictures), strict=True):
        assert found.label == wanted.label
        assert set(found.labels) == set(wanted.labels)
        assert np.allclose(sorted(found.scores), sorted(wanted.scores), atol=tolerance)


# What comes out


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"batch": 2},
        pytest.param({"image_size": [SIZE, SIZE + 32]}, marks=pytest.mark.slow),
        {"input": "uint8", "output": "top_k", "top_k": 3, "opset": 17},
        pytest.param({"image_size": "any"}, marks=pytest.mark.slow),
        pytest.param({"image_size": "any", "input": "uint8"}, marks=pytest.mark.slow),
        pytest.param({"opset": 17}, marks=pytest.mark.slow),
        pytest.param({"input": "uint8"}, marks=pytest.mark.slow),
        pytest.param({"output": "top_k", "top_k": 3}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_an_onnx_file_answers_as_its_model(bundle, bgr_bundle, options, tmp_path):
    for source in (bundle, bgr_bundle) if "input" in options else (bundle,):
        result = export(source, to="onnx", out=tmp_path / f"{source.name}.onnx", **options)
        assert result.checks
        assert all(check.passed and check.difference > 0 for check in result.checks)
        if options.get("image_size") == [SIZE, SIZE + 32]:
            continue  # a processor of two sides stretches; the checks have compared it
        assert_same(Predictor(result.path), Predictor(source, device="cpu"))


@pytest.mark.slow
def test_half_precision(bundle, tmp_path):
    result = export(bundle, to="onnx", precision="fp16", out=tmp_path / "half.onnx")
    assert result.bytes < 0.8 * exported().bytes
    assert_same(Predictor(result.path), Predictor(bundle, device="cpu"), 0.01)


@pytest.mark.parametrize("precision", ["fp32", pytest.param("bf16", marks=pytest.mark.slow)])
def test_a_program_of_torch_export(bundle, precision, tmp_path):
    result = export(bundle, to="torch", precision=precision, out=tmp_path / "colors.pt2")
    tolerance = 1e-4 if precision == "fp32" else 0.05
    assert_same(Predictor(result.path), Predictor(bundle, device="cpu"), tolerance)


@pytest.mark.slow
def test_int8_is_smaller_and_agrees(bundle, tmp_path):
    calibration = save_images(tmp_path / "images", 8)
    result = export(
        bundle, to="onnx", precision="int8", calibrate=calibration, out=tmp_path / "int8.onnx"
    )
    kinds = [node.op_type for node in onnx.load(result.path).graph.node]
    convolutions = kinds.count("Conv")
    assert kinds.count("QuantizeLinear") > convolutions / 2
    assert result.checks[0].agreement == 1
    compared = result.comparison
    assert compared is not None
    assert compared.images == 24  # with labels, as the folders are named as classes
    assert compared.fp32.agreement == 1
    assert compared.int8.bytes < 0.6 * compared.fp32.bytes
    right = [
        r.label == p.parent.name
        for p in sorted(calibration.rglob("*.png"))
        for r in [Predictor(result.path)(p)]
    ]
    assert compared.int8.accuracy == pytest.approx(sum(right) / len(right))
    assert_same(Predictor(result.path), Predictor(bundle, device="cpu"), 1)


@pytest.mark.parametrize(
    ("ms", "agreement", "accuracy", "said"),
    [
        (5, 1.0, None, None),
        (12, 1.0, None, "is slower here than fp32 (12.0 ms against 10.0)."),
        (5, 0.98, None, "loses 2.0 points of agreement."),
        (5, 0.9, 0.895, None),
        (12, 0.9, 0.88, "against 10.0) and loses 2.0 points of accuracy."),
    ],
)
def test_what_speaks_against_an_int8_file_is_said(ms, agreement, accuracy, said):
    full = Figures(100, 10, 1.0, None if accuracy is None else 0.9)
    warning = Comparison(50, full, Figures(30, ms, agreement, accuracy)).warning
    assert warning is None if said is None else said in str(warning)


def test_the_web_form_is_a_folder_with_its_record(bundle, tmp_path):
    result = export(bundle, to="web", out=tmp_path / "web")
    record = json.loads((result.path / "record.json").read_text())
    assert record["labels"] == CLASSES
    assert record["processor"]["crop_size"] == {"height": SIZE, "width": SIZE}
    assert_same(Predictor(result.path), Predictor(bundle, device="cpu"))


def test_the_record_travels_in_the_file(bundle, file):
    record = open_runtime(file).record
    assert record is not None
    assert record.labels == CLASSES
    assert record.sizes == [[SIZE, SIZE]]
    assert record.task == "classification"
    assert record.open_processor() == Predictor(bundle).processor
    assert len(record.weights) == 64
    assert record.versions["torch"].split("+")[0] == torch.__version__.split("+")[0]
    beside = json.loads(Path(f"{file}.verified.json").read_text())
    assert beside["checks"][0]["passed"]


def test_no_operator_beyond_rank_four_and_none_of_a_foreign_domain(file):
    model = onnx.shape_inference.infer_shapes(onnx.load(file))
    assert {node.domain for node in model.graph.node} == {""}
    ranks = [len(value.type.tensor_type.shape.dim) for value in model.graph.value_info]
    assert len(ranks) > 100
    assert max(ranks) <= 4


# Without torch


def test_prediction_from_an_exported_file_imports_no_torch(file, tmp_path):
    picture("red").save(tmp_path / "red.png")
    code = (
        "import sys\n"
        "for name in ('torch', 'torchvision', 'safetensors', 'sklearn'): sys.modules[name] = None\n"
        "from mobilevitv2.cli import main\n"
        f"sys.argv = ['mobilevitv2', 'predict', {str(file)!r}, {str(tmp_path / 'red.png')!r}, "
        "'--json']\n"
        "main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["label"] == "red"


# Which of several models in a folder is meant


def test_a_bundle_answers_itself_whatever_export_lies_in_it(bundle, file, tmp_path, caplog):
    run = tmp_path / "run"
    for folder in (run, run / "best", tmp_path / "gone_on.onnx"):
        save_bundle(folder)  # another model than that of the exported file
        shutil.copy(file, folder / "model.onnx")
    (run / "config.json").unlink()
    (run / "model.safetensors").unlink()
    foreign = shutil.copytree(run / "best", tmp_path / "foreign")
    (foreign / "model.onnx").write_text("somebody else's")
    wanted = Predictor(run / "best" / "model.safetensors", runtime="native")(picture("red"))
    stale = Predictor(file)(picture("red"))
    assert wanted.scores != pytest.approx(stale.scores, abs=1e-3)
    caplog.clear()
    for folder in (run, run / "best", tmp_path / "gone_on.onnx", foreign):
        assert Predictor(folder, runtime="native")(picture("red")).scores == wanted.scores
        said = [m.message for m in caplog.records if "model.onnx, which isn't used" in m.message]
        assert len(said) == 1
        caplog.clear()
    assert Predictor(run / "best" / "model.onnx")(picture("red")).scores == stale.scores


def test_a_run_without_a_model_yet_is_not_answered_for_by_an_old_export(file, tmp_path):
    (tmp_path / "recipe.yaml").write_text("epochs: 1")
    shutil.copy(file, tmp_path / "model.onnx")
    with pytest.raises(FileNotFoundError, match="no weights"):
        Predictor(tmp_path)
    (tmp_path / "recipe.yaml").unlink()
    assert Predictor(tmp_path)(picture("red")).label == "red"


def test_several_requests_keep_the_order(file):
    predictor = Predictor(file, requests=3, batch_size=2, threads=1)
    predictor.warmup()
    names = [list(COLORS)[i % 3] for i in range(25)]
    pictures = [picture(name, seed=i) for i, name in enumerate(names)]
    one_by_one = Predictor(file, batch_size=1, threads=1)
    assert [r.label for r in predictor(pictures)] == [one_by_one(p).label for p in pictures]


# Verification


def test_a_file_that_answers_otherwise_is_set_aside(bundle, tmp_path, monkeypatch):
    def wrong(model, *arguments, **options):
        mutant = fuse(model, *arguments, **options)
        mutant.mobilevitv2.encoder.layer[2].conv_kxk.convolution.bias.mul_(1.05)
        return mutant

    fuse = exported_module.fuse
    monkeypatch.setattr(exported_module, "fuse", wrong)
    (tmp_path / "colors.onnx.rejected").write_text("mine")
    with pytest.raises(ExportError, match=r"doesn't answer as the model does.*\.rejected-2"):
        export(bundle, to="onnx", out=tmp_path / "colors.onnx")
    names = ["colors.onnx.rejected", "colors.onnx.rejected-2"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    assert (tmp_path / names[0]).read_text() == "mine"


# Bad input


def test_only_an_earlier_export_is_overwritten(bundle, file, tmp_path):
    out = shutil.copy(file, tmp_path / "model.onnx")  # its own record says what it is
    with pytest.raises(FileExistsError, match="exists already"):
        export(bundle, to="onnx", out=out)
    export(bundle, to="onnx", out=out, overwrite=True, opset=18)
    new = out.read_bytes()
    assert new != file.read_bytes()
    assert Predictor(out)(picture("blue")).label == "blue"
    report = tmp_path / "model.onnx.verified.json"
    for changed in (out, report):
        before = changed.read_bytes()
        changed.write_bytes(before + b" ")
        with pytest.raises(FileExistsError, match=r"was not made by .* or has changed"):
            export(bundle, to="onnx", out=out, overwrite=True)
        changed.write_bytes(before)


@pytest.mark.parametrize("name", TARGETS)
def test_what_others_made_stays(bundle, name, tmp_path):
    """Of every target, whichever of its files is in the way, and behind every kind of link."""
    target = TARGETS[name]
    out = tmp_path / f"net{target.suffix}"
    folder = shutil.copytree(bundle, tmp_path / "model")
    weights, theirs = folder / "model.safetensors", tmp_path / "theirs"
    theirs.write_text("theirs")

    def assert_refused(said: str, place: Path = out) -> None:
        before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
        with pytest.raises(FileExistsError, match=said):
            export(weights, to=name, out=place, overwrite=True)
        assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before

    for file in target.files(out.name):
        made = tmp_path / file
        made.parent.mkdir(exist_ok=True)
        for put in (os.symlink, os.link):
            put(theirs, made)
            assert_refused("was not made by")
            made.unlink()
        os.link(weights, made)
        assert_refused("holds the model itself")
        made.unlink()
        if made.parent != tmp_path:
            made.parent.rmdir()
    if target.within:
        out.symlink_to(folder)
        assert_refused("was not made by")
        if not target.suffix:
            for spelling in (folder, folder / ".." / "model", tmp_path):
                assert_refused("was not made by", spelling)


def test_a_persons_files_in_a_web_export_stay(bundle, tmp_path):
    out = export(bundle, to="web", out=tmp_path / "web").path
    (out / "notes.txt").write_text("mine")
    first = (out / "model.onnx").read_bytes()
    export(bundle, to="web", out=out, overwrite=True, opset=18)
    assert (out / "notes.txt").read_text() == "mine"
    assert (out / "model.onnx").read_bytes() != first
    (out / "record.json").write_text("mine")
    with pytest.raises(FileExistsError, match=r"record\.json was not made by"):
        export(bundle, to="web", out=out, overwrite=True)


@pytest.mark.parametrize("stop", ["full disk", "Ctrl-C", "no readable image"])
def test_an_export_that_fails_leaves_the_old_one(bundle, file, stop, tmp_path, monkeypatch):
    out = shutil.copy(file, tmp_path / "colors.onnx")
    images = tmp_path / "images"
    images.mkdir()
    (images / "a.png").write_text("text")

    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    if stop == "Ctrl-C":
        monkeypatch.setattr(exported_module, "fuse", interrupted)
    with (
        room_for(100_000 if stop == "full disk" else 1 << 40),
        pytest.raises((OSError, KeyboardInterrupt, DataError)),
    ):
        export(bundle, to="onnx", out=out, overwrite=True, images=images)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["colors.onnx", "images"]
    assert out.read_bytes() == file.read_bytes()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"to": "tensorrt"}, "target is 'tensorrt'; must be one of onnx"),
        ({"to": "onnx", "precision": "bf16"}, "ONNX can't have precision bf16"),
        ({"to": "onnx", "precision": "int8"}, "int8 and a folder of images to calibrate with"),
        pytest.param({"to": "onnx", "image_size": [64, 100]}, None, marks=pytest.mark.slow),
        ({"to": "onnx", "image_size": [[64, 64], [100, 100]]}, "multiples of 32"),
        ({"to": "onnx", "image_size": 16}, "needs at least 32 px"),
        ({"to": "onnx", "batch": 0}, "batch is 0"),
        ({"to": "onnx", "opset": 9}, "opset is 9"),
        ({"to": "torch", "opset": 17, "out": "model.pt2"}, "torch.export has no opset"),
        ({"to": "onnx", "top_k": 3}, "top_k is for output top_k, and this one is logits"),
        ({"to": "onnx", "out": "model.bin"}, "must end in .onnx"),
    ],
    ids=str,
)
def test_what_a_target_cant_express_is_said(bundle, options, said, tmp_path):
    options = {"out": tmp_path / "x.onnx", **options}
    if said is None:
        export(bundle, **options)
        return
    with pytest.raises(ConfigError, match=said):
        export(bundle, **options)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_named_with_the_command(bundle, tmp_path, monkeypatch):
    absent = {"litert_torch", "executorch"}
    real = request.find_spec
    monkeypatch.setattr(request, "find_spec", lambda n: None if n in absent else real(n))
    with pytest.raises(ImportError, match=r"pip install 'mobilevitv2\[executorch\]'"):
        export(bundle, to="executorch", out=tmp_path / "model.pte")
    with pytest.raises(ImportError, match=r"an environment of its own: python -m venv"):
        export(bundle, to="litert", out=tmp_path / "model.tflite")


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_images_to_calibrate_with(bundle, count, tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for i in range(count):
        picture("red", i).save(folder / f"{i}.png")
    with pytest.raises(DataError, match="image"):
        export(bundle, to="onnx", precision="int8", calibrate=folder, out=tmp_path / "a.onnx")


def test_damaged_files(file, tmp_path):
    whole = file.read_bytes()
    cut = tmp_path / "cut.onnx"
    cut.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match=r"cut\.onnx can't be opened"):
        Predictor(cut)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        Predictor(tmp_path / "absent.onnx")
    model = onnx.load(file)
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "bare.onnx")
    with pytest.raises(CheckpointError, match="has no record"):
        Predictor(tmp_path / "bare.onnx")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"sizes": [[96, 96]]}, "doesn't fit its record"),
        ({"batch": 4}, "doesn't fit its record"),
        ({"form": 99}, "newer mobilevitv2"),
        ({"task": "depth"}, "model for depth"),
        ({"labels": ["one"]}, "classes"),
    ],
    ids=str,
)
def test_a_record_that_does_not_fit_the_graph(file, change, said, tmp_path):
    model = onnx.load(file)
    record = json.loads(model.metadata_props[0].value) | change
    onnx.helper.set_model_props(model, {"mobilevitv2": json.dumps(record)})
    onnx.save(model, tmp_path / "changed.onnx")
    with pytest.raises(CheckpointError, match=said):
        Predictor(tmp_path / "changed.onnx")(picture("red"))


def test_a_size_that_the_file_was_not_made_for(file):
    predictor = Predictor(file)
    predictor.processor.crop_size = {"height": 96, "width": 96}
    with pytest.raises(ImageError, match=r"exported for 64x64 px, and this image is 96x96"):
        predictor(picture("red"))


def test_the_command(bundle, tmp_path):
    out = tmp_path / "colors.onnx"
    done = CliRunner().invoke(app, ["export", str(bundle), "--to", "onnx", "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert "same answer" in done.output
    again = CliRunner().invoke(app, ["export", str(bundle), "--to", "onnx", "--out", str(out)])
    assert again.exit_code == 1
    assert "exists already" in again.output


def test_a_classifier_that_does_not_crop_is_given_a_crop_and_not_stretched(tmp_path):
    bundle = save_trained(tmp_path / "m")
    uncropped = MobileViTImageProcessor.from_pretrained(bundle, do_center_crop=False)
    uncropped.save_pretrained(bundle)
    result = export(bundle, to="onnx", image_size=SIZE, out=tmp_path / "a.onnx")
    made = result.record.open_processor()
    assert made.do_center_crop
    assert made.size == {"shortest_edge": SIZE}


def test_info_knows_of_an_exported_file_what_predict_knows_without_torch(file, bundle):
    script = (
        "import sys; sys.modules['torch'] = None; from mobilevitv2.cli import app\n"
        f"app(['info', {str(file)!r}, '--json'], standalone_mode=False)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    found = json.loads(done.stdout)
    assert (found["task"], found["labels"]) == ("classification", CLASSES)
    assert (found["image_size"], found["sizes"]) == ([64, 64], [[64, 64]])
    assert (found["input"], found["output"], found["batch"]) == ("float", "logits", None)
    assert found["channel_order"] == Predictor(bundle, device="cpu").processor.channel_order
    assert found["file_bytes"] == file.stat().st_size


def test_info_takes_the_folder_of_a_web_export_and_refuses_what_has_no_record(file, tmp_path):
    (tmp_path / "web").mkdir()
    shutil.copy(file, tmp_path / "web" / "model.onnx")
    shown = CliRunner().invoke(app, ["info", str(tmp_path / "web")], env={"COLUMNS": "200"})
    assert "64 x 64 px, RGB" in shown.stdout
    assert "float, batch any, 64x64 px" in shown.stdout
    assert all(name in shown.stdout for name in CLASSES)
    stripped = onnx.load(file)
    del stripped.metadata_props[:]
    onnx.save(stripped, tmp_path / "stripped.onnx")
    with pytest.raises(CheckpointError, match="has no record"):
        describe(tmp_path / "stripped.onnx")
    with pytest.raises(FileNotFoundError):
        describe(tmp_path / "none.onnx")


def test_a_file_whose_answers_are_no_numbers_says_so(file):
    beyond = replace(processor(), rescale_factor=1e36)  # what comes out overflows
    with pytest.raises(CheckpointError, match=r"answers of .*colors\.onnx hold NaN or infinity"):
        Predictor(file, beyond)(picture("red"))
