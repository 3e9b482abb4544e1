"""Whether PyTorch has a GPU here, found without importing it where it can't have one."""

import os
import sys
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
    """What `torch.cuda.is_available()` says; False without torch."""
    if not _has_driver() or find_spec("torch") is None:
        return False
    import torch

    return torch.cuda.is_available()


def _has_driver() -> bool:
    if sys.platform == "win32":
        return os.path.exists(os.path.expandvars(r"%SystemRoot%\System32\nvcuda.dll"))
    return any(map(os.path.exists, DRIVERS))
