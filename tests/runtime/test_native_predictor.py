"""Which runtime a model gets, and that the engine's answers are PyTorch's."""

import json
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from engine_bundles import need_engine
from fake_engine import fake_engine
from tiny import CLASSES, color_model, exported, picture, processor, save_bundle, save_images
from typer.testing import CliRunner

from mobilevitv2 import (
    MobileViTImageProcessor,
    MobileViTV2Config,
    MobileViTV2ForImageClassification,
    MobileViTV2ForObjectDetection,
    MobileViTV2ForSemanticSegmentation,
    MobileViTV2Model,
    Predictor,
    evaluate,
)
from mobilevitv2.benchmark.precision_choice import choose_precision
from mobilevitv2.benchmark.run import benchmark
from mobilevitv2.cli import app
from mobilevitv2.errors import CheckpointError, ConfigError, DataError, ImageError, UnsupportedError
from mobilevitv2.predict.answers import Logits, RawBoxes
from mobilevitv2.predict.backends.engine import EngineBackend
from mobilevitv2.predict.backends.torch import TorchBackend
from mobilevitv2.predict.predictor import Prepared
from mobilevitv2.runtime.native import PRECISIONS, instructions_for

HEADS = {
    "classifier": MobileViTV2ForImageClassification,
    "segmenter": MobileViTV2ForSemanticSegmentation,
    "detector": MobileViTV2ForObjectDetection,
}

ASKED: tuple[dict[str, Any], ...] = ({"runtime": "native"}, {"precision": "int8"})
TOLERANCE = {"fp32": 2e-5, "bf16": 0.1, "int8": 0.2}  # of the largest logit


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    return save_bundle(tmp_path_factory.mktemp("model") / "colors")


@pytest.fixture
def fake(monkeypatch) -> None:
    """An engine that answers by brightness, and a machine without a GPU."""
    monkeypatch.setenv("MOBILEVITV2_ENGINE", str(fake_engine()))
    monkeypatch.delenv("MOBILEVITV2_NO_ENGINE", raising=False)
    monkeypatch.setattr("mobilevitv2.predict.backends.choose.gpu_is_here", lambda: False)
    monkeypatch.setattr("mobilevitv2.predict.info.gpu_is_here", lambda: False)


@pytest.fixture
def engine() -> None:
    """The real one; absent, the test skips, but in CI it fails."""
    need_engine()


def save_random(folder: Path, head: str, **config: Any) -> Path:
    """A bundle with random weights, whose norms know their maps, so that the image tells."""
    torch.manual_seed(0)
    names = dict(enumerate(["cat", "dog", "owl", "bee"]))
    model = HEADS[head](
        MobileViTV2Config(width_multiplier=0.5, image_size=64, id2label=names, **config)
    ).train()
    for norm in (m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)):
        norm.momentum = None  # the mean of all batches
        torch.nn.init.uniform_(norm.weight, 0.5, 2)
        torch.nn.init.normal_(norm.bias, std=0.5)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.startswith("detection_head.predictors") and "conv_1x1" in name:
                weight.mul_(0.1)  # boxes are e to the power of what comes out
        model(torch.rand(8, 3, 128, 128) ** torch.rand(8, 3, 1, 1).mul(3))
    model.save_pretrained(folder)
    processor().save_pretrained(folder)
    return folder


def run(*arguments: object, code: int = 0) -> Any:
    result = CliRunner().invoke(app, [str(a) for a in arguments], env={"COLUMNS": "100"})
    assert result.exit_code == code, (result.output, result.exception)
    return result


# Who runs where


@pytest.mark.usefixtures("fake")
def test_a_bundle_on_the_cpu_runs_in_the_engine(bundle, tmp_path):
    shutil.copytree(bundle, tmp_path / "run" / "best")
    for source in (bundle, str(bundle), bundle / "model.safetensors", tmp_path / "run"):
        for device in (None, "cpu", torch.device("cpu")):
            predictor = Predictor(source, device=device)
            assert isinstance(predictor.backend, EngineBackend)
            assert predictor(picture("red")).label == "red"
            assert predictor.classes == CLASSES
            assert predictor.runs_in == "engine, fake, fp32"


@pytest.mark.usefixtures("fake")
def test_everything_else_runs_in_pytorch(bundle, tmp_path):
    color_model().save_as(tmp_path / "timm.pth", layout="timm")
    timms = tmp_path / "timm"  # transformers' file names around timm's tensors
    timms.mkdir()
    color_model().save_as(timms / "model.safetensors", layout="timm")
    shutil.copy(bundle / "config.json", timms)
    loose = tmp_path / "loose.safetensors"
    shutil.copy(bundle / "model.safetensors", loose)
    for source in (tmp_path / "timm.pth", timms, loose):
        predictor = Predictor(source, processor(), device="cpu")
        assert isinstance(predictor.backend, TorchBackend)
        assert predictor.runs_in == "PyTorch, cpu, fp32"
        with pytest.raises(UnsupportedError, match=r"the engine opens folders with config\.json"):
            Predictor(source, runtime="native")
    assert isinstance(Predictor(color_model(), processor()).backend, TorchBackend)
    assert isinstance(Predictor(bundle, runtime="torch").backend, TorchBackend)
    assert isinstance(Predictor(bundle, precision="fp16").backend, TorchBackend)


@pytest.mark.usefixtures("fake")
def test_what_the_engine_has_no_form_of_runs_in_pytorch(tmp_path):
    source = save_bundle(tmp_path / "error-3")
    assert isinstance(Predictor(source).backend, TorchBackend)
    with pytest.raises(UnsupportedError, match="an error, as it was ordered"):
        Predictor(source, runtime="native")
    with pytest.raises(CheckpointError, match="an error, as it was ordered"):
        Predictor(save_bundle(tmp_path / "error-2"))  # a damaged file is no reason to go elsewhere


def test_without_the_engine_bundles_run_in_pytorch(bundle, monkeypatch):
    monkeypatch.setenv("MOBILEVITV2_NO_ENGINE", "1")
    assert isinstance(Predictor(bundle, device="cpu").backend, TorchBackend)
    for wish in ASKED:
        with pytest.raises(ImportError, match="turned off by MOBILEVITV2_NO_ENGINE"):
            Predictor(bundle, **wish)


@pytest.mark.usefixtures("fake")
def test_a_gpu_goes_before_the_engine_unless_the_cpu_is_asked_for(bundle, monkeypatch):
    monkeypatch.setattr("mobilevitv2.predict.backends.choose.gpu_is_here", lambda: True)
    monkeypatch.setattr("torch.nn.Module.to", lambda self, *_, **__: self)  # there is none
    assert isinstance(Predictor(bundle).backend, TorchBackend)
    wishes: tuple[dict[str, Any], ...] = ({"device": "cpu"}, {"runtime": "native"})
    for wish in wishes:
        assert isinstance(Predictor(bundle, **wish).backend, EngineBackend)


def test_a_gpu_is_looked_for_in_torch_only_where_a_driver_is(monkeypatch):
    from mobilevitv2 import devices

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(devices, "_has_driver", lambda: False)
    assert not devices.gpu_is_here()
    monkeypatch.setattr(devices, "_has_driver", lambda: True)
    assert devices.gpu_is_here()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert not devices.gpu_is_here()


@pytest.mark.usefixtures("fake")
def test_the_precision_is_fp32_unless_another_is_asked_for(bundle):
    assert Predictor(bundle).runs_in == Predictor(bundle, precision="fp32").runs_in
    assert Predictor(bundle, precision="bf16").runs_in == "engine, fake, bf16"
    with pytest.raises(UnsupportedError, match="the engine has no int8"):
        Predictor(bundle, precision="int8")


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize(
    ("wishes", "said"),
    [
        ({"runtime": "native", "device": "cuda"}, "the engine runs on the CPU; device cuda"),
        ({"precision": "int8", "device": "cuda"}, "the engine runs on the CPU; device cuda"),
        ({"precision": "int8", "runtime": "torch"}, "PyTorch computes in fp32, bf16 or fp16"),
        ({"precision": "fp16", "runtime": "native"}, "not fp16"),
        ({"runtime": "onnx"}, "one of auto, native, torch, not 'onnx'"),
    ],
)
def test_wishes_that_contradict_each_other_are_refused(bundle, wishes, said):
    with pytest.raises(ConfigError, match=said):
        Predictor(bundle, **wishes)


def test_a_model_in_memory_does_not_run_in_the_engine():
    for wish in ASKED:
        with pytest.raises(ConfigError, match="a model in memory runs in PyTorch"):
            Predictor(color_model(), processor(), **wish)


@pytest.mark.filterwarnings("ignore")  # what the exporter's own code warns of
def test_an_exported_file_has_its_own_runtime_and_precision():
    pytest.importorskip("onnxscript", reason="the extra onnx is not installed")
    file = exported().path
    assert Predictor(file, threads=1).runs_in == "ONNX, fp32"
    with pytest.raises(ConfigError, match="runs in its own runtime"):
        Predictor(file, runtime="native")
    with pytest.raises(ConfigError, match="int8 only if it was exported so"):
        Predictor(file, precision="int8")


@pytest.mark.usefixtures("fake")
def test_a_backbone_and_a_nameless_place_are_refused_as_in_pytorch(tmp_path):
    backbone = save_bundle(tmp_path / "backbone")
    with pytest.raises(CheckpointError, match="a backbone without a head"):
        Predictor(backbone)
    config = MobileViTV2Config(width_multiplier=0.25)
    MobileViTV2Model(config).save_pretrained(tmp_path / "real")  # has keys of its own
    with pytest.raises(CheckpointError, match="a backbone without a head"):
        Predictor(tmp_path / "real")
    with pytest.raises(FileNotFoundError, match="none does not exist"):
        Predictor(tmp_path / "none", runtime="native")


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize("head", ["segmenter", "detector"])
def test_segmenters_and_detectors_answer_in_pytorchs_shapes(tmp_path, head):
    source = save_random(tmp_path / head, head)
    image = picture("green", size=(90, 70))
    native, live = (Predictor(source, runtime=r) for r in ("native", "torch"))
    assert native.task == live.task
    assert native.processor == live.processor  # which cuts nothing off
    pixels = np.zeros((1, 3, 64, 64), np.float32)
    one, other = native.answer(pixels), live.answer(pixels)
    assert type(one) is type(other)
    assert [array.ndim for array in one.arrays] == [array.ndim for array in other.arrays]
    if head == "segmenter":
        assert native(image).mask.shape == (70, 90)
    else:
        assert isinstance(one, RawBoxes)
        assert (one.boxes == 0.25).all()
        assert all(found.label in native.classes for found in native(image).objects)


# The engine itself


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("head", HEADS)
def test_a_model_whose_answers_are_no_numbers_says_so(tmp_path, head):
    source = save_random(tmp_path / head, head)
    MobileViTImageProcessor(rescale_factor=1e36).save_pretrained(source)  # what comes out overflows
    views: tuple[dict[str, Any], ...] = ({},)
    if head == "segmenter":
        views = ({}, {"flip": True}, {"image_size": 192, "window": 128})
    for runtime in ("native", "torch"):
        for view in views:
            predictor = Predictor(source, runtime=runtime, device="cpu", **view)
            with pytest.raises(CheckpointError, match=f"answers of .*{head} hold NaN or infinity"):
                predictor(picture("green", size=(90, 70)))


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("shape", [(3, 3, 64, 64), (1, 3, 96, 160), (2, 3, 100, 70)])
def test_its_answers_are_pytorchs(tmp_path, head, shape):
    source = save_random(tmp_path / head, head)
    live = Predictor(source, runtime="torch", device="cpu").backend
    pixels = np.random.default_rng(0).random(shape, np.float32)
    wanted = live(pixels).arrays
    scales = [np.abs(array).max() for array in wanted]
    for precision in PRECISIONS:
        if not instructions_for(precision):
            continue
        tolerance = TOLERANCE[precision]
        network = Predictor(source, runtime="native", precision=precision, threads=2).backend
        for found, theirs, scale in zip(network(pixels).arrays, wanted, scales, strict=True):
            assert found.dtype == theirs.dtype
            assert found.shape == theirs.shape
            assert np.abs(found - theirs).max() < tolerance * scale
    other = np.ascontiguousarray(pixels[:, ::-1])  # of which the loosest check takes notice
    assert np.abs(live(other).arrays[0] - wanted[0]).max() > 0.2 * scales[0]


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"do_flip_channel_order": False},
        {"do_center_crop": False},
        {"size": {"height": 70, "width": 90}, "resample": 2},
        {"crop_size": {"height": 300, "width": 64}},
        {"size": {"shortest_edge": 64, "longest_edge": 80}, "do_center_crop": False},
        {"do_rescale": False},
        {"do_resize": False},
    ],
)
def test_it_prepares_pictures_as_the_processor_does_to_the_bit(tmp_path, settings):
    source = save_random(tmp_path / "model", "classifier")
    made = MobileViTImageProcessor(**settings)
    made.save_pretrained(source)
    predictor = Predictor(source, runtime="native")
    for size in [(300, 400), (65, 64), (37, 900)]:
        image = picture("green", size=size)
        for given in (image, np.asarray(image), np.asarray(image, np.float32) / 255):
            found = predictor.prepare(given)
            assert isinstance(found, Prepared)
            wanted = made(given).pixel_values[0]
            assert found.pixels.dtype == wanted.dtype
            np.testing.assert_array_equal(found.pixels, wanted)


@pytest.mark.usefixtures("engine")
def test_a_changed_processor_is_heeded(bundle):
    predictor = Predictor(bundle, runtime="native")
    image = picture("red", size=(90, 120))
    before = predictor.prepare(image)
    predictor.processor.do_flip_channel_order = True
    after = predictor.prepare(image)
    assert isinstance(before, Prepared)
    assert isinstance(after, Prepared)
    np.testing.assert_array_equal(before.pixels[::-1], after.pixels)
    assert Predictor(bundle, channel_order="bgr", runtime="native")(image).label == "blue"


@pytest.mark.usefixtures("engine")
def test_pictures_that_the_processor_refuses_are_refused_with_its_words(bundle, monkeypatch):
    predictor = Predictor(bundle, runtime="native")
    monkeypatch.setattr("PIL.Image.MAX_IMAGE_PIXELS", 10_000)
    for size in [(2, 200), (1, 64)]:
        image = picture("red", size=size)
        with pytest.raises(ImageError) as wanted:
            predictor.processor(image)
        with pytest.raises(ImageError) as found:
            predictor(image)
        assert str(found.value) == str(wanted.value)


@pytest.mark.usefixtures("engine")
def test_many_threads_and_requests_get_the_answers_of_one(bundle):
    images = [picture(CLASSES[i % 3], seed=i, size=(70 + i, 90)) for i in range(24)]
    predictor = Predictor(bundle, runtime="native", batch_size=2, threads=2)
    wanted = [r.scores for r in predictor(images)]
    several = Predictor(bundle, runtime="native", batch_size=2, requests=3, threads=2)
    with ThreadPoolExecutor(6) as pool:
        found = [*pool.map(predictor, images), *several(images)]
    np.testing.assert_allclose([r.scores for r in found], wanted * 2, atol=1e-4)


@pytest.mark.usefixtures("engine")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
def test_it_works_in_the_children_of_a_fork_and_then_in_the_parent(bundle):
    script = f"""
import multiprocessing, warnings
import numpy as np
from mobilevitv2 import Predictor
warnings.simplefilter("ignore")
predictor = Predictor({str(bundle)!r}, runtime="native", threads=2)
pixels = np.random.default_rng(0).random((4, 3, 64, 64), np.float32)
wanted = predictor.backend(pixels).arrays  # its threads are there

def same(i):
    opened = Predictor({str(bundle)!r}, runtime="native", threads=2).backend
    found = [network(pixels).arrays for network in (predictor.backend, opened)]
    return all(np.array_equal(arrays, wanted) for arrays in found)

with multiprocessing.get_context("fork").Pool(2) as pool:
    print(pool.map_async(same, range(6)).get(timeout=60))
print(same(0))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=120
    )
    assert done.stdout.split("\n")[:2] == [str([True] * 6), "True"]


# In threads and processes


@pytest.mark.usefixtures("fake")
def test_several_batches_at_a_time_give_the_same_answers_in_order(bundle):
    images = [picture(CLASSES[i % 3], seed=i) for i in range(12)]
    one, three = (Predictor(bundle, batch_size=2, requests=n) for n in (1, 3))
    wanted = [CLASSES[i % 3] for i in range(12)]
    assert [r.label for r in one(images)] == [r.label for r in three(images)] == wanted


# What needs no torch


@pytest.mark.usefixtures("fake")
def test_predict_on_the_command_line_loads_no_torch_and_no_other_runtime(bundle, tmp_path):
    picture("blue").save(tmp_path / "blue.png")
    script = f"""
import sys
from mobilevitv2.cli import app
picture = {str(tmp_path / "blue.png")!r}
app(["predict", {str(bundle)!r}, picture, "--json"], standalone_mode=False)
heavy = ("torch", "onnxruntime", "huggingface_hub", "safetensors", "urllib.request", "ssl")
print(*[m for m in heavy if m in sys.modules], file=sys.stderr)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    assert json.loads(done.stdout)["label"] == "blue"
    assert done.stderr.split() == []


@pytest.mark.usefixtures("fake")
def test_without_torch_bundles_are_predicted_benchmarked_and_compared(bundle, tmp_path):
    save_images(tmp_path / "images", 2)
    script = f"""
import sys
sys.modules["torch"] = None
from mobilevitv2.cli import app
for command in (
    ["predict", {str(bundle)!r}, {str(tmp_path / "images")!r}, "--csv"],
    ["benchmark", {str(bundle)!r}, "--runtime", "native", "--rounds", "3", "--json"],
    ["benchmark", {str(bundle)!r}, "--images", {str(tmp_path / "images")!r}, "--json"],
):
    app(command, standalone_mode=False)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    *rows, measured, compared = done.stdout.splitlines()
    assert len(rows) == 1 + 6
    assert {t["runtime"] for t in json.loads(measured)["timings"]} == {"engine"}
    assert json.loads(compared)["precisions"][0]["images"] == 6


# Commands


@pytest.mark.usefixtures("fake")
def test_info_says_where_a_model_runs_and_why(bundle, monkeypatch):
    assert "engine, fake, fp32" in run("info", bundle).stdout
    monkeypatch.setenv("MOBILEVITV2_NO_ENGINE", "1")
    found = json.loads(run("info", bundle, "--json").stdout)
    assert found["runs_in"].startswith("PyTorch, cpu: the engine is turned off")


@pytest.mark.usefixtures("fake")
def test_predict_takes_a_runtime_and_a_precision(bundle, tmp_path):
    picture("red").save(tmp_path / "red.png")
    for options in (["--runtime", "torch"], ["--runtime", "native", "--precision", "bf16"]):
        assert "red" in run("predict", bundle, tmp_path / "red.png", *options).stdout
    result = run("predict", bundle, tmp_path / "red.png", "--precision", "int8", code=1)
    assert "the engine has no int8" in result.stderr


@pytest.mark.usefixtures("fake")
def test_evaluate_runs_in_the_engine_too(bundle, tmp_path):
    data = save_images(tmp_path / "data", 3, wrong=1)
    found = [evaluate(bundle, data, runtime=runtime) for runtime in ("native", "torch")]
    assert [f.accuracy for f in found] == [pytest.approx(2 / 3)] * 2
    assert "66.7 %" in run("evaluate", bundle, data, "--runtime", "native").stdout
    with pytest.raises(ConfigError, match="set when the Predictor is made"):
        evaluate(Predictor(bundle), data, runtime="native")


@pytest.mark.usefixtures("fake")
def test_a_benchmark_measures_every_precision_that_is_here_beside_pytorch(bundle, monkeypatch):
    monkeypatch.setattr("mobilevitv2.benchmark.contenders.TARGETS_HERE", ())
    result = benchmark(bundle, batches=[2], rounds=3, threads=1)
    measured = {(t.runtime, t.precision) for t in result.timings}
    ours = {("engine", "fp32"), ("engine", "bf16")}
    assert measured == ours | {("PyTorch", "fp32"), ("PyTorch, fused", "fp32")}
    assert "the engine has no int8" in result.left_out["engine, int8"]
    assert result.machine["instructions"]["bf16"] == ["fake"]
    only = benchmark(bundle, batches=[1], rounds=3, threads=1, runtime="torch")
    assert {t.runtime for t in only.timings} == {"PyTorch", "PyTorch, fused"}
    monkeypatch.setenv("MOBILEVITV2_NO_ENGINE", "1")
    assert "turned off" in benchmark(bundle, batches=[1], rounds=3).left_out["engine"]
    with pytest.raises(ImportError, match="turned off"):
        benchmark(bundle, rounds=3, runtime="native")


# Which precision


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize(
    ("wrong", "delays", "chosen"),
    [
        (0, {"fp32": 0.004, "bf16": 0.001}, "bf16"),
        (0, {"fp32": 0.001, "bf16": 0.004}, "fp32"),  # bf16 is slower here
        (1, {"fp32": 0.004, "bf16": 0.001}, "fp32"),  # 19 of 20 are too few
    ],
)
def test_the_fastest_precision_that_agrees_is_chosen(bundle, monkeypatch, wrong, delays, chosen):
    answered, counts = EngineBackend.__call__, {"fp32": -1, "bf16": -1}  # one call is for warmth

    def spoilt(self, pixels):
        precision, answer = self.runtime.precision, answered(self, pixels)
        counts[precision] += 1
        time.sleep(delays[precision])
        spoils = precision == "bf16" and 1 <= counts[precision] <= wrong
        assert isinstance(answer, Logits)
        return Logits(-answer.logits) if spoils else answer

    monkeypatch.setattr(EngineBackend, "__call__", spoilt)
    images = [picture(CLASSES[i % 3], seed=i) for i in range(20)]
    found, rows = choose_precision(bundle, images)
    assert found == chosen
    assert {row.precision: row.agreement for row in rows} == {"fp32": 1, "bf16": 1 - wrong / 20}
    assert [row.ms for row in rows] == sorted(row.ms for row in rows)


@pytest.mark.usefixtures("fake")
def test_a_comparison_without_images_or_without_the_engine_says_so(bundle, tmp_path, monkeypatch):
    (tmp_path / "text.jpg").write_text("hello")
    with pytest.raises(DataError, match="none of the 1 images"):
        choose_precision(bundle, tmp_path)
    picture("red").save(tmp_path / "red.png")
    shown = run("benchmark", bundle, "--images", tmp_path).stdout
    assert "--precision" in shown
    assert "bf16" in shown
    run("benchmark", bundle, "--images", tmp_path, "--peers", code=2)
    monkeypatch.setenv("MOBILEVITV2_NO_ENGINE", "1")
    with pytest.raises(ImportError, match="turned off"):
        choose_precision(bundle, tmp_path)
