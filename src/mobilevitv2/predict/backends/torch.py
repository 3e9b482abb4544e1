"""Runs models in PyTorch."""

from copy import deepcopy
from pathlib import Path

import numpy as np
import torch

from mobilevitv2.bundle import facts_of
from mobilevitv2.model.opening import TaskModel, open_model, open_processor, task_of_model
from mobilevitv2.predict.answers import Answer, of_model
from mobilevitv2.predict.backends import Backend
from mobilevitv2.predict.backends.choose import Request
from mobilevitv2.processor import MobileViTImageProcessor

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
SHORT = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}


class TorchBackend(Backend):
    """A model in memory, put into eval mode."""

    def __init__(self, model: TaskModel) -> None:
        self.facts = facts_of(model.config)
        self.model = model.eval()
        self.task = task_of_model(model)

    @property
    def runs_in(self) -> str:
        dtype = str(self.model.dtype).removeprefix("torch.")
        return f"PyTorch, {self.model.device}, {SHORT.get(dtype, dtype)}"

    def open_processor(self, source: str | Path) -> MobileViTImageProcessor:
        return open_processor(source, self.model)

    @torch.inference_mode()
    def __call__(self, pixels: np.ndarray) -> Answer:
        batch = torch.from_numpy(pixels).to(self.model.device, self.model.dtype)
        output = self.model(batch, return_dict=True)
        tensors = (output[name] for name in ("logits", "pred_boxes") if name in output)
        return of_model(*(tensor.float().cpu().numpy() for tensor in tensors))


def refuses(request: Request) -> Exception | None:
    """Why PyTorch can't run this."""
    if request.in_memory and request.processor is None:
        return ValueError("a model in memory needs its image processor: pass both.")
    return None


def open(request: Request) -> TorchBackend:
    """Open a checkpoint on the requested device; a model in memory stays as it is, or is copied."""
    if request.threads is not None:
        torch.set_num_threads(request.threads)
    dtype = DTYPES.get(request.precision)
    if not isinstance(request.model, str | Path):
        return TorchBackend(_moved(request.model, request.device, dtype))
    model = open_model(request.source)
    return TorchBackend(model.to(request.device or ("cuda" if request.on_gpu else "cpu")).to(dtype))


def _moved(
    model: TaskModel, device: "str | torch.device | None", dtype: torch.dtype | None
) -> TaskModel:
    """The model, or a copy if anything about it must change."""
    here = next(model.parameters())
    there = here.new_empty(0).to(device).to(dtype or here.dtype)
    if model.training or (here.device, here.dtype) != (there.device, there.dtype):
        return deepcopy(model).to(there.device, there.dtype)
    return model
