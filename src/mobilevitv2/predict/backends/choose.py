"""Chooses where a model runs: in its file's own runtime, in the engine, or in PyTorch."""

import logging
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from mobilevitv2.bundle import Bundle, bundle_of, find_bundle
from mobilevitv2.devices import gpu_is_here
from mobilevitv2.errors import ConfigError, UnsupportedError, require
from mobilevitv2.predict.backends import Backend
from mobilevitv2.processor import MobileViTImageProcessor
from mobilevitv2.runtime.opening import WEB_MODEL, Precision, exported_file

if TYPE_CHECKING:
    import torch

    from mobilevitv2.model.opening import TaskModel

logger = logging.getLogger(__name__)

RuntimeName = Literal["auto", "native", "torch"]

# Modules of this folder, in the order of preference. Each has
# `refuses(request) -> Exception | None` and `open(request) -> Backend`.
BACKENDS = ("exported", "engine", "torch")


@dataclass(frozen=True)
class Request:
    """What to open, with the arguments of `Predictor`."""

    model: "TaskModel | str | Path"
    processor: MobileViTImageProcessor | None = None
    device: "str | torch.device | None" = None
    runtime: RuntimeName = "auto"
    threads: int | None = None
    precision: Precision = "auto"

    def __post_init__(self) -> None:
        if self.runtime not in get_args(RuntimeName):
            known = ", ".join(get_args(RuntimeName))
            raise ConfigError(f"runtime must be one of {known}, not {self.runtime!r}.")

    @property
    def in_memory(self) -> bool:
        return not isinstance(self.model, str | Path)

    @cached_property
    def exported(self) -> bool:
        return not self.in_memory and exported_file(self.source) is not None

    @cached_property
    def source(self) -> str | Path:
        """Where the model is; for a run's folder, the bundle of its best epoch."""
        assert isinstance(self.model, str | Path)
        return self.model if exported_file(self.model) else bundle_of(self.model)

    @cached_property
    def bundle(self) -> Bundle | None:
        """The bundle at the source; None for every other checkpoint."""
        return find_bundle(self.source)

    @cached_property
    def on_gpu(self) -> bool:
        """Whether it should run on a GPU: the device is one, or is left out and there is one."""
        return gpu_is_here() if self.device is None else str(self.device).split(":")[0] != "cpu"

    @property
    def wants_engine(self) -> bool:
        """Whether only the engine will do; int8 has no other."""
        return self.runtime == "native" or self.precision == "int8"


def open_backend(request: Request) -> Backend:
    """The first backend that doesn't refuse; raises the reason of the last one that could do it."""
    _warn_of_export_beside(request)
    last = "exported" if request.exported else "engine" if request.wants_engine else "torch"
    for name in BACKENDS:
        if name == "torch":
            require("torch", extra="torch")
        backend = import_module(f"mobilevitv2.predict.backends.{name}")
        reason = backend.refuses(request)
        if reason is None:
            try:
                return backend.open(request)
            except UnsupportedError as error:  # which shows only when it is opened
                reason = error
        if name == last:
            raise reason
        logger.debug("%s refuses %s: %s", name, request.model, reason)
    raise AssertionError(f"{last} is none of {BACKENDS}")


def _warn_of_export_beside(request: Request) -> None:
    if request.in_memory or request.exported:
        return
    folders = [Path(place).expanduser() for place in (request.model, request.source)]  # pyright: ignore
    if beside := [folder for folder in folders if (folder / WEB_MODEL).is_file()]:
        logger.warning(
            "%s also holds %s, which isn't used; name that file to run it", beside[-1], WEB_MODEL
        )
