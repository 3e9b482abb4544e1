"""What Python does around the engine, with an engine that computes next to nothing."""

import copy
import ctypes
import gc
import pickle
import re
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from fake_engine import HEADER, fake_engine

from mobilevitv2.errors import CheckpointError, ConfigError, ImageError, UnsupportedError
from mobilevitv2.runtime import engine_library, native
from mobilevitv2.runtime.native import NativeRuntime, instructions_for, missing


@pytest.fixture(autouse=True)
def library(monkeypatch):
    path = fake_engine()
    monkeypatch.setenv("MOBILEVITV2_ENGINE", str(path))
    monkeypatch.delenv("MOBILEVITV2_NO_ENGINE", raising=False)
    return ctypes.CDLL(str(path))


def pixels(batch: int = 2, height: int = 32, width: int = 64) -> np.ndarray:
    return np.random.default_rng(0).random((batch, 3, height, width), np.float32)


def bright(images: np.ndarray) -> np.ndarray:
    """What the fake answers to [B, 3, H, W]."""
    return 20 * images.mean((2, 3))[:, ::-1]


# What goes in and comes out


def test_the_outputs_are_those_of_the_model_and_stages_come_on_demand(tmp_path):
    runtime = NativeRuntime(tmp_path)
    assert [o.name for o in runtime.outputs(32, 64)] == [
        "logits",
        *(f"stage_{i}" for i in range(5)),
    ]
    assert runtime.outputs(32, 64)[1].shape == (2, 16, 32)
    found = runtime(pixels())
    assert list(found) == ["logits"]
    np.testing.assert_allclose(found["logits"], bright(pixels()), rtol=1e-5)
    maps = runtime(pixels(), ["stage_4", "stage_0"])
    assert {name: array.shape for name, array in maps.items()} == {
        "stage_0": (2, 2, 16, 32),
        "stage_4": (2, 2, 1, 2),
    }
    with pytest.raises(ConfigError, match="no output stage_5"):
        runtime(pixels(), ["stage_5"])


def test_any_float_array_is_taken_whatever_its_type_and_order_in_memory(tmp_path):
    runtime = NativeRuntime(tmp_path)
    wanted = runtime(pixels())["logits"]
    last = np.ascontiguousarray(pixels().transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    for other in (pixels().astype(np.float64), last, np.repeat(pixels(), 2, 0)[::2]):
        np.testing.assert_allclose(runtime(other)["logits"], wanted, rtol=1e-5)
    mirrored = pixels()[:, ::-1]
    np.testing.assert_allclose(runtime(mirrored)["logits"], wanted[:, ::-1], rtol=1e-5)


def test_no_images_give_no_answers(tmp_path):
    assert NativeRuntime(tmp_path)(pixels(0))["logits"].shape == (0, 3)


@pytest.mark.parametrize(
    "shape", [(3, 32, 32), (1, 4, 32, 32), (1, 3, 16, 32), (1, 3, 0, 32), (1, 0, 32, 32)]
)
def test_what_is_no_batch_of_images_is_refused(tmp_path, shape):
    with pytest.raises(ImageError):
        NativeRuntime(tmp_path)(np.zeros(shape, np.float32))


def test_sides_beyond_what_c_counts_are_refused(tmp_path):
    with pytest.raises(ImageError, match="expected sides of 1 to"):
        NativeRuntime(tmp_path).outputs(2**32 + 64, 64)


def test_a_photo_goes_in_from_anywhere_in_memory(tmp_path):
    runtime = NativeRuntime(tmp_path)
    photo = np.random.default_rng(1).integers(0, 256, (40, 50, 3), np.uint8)
    wide = np.zeros((40, 60, 3), np.uint8)
    wide[:, 5:55] = photo
    wanted = (photo.transpose(2, 0, 1) / np.float32(255)).astype(np.float32)
    same = [photo, wide[:, 5:55], np.asfortranarray(photo), photo[:, ::-1].copy()[:, ::-1]]
    same += [np.flipud(np.flipud(photo).copy()), np.repeat(photo, 2, axis=0)[::2]]
    for view in same:
        np.testing.assert_array_equal(runtime.prepare(view), wanted)
        answer = runtime.run_photo(view)["logits"]
        np.testing.assert_allclose(answer, bright(wanted[None])[0], rtol=1e-5)
    for wrong in (photo.astype(int), photo[..., :2], photo[0]):
        with pytest.raises(ImageError, match=r"expected a photo, uint8 RGB \[H, W, 3\], got"):
            runtime.prepare(wrong)


def test_a_profile_names_the_parts(tmp_path):
    found = NativeRuntime(tmp_path).profile(64, 64, rounds=7)
    assert found == {"peak": 7, "parts": [{"name": "all", "seconds": 1, "multiply_adds": 4096}]}


# A model


def test_a_model_says_what_it_is(tmp_path):
    runtime = NativeRuntime(tmp_path, threads=3, precision="bf16", instructions="plain")
    assert (runtime.task, runtime.labels) == ("classification", ["blue", "green", "red"])
    assert (runtime.precision, runtime.instructions) == ("bf16", "plain")
    assert runtime.description["threads"] == 3
    assert NativeRuntime(tmp_path).description["threads"] == 0  # one for each core


def test_a_copy_and_a_pickle_open_the_same_again(tmp_path):
    runtime = NativeRuntime(tmp_path, threads=2, precision="bf16")
    for other in (copy.deepcopy(runtime), pickle.loads(pickle.dumps(runtime))):
        assert other.description == runtime.description
        assert other._handle.value != runtime._handle.value


def test_a_model_is_closed_when_nobody_needs_it_any_more(tmp_path, library):
    before = library.fake_open_models()
    runtime = NativeRuntime(tmp_path)
    assert library.fake_open_models() == before + 1
    del runtime
    gc.collect()
    assert library.fake_open_models() == before


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (1, ConfigError),
        (2, CheckpointError),
        (3, UnsupportedError),
        (4, MemoryError),
        (5, RuntimeError),
    ],
)
def test_every_kind_of_error_is_an_exception_of_its_own(tmp_path, library, code, kind):
    before = library.fake_open_models()
    with pytest.raises(kind, match="an error, as it was ordered: ä") as raised:
        NativeRuntime(tmp_path / f"error-{code}")
    assert type(raised.value) is kind
    assert library.fake_open_models() == before


def test_wishes_that_nothing_here_fulfils_are_refused(tmp_path):
    with pytest.raises(UnsupportedError, match="the engine has no int8"):
        NativeRuntime(tmp_path, precision="int8")
    with pytest.raises(ConfigError, match="must be one of fp32, bf16, int8, got 'fp16'"):
        NativeRuntime(tmp_path, precision="fp16")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ConfigError, match="no such instructions"):
        NativeRuntime(tmp_path, instructions="sse9")
    with pytest.raises(ConfigError, match="at least 1"):
        NativeRuntime(tmp_path, threads=0)
    assert instructions_for("fp32") == ["fake", "plain"]
    assert instructions_for("int8") == []


# Threads and processes


def test_other_threads_go_on_while_it_computes(tmp_path, library):
    """The interpreter's lock is released: two calls are inside at once, and Python runs on."""
    runtime = NativeRuntime(tmp_path / "slow")
    steps = 0
    with ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(runtime, pixels()) for _ in range(2)]
        while not all(call.done() for call in calls):
            time.sleep(0.005)
            steps += 1
    assert steps > 5
    assert library.fake_most_inside() >= 2


def test_many_threads_share_a_model(tmp_path):
    runtime = NativeRuntime(tmp_path)
    images = [np.full((1, 3, 32, 32), i / 50, np.float32) for i in range(50)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda image: runtime(image)["logits"][0, 0], images))
    np.testing.assert_allclose(found, [20 * i / 50 for i in range(50)], rtol=1e-5)


def test_a_daemon_thread_may_still_compute_when_the_interpreter_ends(tmp_path):
    script = f"""
import threading, time, numpy as np
from mobilevitv2.runtime.native import NativeRuntime
runtime = NativeRuntime({str(tmp_path / "slow")!r})
image = np.zeros((1, 3, 32, 32), np.float32)
threading.Thread(target=lambda: [runtime(image) for _ in range(50)], daemon=True).start()
time.sleep(0.1)
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_models_open_in_threads_at_once(tmp_path, library):
    before, barrier = library.fake_open_models(), threading.Barrier(8)

    def opened(_):
        barrier.wait()
        return NativeRuntime(tmp_path)

    with ThreadPoolExecutor(8) as pool:
        runtimes = list(pool.map(opened, range(8)))
    assert library.fake_open_models() == before + len(runtimes)


# The library


def test_the_structures_are_laid_out_as_in_the_header(library):
    wanted = [library.fake_sizes(i) for i in range(3)]
    sizes = [ctypes.sizeof(engine_library.COptions), ctypes.sizeof(engine_library.COutput)]
    assert [*sizes, engine_library.COutput.count.offset] == wanted


def test_functions_interface_and_precisions_are_those_of_the_header():
    header = HEADER.read_text()
    number = re.search(r"#define MV2_INTERFACE (\d+)", header)
    assert number is not None
    assert int(number[1]) == engine_library.INTERFACE
    assert {*engine_library.FUNCTIONS, "mv2_interface"} == set(re.findall(r"\b(mv2_\w+)\(", header))
    for i, name in enumerate(native.PRECISIONS):
        assert f"MV2_{name.upper()} = {i}" in header
    for name in ("INPUT", "FILE", "UNSUPPORTED", "MEMORY"):
        assert f"MV2_ERROR_{name} = {getattr(engine_library, name)}," in header
    taken = {name: len(takes) for name, (_, takes) in engine_library.FUNCTIONS.items()}
    declared = {
        name: len(arguments.split(","))
        for name, arguments in re.findall(r"\b(mv2_\w+)\(([^)]*)\);", header)
    }
    assert {name: declared[name] for name in taken} == taken


def test_an_engine_of_another_version_is_not_used(monkeypatch):
    monkeypatch.setenv("MOBILEVITV2_ENGINE", str(fake_engine(interface=99)))
    assert "expected interface 1 of the engine" in str(missing())


def test_without_a_library_or_with_a_broken_one_the_reason_is_said(monkeypatch, tmp_path):
    monkeypatch.setenv("MOBILEVITV2_ENGINE", str(tmp_path / "none.so"))
    assert "none.so, which does not exist" in str(missing())
    (tmp_path / "broken.so").write_bytes(b"hello")
    monkeypatch.setenv("MOBILEVITV2_ENGINE", str(tmp_path / "broken.so"))
    assert "can't load the engine" in str(missing())
    with pytest.raises(ImportError, match="can't load the engine"):
        NativeRuntime(tmp_path)
    monkeypatch.delenv("MOBILEVITV2_ENGINE")
    monkeypatch.setattr(engine_library, "NAME", "no_such_engine.so")
    assert "there was no C++17 compiler, or the build failed" in str(missing())


def test_the_library_is_found_where_an_editable_install_puts_it(monkeypatch, tmp_path):
    from mobilevitv2 import runtime

    shutil.copy(fake_engine(), tmp_path / "elsewhere.so")
    monkeypatch.delenv("MOBILEVITV2_ENGINE")
    monkeypatch.setattr(engine_library, "NAME", "elsewhere.so")
    assert missing()
    monkeypatch.setattr(runtime, "__path__", [*runtime.__path__, str(tmp_path)])
    assert missing() is None


def test_the_engine_can_be_turned_off(monkeypatch):
    assert missing() is None
    monkeypatch.setenv("MOBILEVITV2_NO_ENGINE", "1")
    assert missing()
    assert "MOBILEVITV2_NO_ENGINE" in str(missing())
    monkeypatch.setenv("MOBILEVITV2_NO_ENGINE", "0")
    assert missing() is None


def test_it_needs_neither_torch_nor_another_runtime(tmp_path):
    heavy = ["torch", "onnxruntime", "rich", "typer", "huggingface_hub", "urllib.request"]
    script = f"""
import sys, numpy as np
from mobilevitv2.runtime.native import NativeRuntime
NativeRuntime({str(tmp_path)!r})(np.zeros((1, 3, 32, 32), np.float32))
print(*[m for m in {heavy} if m in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    assert done.stdout.split() == []
