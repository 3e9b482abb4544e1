"""Keeps freed memory in the process while it trains: on a CPU a step takes up to half as long."""

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# glibc's malloc.h
TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD, MMAP_MAX = -1, -2, -3, -4
KEEP = {MMAP_MAX: 0, TRIM_THRESHOLD: 2**31 - 1, TOP_PAD: 2**26}
# Afterwards: glibc's own numbers, but the thresholds at their maximum, as they no longer grow once
# they were set.
USUAL = {MMAP_MAX: 65536, MMAP_THRESHOLD: 2**25, TRIM_THRESHOLD: 2**26, TOP_PAD: 2**17}
OWN_CHOICE = {  # environment variables that set the same
    "MALLOC_MMAP_MAX_",
    "MALLOC_MMAP_THRESHOLD_",
    "MALLOC_TOP_PAD_",
    "MALLOC_TRIM_THRESHOLD_",
}


@contextmanager
def kept_memory() -> Iterator[None]:
    """The memory of a network's maps stays in the process from step to step.

    glibc takes every large block from the system and gives it back when it is freed, so each map of
    each step consists of new pages, zeroed one by one: in a virtual machine that takes several
    times as long as what is then computed. Here blocks stay on the heap.

    Has no effect where malloc isn't glibc's, or where the environment configures it.
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
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    if OWN_CHOICE & os.environ.keys() or "glibc.malloc." in tunables:
        return None
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "gnu_get_libc_version") else None
