"""Sizes beyond the limits, and the C interface called with what no caller should give."""

import ctypes
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine_bundles import (
    every_output,
    images,
    need_engine,
    tiny_bundle,
)

from mobilevitv2.errors import ImageError
from mobilevitv2.runtime.engine_library import COptions, COutput
from mobilevitv2.runtime.engine_library import library as load
from mobilevitv2.runtime.native import NativeRuntime


@pytest.fixture(autouse=True)
def engine() -> None:
    need_engine()


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    need_engine()
    return tiny_bundle(tmp_path_factory.mktemp("whole"))


@pytest.mark.parametrize(
    ("height", "width"),
    [(31, 64), (64, 31), (1, 1), (65536, 32), (32, 65536), (65535, 65535), (2**31 - 1, 2**31 - 1)],
)
def test_sizes_beyond_the_limits_are_refused(height, width, whole):
    with pytest.raises(ImageError, match="px"):
        NativeRuntime(whole).outputs(height, width)


@pytest.mark.parametrize("head", ["classifier", "segmenter", "detector"])
def test_the_longest_images_are_computed(head, tmp_path):
    runtime = NativeRuntime(tiny_bundle(tmp_path, head), threads=2)
    for size in ((65535, 32), (33, 65535)):
        found = every_output(runtime, images(1, 3, *size))
        assert all(np.isfinite(array).all() for array in found.values())


class Call:
    """mv2_run with everything right, until a test changes it."""

    def __init__(self, runtime: NativeRuntime) -> None:
        self.pixels, self.answer = images(2, 3, 64, 64), np.full(2 * 5 + 1, 7, np.float32)
        self.arguments: dict[str, Any] = {
            "model": runtime._handle,
            "pixels": self.pixels.ctypes.data,
            "batch": 2,
            "height": 64,
            "width": 64,
            "outputs": (ctypes.c_void_p * 7)(self.answer.ctypes.data),
            "counts": (ctypes.c_size_t * 7)(10),
            "count": 1,
        }

    def __call__(self, size: int = 500, **changed: Any) -> tuple[int, str]:
        message = ctypes.create_string_buffer(b"untouched", 500)
        values = {**self.arguments, **changed}.values()
        code = load().mv2_run(*values, message, size)
        assert message.raw[size:].strip(b"\0") in (b"", b"untouched"[size:])
        return code, message.value.decode()


def test_wrong_arguments_of_the_c_interface_are_refused(whole):
    runtime = NativeRuntime(whole)
    call = Call(runtime)
    assert call() == (0, "untouched")
    assert np.isfinite(call.answer).all()
    assert call.answer[10] == 7  # nothing is written behind it
    call.answer[:] = 7
    wrong: list[dict[str, Any]] = [
        {"model": None},
        {"pixels": None},
        {"outputs": None},
        {"counts": None},
        {"batch": 0},
        {"batch": -1},
        {"batch": 2**31 - 1},
        {"batch": 1},  # room for 2
        {"batch": 3},
        {"count": -1},
        {"count": 8},
        {"height": -64},
        {"width": 2**31 - 1},
        {"counts": (ctypes.c_size_t * 7)(9)},
        {"counts": (ctypes.c_size_t * 7)(11)},
        {"counts": (ctypes.c_size_t * 7)(2**64 - 1)},
    ]
    for changed in wrong:
        code, message = call(**changed)
        assert code == 1, changed
        assert message.endswith("."), message
        assert (call.answer == 7).all()
    assert call(count=0)[0] == 0
    assert call(count=0, outputs=None, counts=None)[0] == 0
    assert (call.answer == 7).all()
    for size in (0, 1, 2, 30):  # room for the message
        assert call(size, batch=0)[0] == 1


def test_null_pointers_are_refused_everywhere(whole):
    library, runtime = load(), NativeRuntime(whole)
    model, none, n = runtime._handle, None, ctypes.c_int()
    size = (ctypes.byref(n), ctypes.byref(n))
    photo = np.zeros((64, 64, 3), np.uint8)
    place = (photo.ctypes.data, 64, 64, 192)
    options, handle = ctypes.byref(COptions(0, 0, none)), ctypes.byref(ctypes.c_void_p())
    say = (none, 0)
    folder = str(whole).encode()
    room = (ctypes.c_void_p * 1)(), (ctypes.c_size_t * 1)(), 1
    found = (COutput * 2)()
    codes = [
        library.mv2_open(none, options, handle, *say),
        library.mv2_open(folder, none, handle, *say),
        library.mv2_open(folder, options, none, *say),
        library.mv2_outputs(none, 64, 64, found, 2, ctypes.byref(n), *say),
        library.mv2_outputs(model, 64, 64, none, 2, ctypes.byref(n), *say),
        library.mv2_outputs(model, 64, 64, found, 2, none, *say),
        library.mv2_prepared_size(none, 64, 64, *size, *say),
        library.mv2_prepared_size(model, 64, 64, none, none, *say),
        library.mv2_prepared_size(model, 0, -1, *size, *say),
        library.mv2_prepare(none, *place, photo.ctypes.data, 0, *say),
        library.mv2_prepare(model, none, 64, 64, 192, photo.ctypes.data, 0, *say),
        library.mv2_prepare(model, *place, none, 3 * 256 * 256, *say),
        library.mv2_prepare(model, *place, photo.ctypes.data, 5, *say),
        library.mv2_run_photo(none, *place, *room, *say),
        library.mv2_run_photo(model, none, 64, 64, 192, *room, *say),
        library.mv2_run_photo(model, *place[:3], 191, none, none, 0, *say),
        library.mv2_run_photo(model, *place[:3], 191, *room, *say),
    ]
    assert codes == [1] * len(codes)
    assert library.mv2_outputs(model, 64, 64, found, -5, ctypes.byref(n), *say) == 0
    assert (library.mv2_outputs(model, 64, 64, none, 0, ctypes.byref(n), *say), n.value) == (0, 6)
    assert library.mv2_outputs(model, 64, 64, found, 1, ctypes.byref(n), *say) == 0
    assert (found[0].name, found[1].name, found[0].count) == (b"logits", b"", 5)
    assert library.mv2_describe(none) == b""
    assert [library.mv2_instructions(i) for i in (-1, 3, 2**31 - 1)] == [b""] * 3
    library.mv2_close(none)


def test_options_that_do_not_exist_are_refused(whole):
    def opened(*options: Any) -> int:
        handle = ctypes.c_void_p()
        folder = str(whole).encode()
        made = ctypes.byref(COptions(*options))
        code = load().mv2_open(folder, made, ctypes.byref(handle), None, 0)
        assert bool(handle.value) == (code == 0)
        load().mv2_close(handle)
        return code

    assert [opened(*o, None) for o in ((-1, 0), (65, 0), (1, -1), (1, 3), (1, 99))] == [1] * 5
    assert [opened(1, 0, i) for i in (b"sse", b"x" * 10_000, b"\xff")] == [1] * 3
    assert opened(0, 0, b"") == opened(64, 0, None) == opened(1, 0, b"portable") == 0


def test_a_message_is_cut_between_characters(tmp_path):
    folder = ("ü日🙂" * 20).encode()
    for size in range(1, 60):
        message = ctypes.create_string_buffer(b"\xff" * 99, 100)
        options, handle = ctypes.byref(COptions(0, 0, None)), ctypes.byref(ctypes.c_void_p())
        assert load().mv2_open(folder, options, handle, message, size) == 2
        assert message.value.decode() is not None  # UTF-8
        assert message.raw[size:] == b"\xff" * (99 - size) + b"\0"


def test_a_photo_needs_three_channels(tmp_path):
    runtime = NativeRuntime(tiny_bundle(tmp_path, num_channels=4))
    assert runtime(images(1, 4, 64, 64))["logits"].shape == (1, 5)
    with pytest.raises(ImageError, match="4 channels; a photo has 3"):
        runtime.run_photo(np.zeros((64, 64, 3), np.uint8))
