"""Keeps freed memory in the process for the time of a training, which on a CPU saves up to half."""

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# glibc's malloc.h
TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD, MMAP_MAX = -1, -2, -3, -4
KEEP = {MMAP_MAX: 0, TRIM_THRESHOLD: 2**31 - 1, TOP_PAD: 2**26}
# What glibc starts with. Its thresholds grow by themselves, but not once they have been set, so
# these are set to where they grow to.
USUAL = {MMAP_MAX: 65536, MMAP_THRESHOLD: 2**25, TRIM_THRESHOLD: 2**26, TOP_PAD: 2**17}
OWN_CHOICE = "MALLOC_", "GLIBC_TUNABLES"  # how variables begin by which somebody has set malloc


@contextmanager
def kept_memory() -> Iterator[None]:
    """Maps of a network are given back to no one and asked for from no one, step after step.

    glibc takes every large block from the system and gives it back when it is freed, so that each
    map of each step is made of new pages, filled with zeros one by one: in a virtual machine that
    takes several times as long as what is then computed. Here blocks stay on the heap.

    Does nothing where malloc isn't glibc's, or is set by the environment.
    """
    malloc = _glibc()
    if malloc is None:
        yield
        return
    try:
        for parameter, value in KEEP.items():
            malloc.mallopt(parameter, value)
        yield
    finally:
        for parameter, value in USUAL.items():
            malloc.mallopt(parameter, value)
        malloc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    if not sys.platform.startswith("linux") or any(v.startswith(OWN_CHOICE) for v in os.environ):
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "gnu_get_libc_version") else None
