"""Training ours and a peer for the same time in the same trainer: what the scripts share.

Each network gets as many epochs as fit into the minutes, estimated from its first steps, so that
both learning rates come down in time.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from measure import report
from torch import nn

from mobilevitv2.data import Data
from mobilevitv2.training import Recipe, TrainingResult, fit
from mobilevitv2.training.assembly import make_loaders
from mobilevitv2.training.goal import goal_for
from mobilevitv2.training.networks import fresh_processor, from_scratch

WARM, TIMED = 2, 5  # steps
VALIDATION = 1.1  # factor on the training's time, estimated

MakePeer = Callable[[int], nn.Module]  # from the number of classes


def seconds_an_epoch(network: nn.Module, data: Data, recipe: Recipe) -> float:
    """Estimated from training steps on the first batches, plus validation."""
    goal = goal_for(data)
    processor = fresh_processor(goal, goal.image_size(recipe))
    images = {"train": goal.image_sets(recipe, processor)["train"]}
    module = goal.module(network, recipe, steps=1)
    network.train()
    loader = make_loaders(images, recipe)["train"]
    started = 0.0
    for i, (pixels, targets, _) in enumerate(loader):
        if i == WARM + TIMED:
            break
        started = time.perf_counter() if i == WARM else started
        with torch.autocast("cpu", torch.bfloat16, enabled=recipe.precision == "bf16"):
            loss = module.loss_of(module.to_images(pixels), targets)
        loss.backward()
    seconds = time.perf_counter() - started
    network.zero_grad()
    return VALIDATION * seconds / TIMED * len(loader)


def compare(
    name: str,
    peer: str,
    make_peer: MakePeer,
    open_data: Callable[..., Data],
    *,
    recipe: str,
    metric: str,
    more: Callable[[TrainingResult], dict[str, Any]] = lambda result: {},
    description: str | None = None,
) -> None:
    """The command: train both, compare their results, and write results/NAME.json."""
    ours = "mobilevitv2"
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("data")
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--width", type=float, default=0.5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--only", choices=[ours, peer])
    parser.add_argument("--out", type=Path, default=Path("runs") / name)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    given = {"seed": options.seed, "threads": options.threads, "precision": options.precision}
    settings = Recipe.load(recipe, **given)
    data = open_data(options.data, seed=options.seed)
    goal = goal_for(data)

    def make(which: str) -> nn.Module:
        if which == ours:
            return from_scratch(goal, options.width, settings, goal.image_size(settings))
        torch.manual_seed(options.seed)
        return make_peer(len(data.classes))

    for which in [options.only] if options.only else (ours, peer):
        out = options.out / f"{which}-{options.seed}"
        if (out / "result.json").is_file():
            continue
        epochs = round(60 * options.minutes / seconds_an_epoch(make(which), data, settings))
        network = make(which)  # fresh, as if no step had been taken
        result = fit(network, data, settings.with_(epochs=max(epochs, 1)), out)
        row = {
            "model": which,
            "parameters": sum(p.numel() for p in network.parameters()),
            "seed": options.seed,
            metric: result.score,
            **more(result),
            "best epoch": result.best_epoch,
            "epochs": len(result.history),
            "minutes": result.seconds / 60,
            "threads": options.threads,
            "precision": options.precision,
        }
        (out / "result.json").write_text(json.dumps(row))
    rows = [json.loads(p.read_text()) for p in sorted(options.out.glob("*/result.json"))]
    title = f"From scratch on {Path(options.data).name}, the same recipe and about the same time"
    report(name, title, rows)
