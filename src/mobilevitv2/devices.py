"""What this machine has: a GPU for PyTorch, and which versions of packages."""

import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from importlib.util import find_spec

# What drivers leave for programs to find: NVIDIA's, also on Jetson and in WSL, and AMD's.
DRIVERS = (
    "/dev/nvidiactl",
    "/proc/driver/nvidia",
    "/dev/nvhost-ctrl",
    "/dev/nvmap",
    "/dev/dxg",
    "/dev/kfd",
)


def gpu_is_here() -> bool:
    """What `torch.cuda.is_available()` says; False without torch, not imported without a driver."""
    if not _has_driver() or find_spec("torch") is None:
        return False
    import torch

    return torch.cuda.is_available()


def versions_of(packages: Iterable[str]) -> dict[str, str]:
    """The versions of those that are installed."""
    from importlib import metadata  # 50 ms, which only those pay who ask

    versions = {}
    for name in packages:
        with suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return versions


def _has_driver() -> bool:
    if sys.platform == "win32":
        return os.path.exists(os.path.expandvars(r"%SystemRoot%\System32\nvcuda.dll"))
    return any(map(os.path.exists, DRIVERS))
