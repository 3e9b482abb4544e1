"""The end of a run: the best network on the images that it was not trained on, and the report."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader

from mobilevitv2.checkpoint.files import WEIGHTS_NAME, read_weights
from mobilevitv2.data import ClassificationData, Sample
from mobilevitv2.images import load_image
from mobilevitv2.training.folder import BEST, name_of
from mobilevitv2.training.module import logits_of
from mobilevitv2.training.recipe import Recipe


@torch.inference_mode()
def predict_logits(network: nn.Module, loader: DataLoader) -> tuple[Tensor, Tensor, list[int]]:
    """float32 logits [M, N], targets [M] and indices of the M images that could be decoded."""
    device = next(network.parameters()).device
    network.eval()
    logits, targets = [], []
    for pixels, labels, _ in loader:
        logits.append(logits_of(network(pixels.to(device))).float().cpu())
        targets.append(labels)
    all_targets = torch.cat(targets)
    there = all_targets >= 0
    return torch.cat(logits)[there], all_targets[there], there.nonzero().flatten().tolist()


def evaluate_best(
    network: nn.Module, out: Path, loaders: dict[str, DataLoader]
) -> dict[str, tuple[Tensor, Tensor, list[int]]]:
    """`predict_logits` for each split but train; `network` is given the best bundle's weights."""
    network.load_state_dict(read_weights(out / BEST / WEIGHTS_NAME).state)
    return {
        name: predict_logits(network, loader) for name, loader in loaders.items() if name != "train"
    }


def accuracy_of(logits: Tensor, targets: Tensor) -> float:
    """The share whose largest logit is that of the target, in [0, 1]."""
    return (logits.argmax(1) == targets).float().mean().item()


def report_of(
    out: Path,
    data: ClassificationData,
    recipe: Recipe,
    history: list[dict[str, float]],
    predictions: dict[str, tuple[Tensor, Tensor, list[int]]],
    scores: dict[str, float],
    timing: dict[str, Any],
) -> Path:
    """The page about the run, on the held-out images where there are any; its path."""
    from mobilevitv2.training.report import write_report

    split = "test" if "test" in predictions else "val"
    logits, targets, indices = predictions[split]
    return write_report(
        out,
        history=history,
        classes=data.classes,
        targets=targets.numpy(),
        probabilities=logits.softmax(1).numpy(),
        images=_opener(data.splits[split], indices),
        names=[name_of(data, split, index) for index in indices],
        title=f"{data.name}, {split} images",
        settings=asdict(recipe) | {f"{name} accuracy": score for name, score in scores.items()},
        timing=timing,
    )


def _opener(samples: list[Sample], indices: list[int]) -> Callable[[int], Image.Image]:
    def image(i: int) -> Image.Image:
        return load_image(samples[indices[i]][0])

    return image
