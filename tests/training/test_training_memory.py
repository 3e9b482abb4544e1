"""What a training frees and takes again stays in the process, and is given back afterwards."""

import os
import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="only glibc's malloc is told to keep memory"
)

STEPS = """
import ctypes
import resource
from contextlib import nullcontext
from pathlib import Path
import torch
from mobilevitv2.training.memory import kept_memory

ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)  # PR_SET_THP_DISABLE: pages of 4 KiB everywhere

def faults_of(steps):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(steps):
        maps = [torch.ones(size << 18) for size in (64, 40, 8)]  # 64, 40 and 8 MiB
        del maps[1]
        maps.append(torch.ones(30 << 18))
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident():  # bytes
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

usual = faults_of(4)
with kept_memory():
    faults_of(4)
    kept, held = faults_of(4), resident()
print(usual, kept, held - resident(), faults_of(4))
"""


def figures(**variables: str) -> tuple[int, int, int, int]:
    """Page faults of four steps before and within, bytes given back, faults afterwards."""
    others = ("MALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(others)}
    done = subprocess.run(
        [sys.executable, "-c", STEPS],
        env=kept | variables,
        capture_output=True,
        text=True,
        check=True,
    )
    usual, within, given_back, afterwards = map(int, done.stdout.split())
    return usual, within, given_back, afterwards


def test_steps_take_no_new_pages_and_the_memory_is_given_back():
    usual, kept, given_back, afterwards = figures()
    assert usual > 20_000  # the two largest alone are 104 MiB a step
    assert kept < usual / 5
    assert given_back > 50 << 20
    assert afterwards > usual / 2


def test_somebodys_own_settings_stay():
    for setting in (
        {"MALLOC_MMAP_THRESHOLD_": "65536"},
        {"GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=65536"},
    ):
        usual, kept, _, _ = figures(**setting)
        assert kept > usual / 2


def test_settings_of_other_things_are_no_choice():
    usual, kept, _, _ = figures(MALLOC_ARENA_MAX="2", GLIBC_TUNABLES="glibc.pthread.rseq=1")
    assert kept < usual / 5
