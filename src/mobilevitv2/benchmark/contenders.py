"""What a benchmark measures besides the engine: PyTorch, our exports, and the peers in both."""

import copy
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from mobilevitv2.deploy import export, fuse
from mobilevitv2.errors import ConfigError, require
from mobilevitv2.model.opening import open_model, open_processor, task_of_model
from mobilevitv2.runtime import open_runtime
from mobilevitv2.runtime.targets import TARGETS
from mobilevitv2.tasks import task_named

TARGETS_HERE = ("onnx", "openvino", "executorch", "litert")

Call = Callable[[np.ndarray], Any]
Calls = dict[tuple[str, str, str], Call]  # by model, runtime and precision


class Contenders:
    """A model in PyTorch and, with `exports`, in every installed runtime."""

    def __init__(
        self, source: str | Path, threads: int | None, *, exports: bool, peers: bool
    ) -> None:
        if threads is not None:
            torch.set_num_threads(threads)
        self.source, self.threads, self.exports, self.peers = source, threads, exports, peers
        self.model = open_model(source).float()
        self.processor = open_processor(source, self.model)
        task = task_of_model(self.model)
        if peers and "timm" not in task_named(task).layouts:
            raise ConfigError(f"peers are classifiers; leave them out for a model for {task}.")

    def calls(
        self, size: tuple[int, int], batch: int, folder: Path, left_out: dict[str, str]
    ) -> Calls:
        """What to measure at this size and batch; exported files go into `folder`."""
        calls: Calls = {
            ("mobilevitv2", "PyTorch", "fp32"): _in_torch(self.model),
            ("mobilevitv2", "PyTorch, fused", "fp32"): _in_torch(fuse(self.model, size)),
        }
        for name in TARGETS_HERE if self.exports else ():
            target = TARGETS[name]
            path = folder / f"ours{target.suffix}"
            try:
                export(self.source, to=name, out=path, image_size=[size], batch=batch)
            except ImportError as error:
                left_out[target.name] = str(error)
            else:
                calls |= self._opened("mobilevitv2", target.name, path)
        for name, make in PEERS.items() if self.peers else ():
            config = self.model.config
            try:
                network = make(config.width_multiplier, len(config.id2label or {})).eval()
            except ImportError as error:
                left_out[name] = str(error)
            else:
                pixels = torch.rand(batch, 3, *size)
                calls |= self._peer(name, network, pixels, folder / f"{name}.onnx")
        return calls

    def _peer(self, name: str, network: nn.Module, pixels: torch.Tensor, path: Path) -> Calls:
        """A peer in PyTorch, ONNX and, if they are installed, OpenVINO and ExecuTorch."""
        layout = torch.channels_last
        last = copy.deepcopy(network).to(memory_format=layout)  # pyright: ignore[reportCallIssue]
        calls: Calls = {
            (name, "PyTorch", "fp32"): _in_torch(network),
            (name, "PyTorch, channels_last", "fp32"): _in_torch(last, layout),
        }
        program = torch.onnx.export(
            network, (pixels,), dynamo=True, opset_version=20, verbose=False
        )
        assert program is not None
        program.save(path)
        calls |= self._opened(name, "ONNX", path)
        if find_spec("openvino"):
            openvino = require("openvino", extra="openvino")
            xml = path.with_suffix(".xml")
            openvino.save_model(openvino.convert_model(path), xml, compress_to_fp16=False)
            calls |= self._opened(name, "OpenVINO", xml)
        if find_spec("executorch"):
            from mobilevitv2.deploy.executorch import lower

            pte = path.with_suffix(".pte")
            lower(torch.export.export(network, (pixels,))).to_executorch().save(str(pte))
            calls |= self._opened(name, "ExecuTorch", pte)
        return calls

    def _opened(self, model: str, runtime: str, path: Path) -> Calls:
        """A file in fp32, and in what the runtime would choose if that differs."""
        opened = open_runtime(path, threads=self.threads, precision="fp32")
        chosen = open_runtime(path, threads=self.threads)
        return {(model, runtime, run.precision): run for run in (chosen, opened)}


def _in_torch(network: nn.Module, layout: torch.memory_format = torch.contiguous_format) -> Call:
    def call(pixels: np.ndarray) -> Any:
        with torch.inference_mode():
            return network(torch.from_numpy(pixels).contiguous(memory_format=layout))

    return call


def _timm(width: float, classes: int) -> nn.Module:
    timm = require("timm", extra="test")
    return timm.create_model(f"mobilevitv2_{round(100 * width):03d}", num_classes=classes)


def transformers_classifier(width: float, classes: int) -> "Logits":
    """transformers' network with random weights."""
    hf = require("transformers", extra="test")
    config = hf.MobileViTV2Config(width_multiplier=width, num_labels=classes)
    network = hf.MobileViTV2ForImageClassification(config)
    for module in network.modules():  # its own initialization gives logits of zero
        if isinstance(module, nn.Conv2d | nn.Linear | nn.BatchNorm2d):
            module.reset_parameters()
    return Logits(network)


class Logits(nn.Module):
    """A model that gives its logits alone."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.model(pixels).logits


PEERS = {"timm": _timm, "transformers": transformers_classifier}
