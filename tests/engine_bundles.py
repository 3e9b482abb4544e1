"""Bundles with random weights for the engine, and what PyTorch answers to the same pixels."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peers import randomize
from safetensors.numpy import load_file, save_file

from mobilevitv2 import (
    MobileViTV2Config,
    MobileViTV2ForImageClassification,
    MobileViTV2ForObjectDetection,
    MobileViTV2ForSemanticSegmentation,
    MobileViTV2Model,
)
from mobilevitv2.runtime.native import NativeRuntime, missing

MODELS: dict[str, Any] = {
    "classifier": MobileViTV2ForImageClassification,
    "segmenter": MobileViTV2ForSemanticSegmentation,
    "detector": MobileViTV2ForObjectDetection,
    "backbone": MobileViTV2Model,
}
TINY: dict[str, Any] = {
    "width_multiplier": 0.1,
    "n_attn_blocks": [1, 2, 1],
    "base_attn_unit_dims": [80, 120, 160],
    "aspp_out_channels": 24,
    "num_labels": 5,
}


def need_engine() -> None:
    """The real engine; absent, the test skips, but in CI it fails."""
    if missing():
        if os.environ.get("CI") == "true":
            pytest.fail(str(missing()))
        pytest.skip(str(missing()))


def random_model(head: str = "classifier", seed: int = 0, **config: Any) -> Any:
    return randomize(MODELS[head](MobileViTV2Config(**config)), seed).eval()


def save(model: Any, folder: Path) -> Path:
    model.save_pretrained(folder)
    return folder


def tiny_bundle(folder: Path, head: str = "classifier", **config: Any) -> Path:
    return save(random_model(head, **{**TINY, **config}), folder)


def change_config(folder: Path, **fields: Any) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))
    return folder


def change_weights(folder: Path, change: Callable[[dict[str, np.ndarray]], None]) -> Path:
    path = folder / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)
    return folder


def images(*shape: int, seed: int = 1) -> np.ndarray:
    """Random pixels in [0, 1], [B, C, H, W]."""
    return np.random.default_rng(seed).random(shape, np.float32)


def answers(model: Any, pixels: np.ndarray) -> dict[str, np.ndarray]:
    """PyTorch's, under the engine's names."""
    with torch.inference_mode():
        output = model(torch.from_numpy(pixels), output_hidden_states=True)
    found = {f"stage_{i}": stage for i, stage in enumerate(output.hidden_states)}
    names = {"logits": "logits", "pred_boxes": "boxes"}
    names |= {name: name for name in ("last_hidden_state", "pooler_output")}
    found |= {to: output[name] for name, to in names.items() if output.get(name) is not None}
    return {name: tensor.numpy() for name, tensor in found.items()}


def every_output(runtime: NativeRuntime, pixels: np.ndarray) -> dict[str, np.ndarray]:
    return runtime(pixels, [o.name for o in runtime.outputs(*pixels.shape[2:])])


def largest_error(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> tuple[float, str]:
    """Over all outputs: the largest difference, as a part of the largest value; and of which."""
    assert found.keys() == wanted.keys()
    errors = []
    for name, array in wanted.items():
        assert found[name].shape == array.shape, name
        error = np.abs(found[name] - array).max() / np.abs(array).max()
        errors.append((float(error) if np.isfinite(error) else np.inf, name))
    return max(errors)


def same_bits(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return a.keys() == b.keys() and all(a[n].tobytes() == b[n].tobytes() for n in a)
