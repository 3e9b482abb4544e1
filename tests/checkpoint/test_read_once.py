"""Opening a model reads each of its files once, as the kernel counts."""

import ctypes
import os
import struct
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors
from tiny import save_bundle

from mobilevitv2 import Predictor
from mobilevitv2.runtime.native import NativeRuntime, missing

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="counting needs Linux's inotify")

WEIGHTS = "model.safetensors"
EACH_ONCE = Counter((WEIGHTS, "config.json", "preprocessor_config.json"))
OPENED, CLOSED = 0x20, 0x10  # closed, because two equal events in a row count as one


def opened(folder: Path, action: Callable[[], object]) -> Counter[str]:
    """How often each file of a folder is opened, whether from Python or not."""
    libc = ctypes.CDLL(None, use_errno=True)
    queue = libc.inotify_init1(os.O_NONBLOCK)
    try:
        assert libc.inotify_add_watch(queue, bytes(folder), OPENED | CLOSED) > 0
        action()
        events, names = os.read(queue, 1 << 20), Counter()
    finally:
        os.close(queue)
    while events:
        _, mask, _, length = struct.unpack_from("iIII", events)
        name = events[16 : 16 + length].rstrip(b"\0").decode()
        if name and mask == OPENED:
            names[name] += 1
        events = events[16 + length :]
    return names


def read_tensors(path: Path) -> None:
    with safetensors.safe_open(path, "pt") as file:
        for name in file.keys():  # noqa: SIM118
            file.get_tensor(name)


@pytest.fixture
def bundle(tmp_path):
    return save_bundle(tmp_path / "bundle")


def test_opening_a_file_twice_counts_twice(bundle):
    path = bundle / "config.json"
    assert opened(bundle, lambda: (path.read_text(), path.read_text())) == {path.name: 2}


def test_pytorch_gets_every_file_once(bundle):
    once = opened(bundle, lambda: read_tensors(bundle / WEIGHTS))  # more than one open of it
    found = opened(bundle, lambda: Predictor(bundle, runtime="torch", device="cpu"))
    assert found == EACH_ONCE | once


@pytest.mark.skipif(missing() is not None, reason="the engine isn't built")
def test_python_reads_every_file_at_most_once_beside_the_engine(bundle):
    alone = opened(bundle, lambda: NativeRuntime(bundle))
    found = opened(bundle, lambda: Predictor(bundle, runtime="native"))
    assert found - alone <= EACH_ONCE
