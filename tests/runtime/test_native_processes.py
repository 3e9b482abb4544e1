"""The engine among threads, processes, forks and signals, and where memory ends."""

import gc
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine_bundles import (
    every_output,
    images,
    need_engine,
    same_bits,
    tiny_bundle,
)

from mobilevitv2.errors import ConfigError
from mobilevitv2.runtime.native import NativeRuntime

TESTS = Path(__file__).parents[1]
POSIX = pytest.mark.skipif(os.name != "posix", reason="needs fork, signals and limits of POSIX")
PROC = pytest.mark.skipif(
    not Path("/proc/self/statm").exists(), reason="a process's memory is read from Linux's /proc"
)


@pytest.fixture(autouse=True)
def engine() -> None:
    need_engine()


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    need_engine()
    return tiny_bundle(tmp_path_factory.mktemp("whole"))


def python(script: str, *arguments: object, timeout: float = 120, **more: Any) -> str:
    """What a script prints in a process of its own, which must end well."""
    head = f"""
import os, signal, sys, threading, time
sys.path.insert(0, {str(TESTS)!r})
import numpy as np
from mobilevitv2.runtime.native import NativeRuntime
folder = sys.argv[1]
pixels = np.random.default_rng(1).random((1, 3, 64, 64), np.float32)
"""
    command = [sys.executable, "-W", "ignore", "-c", head + script, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, **more)
    assert done.returncode == 0, (done.returncode, done.stdout, done.stderr)
    return done.stdout


# Threads, processes, signals, memory


def test_sixty_four_threads_on_few_cores(whole):
    pixels = images(3, 3, 64, 97)
    wanted = every_output(NativeRuntime(whole, threads=1), pixels)
    runtime = NativeRuntime(whole, threads=64)
    for _ in range(5):
        assert same_bits(every_output(runtime, pixels), wanted)
    with pytest.raises(ConfigError, match="64"):
        NativeRuntime(whole, threads=65)


def test_models_open_run_and_close_in_many_threads(whole):
    pixels = images(2, 3, 64, 64)
    wanted = every_output(NativeRuntime(whole), pixels)
    shared = [NativeRuntime(whole, threads=2)]

    def work(i: int) -> bool:
        if i % 3 == 0:
            return same_bits(every_output(NativeRuntime(whole, threads=1 + i % 4), pixels), wanted)
        if i % 10 == 1:
            shared[0] = NativeRuntime(whole, threads=3)  # the old one closes when nobody runs it
        return same_bits(every_output(shared[0], pixels), wanted)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(150)))


def test_a_model_is_not_closed_under_a_run(whole, monkeypatch):
    """Its last name goes while threads are inside: the run holds it."""
    pixels = images(4, 3, 256, 256)
    runtime = NativeRuntime(whole, threads=2)
    wanted = every_output(runtime, pixels)
    found: list[dict[str, np.ndarray]] = []
    threads = [
        threading.Thread(target=lambda r: found.append(every_output(r, pixels)), args=(runtime,))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    threads.clear()
    del runtime
    gc.collect()
    deadline = time.monotonic() + 60
    while len(found) < 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(found) == 4
    assert all(same_bits(f, wanted) for f in found)


def test_two_processes_at_once_have_the_same_numbers(whole):
    script = """
runtime = NativeRuntime(folder, threads=2)
first = runtime(pixels)["logits"]
for _ in range(50):
    assert (runtime(pixels)["logits"] == first).all()
print(first.tobytes().hex())
"""
    with ThreadPoolExecutor(2) as pool:
        assert len(set(pool.map(lambda _: python(script, whole), range(2)))) == 1


@POSIX
def test_a_fork_while_others_compute_leaves_both_sides_working(whole):
    script = """
runtime = NativeRuntime(folder, threads=3)
wanted = runtime(pixels)["logits"]
over = False
def compute():
    while not over:
        runtime(pixels)
threads = [threading.Thread(target=compute) for _ in range(3)]
for t in threads: t.start()
for i in range(25):
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        good = (runtime(pixels)["logits"] == wanted).all()
        other = NativeRuntime(folder, threads=2)
        good = good and (other(np.repeat(pixels, 5, 0))["logits"] == wanted).all()
        os._exit(0 if good else 1)
    assert os.waitpid(child, 0)[1] == 0, i
    assert (runtime(pixels)["logits"] == wanted).all()
over = True
for t in threads: t.join()
"""
    python(script, whole)


@POSIX
def test_pools_of_processes_share_a_model_of_their_parent(whole):
    script = """
import multiprocessing
runtime = NativeRuntime(folder, threads=2)
wanted = runtime(pixels)["logits"]
def same(i):
    return bool((runtime(pixels)["logits"] == wanted).all())
with multiprocessing.get_context("fork").Pool(2) as pool:
    assert all(pool.map(same, range(20)))
"""
    python(script, whole)


@POSIX
def test_signals_during_a_run_change_nothing(whole):
    script = """
runtime = NativeRuntime(folder, threads=2)
big = np.random.default_rng(1).random((2, 3, 256, 256), np.float32)
wanted = runtime(big)["logits"]
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it
rings = []
signal.signal(signal.SIGALRM, lambda *_: rings.append(threading.current_thread()))
signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
end = time.monotonic() + 2
while time.monotonic() < end:
    assert (runtime(big)["logits"] == wanted).all()
signal.setitimer(signal.ITIMER_REAL, 0)
assert len(rings) > 10
assert set(rings) == {threading.main_thread()}
stopped = 0
for _ in range(5):
    try:
        threading.Timer(0.05, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
        while True:
            runtime(big)
    except KeyboardInterrupt:
        stopped += 1
assert stopped == 5
assert (runtime(big)["logits"] == wanted).all()
"""
    python(script, whole)


@POSIX
@PROC
def test_where_memory_ends_there_is_an_error_and_the_process_goes_on(whole, tmp_path):
    script = """
import resource, shutil
from mobilevitv2.errors import CheckpointError
def used():
    return int(open("/proc/self/statm").read().split()[0]) * 4096
runtime = NativeRuntime(folder, threads=int(sys.argv[2]))
wanted = runtime(pixels)["logits"]
many = np.repeat(pixels, 9, 0)
short = fine = 0
large = np.zeros((1, 3, 4000, 4000), np.float32)
for more in range(0, 64 << 20, 1 << 20):
    resource.setrlimit(resource.RLIMIT_AS, (used() + more, -1))
    for action in (
        lambda: runtime(large),
        lambda: runtime.outputs(3000, 500 + (more >> 20)),
        lambda: NativeRuntime(folder)(pixels),
        lambda: runtime(np.repeat(pixels[:, :, :, :40 + (more >> 20) % 20], 9, 0)),
    ):
        try:
            action()
            fine += 1
        except (MemoryError, CheckpointError):
            short += 1
    assert (runtime(pixels)["logits"] == wanted).all()
resource.setrlimit(resource.RLIMIT_AS, (-1, -1))
assert (runtime(many)["logits"] == wanted).all()
assert short > 20 and fine > 20, (short, fine)
"""
    for threads in (1, 4):
        python(script, whole, threads)


GROWTH = """
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096
small = pixels[:, :, :32, :32].copy()
runtime = NativeRuntime(folder, threads=2)
def some(n):
    for i in range(n):
        runtime(small)
        if i % 100 == 0:
            runtime(pixels[:, :, : 32 + i // 100 % 32])  # other sizes come and go
            NativeRuntime(folder, threads=1)(small)
        if i % 100 == 50:
            try:
                NativeRuntime(folder + "/none")
            except Exception:
                pass
some(int(sys.argv[2]))  # until as many sizes have plans as are kept
before = resident()
some(int(sys.argv[2]))
print(resident() - before)
"""


@PROC
@pytest.mark.parametrize("runs", [2000, pytest.param(20_000, marks=pytest.mark.slow)])
def test_runs_take_no_memory_that_they_do_not_give_back(runs, whole):
    assert int(python(GROWTH, whole, runs, timeout=600)) < 2 << 20
