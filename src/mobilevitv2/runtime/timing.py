"""How long calls take, side by side: `interleaved`."""

import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

Name = TypeVar("Name")

PAUSE = 0.02  # seconds before each call: OpenMP's threads keep spinning for some ms after PyTorch's


def interleaved(calls: Mapping[Name, Callable[[], Any]], rounds: int) -> dict[Name, list[float]]:
    """Milliseconds of each call in each round, taken in turn, after a warm-up round."""
    times: dict[Name, list[float]] = {name: [] for name in calls}
    for i in range(rounds + 1):
        for name, call in calls.items():
            time.sleep(PAUSE)
            start = time.perf_counter()
            call()
            if i:
                times[name].append((time.perf_counter() - start) * 1e3)
    return times
