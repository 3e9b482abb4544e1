"""Where a model computes: in the package's engine, in PyTorch, or in its file's own runtime."""

import logging
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, get_args

import numpy as np

from mobilevitv2.bundle import bundle_of
from mobilevitv2.devices import gpu_is_here
from mobilevitv2.errors import ConfigError, UnsupportedError, require
from mobilevitv2.predict.backends.engine import open_native
from mobilevitv2.predict.backends.exported import ExportedNetwork
from mobilevitv2.processor import MobileViTImageProcessor
from mobilevitv2.runtime import is_exported
from mobilevitv2.runtime.opening import WEB_MODEL, Precision

if TYPE_CHECKING:
    import torch

    from mobilevitv2.predict.backends.torch import LiveNetwork, TaskModel

logger = logging.getLogger(__name__)

RuntimeName = Literal["auto", "native", "torch"]


class Network(Protocol):
    """What a predictor asks: a bundle in the engine, a live model, or an exported file."""

    @property
    def task(self) -> str: ...

    @property
    def classes(self) -> list[str]: ...

    @property
    def colors(self) -> list[tuple[int, int, int]]: ...

    @property
    def runs_in(self) -> str: ...

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """float32 [B, 3, H, W] to logits [B, classes], or [B, classes, h, w] of a segmenter.

        Of a detector to [B, anchors, 4 + 1 + classes]: boxes, then logits with the background.
        """
        ...


class Opened(NamedTuple):
    """A network, how its images are prepared, and where it was found: None for one in memory."""

    network: Network
    processor: MobileViTImageProcessor
    source: str | Path | None


def open_network(
    model: "TaskModel | str | Path",
    processor: MobileViTImageProcessor | None = None,
    *,
    device: "str | torch.device | None" = None,
    runtime: RuntimeName = "auto",
    threads: int | None = None,
    precision: Precision = "auto",
) -> Opened:
    """What `Predictor` asks, and the given processor or else the model's own; see there."""
    if runtime not in get_args(RuntimeName):
        known = ", ".join(get_args(RuntimeName))
        raise ConfigError(f"runtime is {runtime!r}; one of {known} is wanted.")
    if not isinstance(model, str | Path):
        return _open_in_memory(model, processor, device, runtime, threads, precision)
    if is_exported(model):
        if device is not None and str(device) != "cpu":
            raise ConfigError(f"{model} runs on the CPU; device {device} is for PyTorch.")
        if runtime != "auto":
            raise ConfigError(f"{model} runs in its own runtime, and so can't run in {runtime}.")
        exported = ExportedNetwork(model, threads=threads, precision=precision)
        return Opened(exported, processor or exported.open_processor(), model)
    source = bundle_of(model)
    if beside := [p for p in (model, source) if (Path(p).expanduser() / WEB_MODEL).is_file()]:
        logger.warning(
            "%s also holds %s, which isn't used; name that file itself to run it",
            beside[-1],
            WEB_MODEL,
        )
    asked = runtime == "native" or precision == "int8"  # which only the engine has
    if asked:
        _check_asked(runtime, device, precision)
    if asked or (runtime == "auto" and _is_for_cpu(device)):
        try:
            native = open_native(source, threads=threads, precision=precision)
            return Opened(native, processor or native.open_processor(source), source)
        except (UnsupportedError, ImportError) as error:
            if asked:
                raise
            logger.debug("%s runs in PyTorch: %s", source, error)
    torch = require("torch", extra="torch")
    from mobilevitv2.predict.backends.torch import open_model, open_processor

    opened = open_model(source)
    processor = processor or open_processor(source, opened)
    live = opened.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    return Opened(_live(live, threads, precision), processor, source)


def _open_in_memory(
    model: "TaskModel",
    processor: MobileViTImageProcessor | None,
    device: "str | torch.device | None",
    runtime: RuntimeName,
    threads: int | None,
    precision: Precision,
) -> Opened:
    if processor is None:
        raise ValueError("a model in memory comes with its image processor: pass both.")
    if runtime == "native" or precision == "int8":
        raise ConfigError(
            "a model in memory runs in PyTorch; the engine opens bundles. Save it with "
            "save_pretrained, and its processor too, and give the folder."
        )
    here = next(model.parameters())
    there = here.new_empty(0).to(device).to(_dtype(precision) or here.dtype)
    if model.training or (here.device, here.dtype) != (there.device, there.dtype):
        model = deepcopy(model).to(there.device)  # the caller's stays as it is
    return Opened(_live(model, threads, precision), processor, None)


def _live(model: "TaskModel", threads: int | None, precision: Precision) -> "LiveNetwork":
    torch = require("torch", extra="torch")
    from mobilevitv2.predict.backends.torch import LiveNetwork

    if threads is not None:
        torch.set_num_threads(threads)
    return LiveNetwork(model.to(_dtype(precision)))


def _dtype(precision: Precision) -> "torch.dtype | None":
    torch = require("torch", extra="torch")
    types = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    return types.get(precision)


def _check_asked(
    runtime: RuntimeName, device: "str | torch.device | None", precision: Precision
) -> None:
    if runtime == "torch":
        raise ConfigError(
            f"precision {precision} is the engine's; PyTorch computes in fp32, bf16 or fp16. Leave "
            "the runtime to be native, or export the model: mobilevitv2 export --int8."
        )
    if device is not None and not _is_for_cpu(device):
        raise ConfigError(f"the engine runs on the CPU; device {device} is for PyTorch.")


def _is_for_cpu(device: "str | torch.device | None") -> bool:
    return not gpu_is_here() if device is None else str(device).split(":")[0] == "cpu"
