"""Mean IoU from scratch of our segmenter and of torchvision's LRASPP, for the same time.

    python benchmarks/camvid.py ../shared/data/camvid [--minutes 30] [--width 0.5] [--threads 2]
        [--precision bf16] [--only mobilevitv2 | lraspp_mobilenet_v3_large] [--out runs/camvid]

Same trainer, recipe, crops and seed; each gets as many epochs as fit the minutes, judged by its
first steps, so that the learning rate of either comes down in time. LRASPP's BatchNorm averages
with PyTorch's usual momentum of 0.1: its own, 0.01, does not settle in so few steps (after 345 of
them it had a mean IoU of 0.05).
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
import torchvision
from measure import report
from torch import nn

from mobilevitv2.data import SegmentationData, open_segmentation
from mobilevitv2.model.segmentation import segmentation_loss
from mobilevitv2.training import Recipe, fit
from mobilevitv2.training.networks import from_scratch
from mobilevitv2.training.segmentation import SegmentationTask, maps_of

PEER = "lraspp_mobilenet_v3_large"
NETWORKS = ("mobilevitv2", PEER)
WARM, TIMED = 2, 5  # steps
VALIDATION = 1.1  # times the training's time, about


def make(name: str, options: argparse.Namespace, data: SegmentationData, recipe: Recipe) -> Any:
    """The network, with fresh weights."""
    task = SegmentationTask(data)
    if name == "mobilevitv2":
        return from_scratch(task, options.width, recipe, task.image_size(recipe))
    torch.manual_seed(options.seed)
    build = getattr(torchvision.models.segmentation, name)
    network = build(weights=None, weights_backbone=None, num_classes=len(data.classes))
    for norm in (m for m in network.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.momentum = 0.1
    return network


def seconds_an_epoch(network: nn.Module, data: SegmentationData, recipe: Recipe) -> float:
    """Of training steps alone, on noise."""
    size = SegmentationTask(data).image_size(recipe)
    images = torch.rand(recipe.batch_size, 3, size, size).to(memory_format=torch.channels_last)
    masks = torch.zeros(recipe.batch_size, size, size, dtype=torch.int64)
    network.train()
    started = 0.0
    for i in range(WARM + TIMED):
        started = time.perf_counter() if i == WARM else started
        with torch.autocast("cpu", torch.bfloat16, enabled=recipe.precision == "bf16"):
            loss = segmentation_loss(maps_of(network(images)), masks)
        loss.backward()
    network.zero_grad()
    steps = -(-len(data.train) // recipe.batch_size)
    return VALIDATION * (time.perf_counter() - started) / TIMED * steps


def main() -> None:
    """Train, then compare what the runs say."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data")
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--width", type=float, default=0.5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--only", choices=NETWORKS)
    parser.add_argument("--out", type=Path, default=Path("runs/camvid"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    how = {"seed": options.seed, "threads": options.threads, "precision": options.precision}
    recipe = Recipe.load("segmentation", **how)
    data = open_segmentation(options.data, seed=options.seed)
    for name in [options.only] if options.only else NETWORKS:
        out = options.out / f"{name}-{options.seed}"
        if (out / "result.json").is_file():
            continue
        network = make(name, options, data, recipe)
        epochs = round(60 * options.minutes / seconds_an_epoch(network, data, recipe))
        network = make(name, options, data, recipe)  # as if no step had been made
        result = fit(network, data, recipe.with_(epochs=max(epochs, 1)), out)
        row = {
            "model": name,
            "parameters": sum(p.numel() for p in network.parameters()),
            "seed": options.seed,
            "mIoU": result.score,
            "best epoch": result.best_epoch,
            "epochs": len(result.history),
            "minutes": result.seconds / 60,
            "threads": options.threads,
            "precision": options.precision,
        }
        (out / "result.json").write_text(json.dumps(row))
    rows = [json.loads(p.read_text()) for p in sorted(options.out.glob("*/result.json"))]
    title = f"From scratch on {Path(options.data).name}, the same recipe and about the same time"
    report("camvid", title, rows)


if __name__ == "__main__":
    main()
