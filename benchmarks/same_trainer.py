"""Accuracy of our network and timm's from scratch, with the same trainer, recipe and seed.

    python benchmarks/same_trainer.py ../shared/data/flowers [--width 0.5] [--seed 0] [--threads 2]
        [--only mobilevitv2 | timm] [--out runs/same_trainer]

timm's network keeps its own initialization. Finished runs aren't trained again, and stopped ones
resume.
"""

import argparse
import json
from pathlib import Path

import torch
from measure import report
from networks import make

from mobilevitv2.data import open_classification
from mobilevitv2.training import Recipe, fit


def main() -> None:
    """Train both and compare their results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data")
    parser.add_argument("--width", type=float, default=0.5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--only", choices=["mobilevitv2", "timm"])
    parser.add_argument("--out", type=Path, default=Path("runs/same_trainer"))
    options = parser.parse_args()
    changes = {} if options.epochs is None else {"epochs": options.epochs}
    recipe = Recipe.load("default", seed=options.seed, threads=options.threads, **changes)
    data = open_classification(options.data, seed=options.seed)
    for name in [options.only] if options.only else ["mobilevitv2", "timm"]:
        out = options.out / f"{name}-{options.seed}"
        if (out / "result.json").is_file():
            continue
        torch.manual_seed(options.seed)
        network = make(name, options.width, len(data.classes))
        result = fit(network, data, recipe, out, resume=(out / "checkpoints").is_dir())
        row = {
            "model": name,
            "seed": options.seed,
            "best accuracy": result.score,
            "best epoch": result.best_epoch,
            "last accuracy": result.history[-1]["val_accuracy"],
            "epochs": len(result.history),
            "minutes": result.seconds / 60,
            "threads": options.threads,
        }
        (out / "result.json").write_text(json.dumps(row))
    rows = [json.loads(p.read_text()) for p in sorted(options.out.glob("*/result.json"))]
    title = f"From scratch on {Path(options.data).name}, width {options.width}, the same recipe"
    report("same_trainer", title, rows)


if __name__ == "__main__":
    main()
