"""Keeps freed memory in the process while it trains: on a CPU a step takes up to half as long."""

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# glibc's malloc.h
TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD, MMAP_MAX = -1, -2, -3, -4
KEEP = {MMAP_MAX: 0, TRIM_THRESHOLD: 2**31 - 1, TOP_PAD: 2**26}
# Afterwards: glibc's own numbers, but thresholds at the most that they grow to by themselves; once
# set, they no longer grow.
USUAL = {MMAP_MAX: 65536, MMAP_THRESHOLD: 2**25, TRIM_THRESHOLD: 2**26, TOP_PAD: 2**17}
OWN_CHOICE = {  # variables by which somebody has set what is set here
    "MALLOC_MMAP_MAX_",
    "MALLOC_MMAP_THRESHOLD_",
    "MALLOC_TOP_PAD_",
    "MALLOC_TRIM_THRESHOLD_",
}


@contextmanager
def kept_memory() -> Iterator[None]:
    """Maps of a network are given back to no one and asked for from no one, step after step.

    glibc takes every large block from the system and gives it back when it is freed, so that each
    map of each step is made of new pages, filled with zeros one by one: in a virtual machine that
    takes several times as long as what is then computed. Here blocks stay on the heap.

    Has no effect where malloc isn't glibc's, or where the environment sets it.
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
