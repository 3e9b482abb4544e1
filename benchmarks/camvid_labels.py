"""mAP of the things in street scenes: our network and timm's, from scratch, with one recipe.

    python benchmarks/camvid_labels.py ../shared/data/camvid [--width 0.5] [--seed 0] [--threads 1]
        [--only mobilevitv2 | timm] [--out runs/camvid_labels]

The table of labels is made from the masks: an image shows a class that covers at least 1 % of it.
The split is CamVid's own. `guess` is the mAP of naming every class in every image. Finished runs
aren't trained again, and stopped ones resume.
"""

import argparse
import csv
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import report
from networks import make
from PIL import Image

from mobilevitv2.data import open_multi_label, open_segmentation
from mobilevitv2.training import Recipe, fit

SHOWN = 0.01  # share of the pixels
SIZE = (240, 180)  # px


def write_table(source: str, out: Path) -> Path:
    """The scenes, reduced, and labels.csv with a column for each class."""
    scenes = open_segmentation(source)
    out.mkdir(parents=True, exist_ok=True)
    lines = [["file", "split", *scenes.classes]]
    for split, samples in scenes.splits.items():
        for image, mask in samples:
            pixels = scenes.read_mask(mask)
            counts = np.bincount(pixels.ravel(), minlength=256)[: len(scenes.classes)]
            name = f"{Path(image).stem}.jpg"
            Image.open(image).convert("RGB").resize(SIZE).save(out / name, quality=90)
            lines.append([name, split, *(counts >= SHOWN * pixels.size).astype(int).astype(str)])
    with (out / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows(lines)
    return out


def main() -> None:
    """Train both and compare their results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data")
    parser.add_argument("--width", type=float, default=0.5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--only", choices=["mobilevitv2", "timm"])
    parser.add_argument("--out", type=Path, default=Path("runs/camvid_labels"))
    options = parser.parse_args()
    changes = {} if options.epochs is None else {"epochs": options.epochs}
    recipe = Recipe.load("multi_label", seed=options.seed, threads=options.threads, **changes)
    data = open_multi_label(write_table(options.data, options.out / "scenes"))
    shares = np.mean([labels for _, labels in data.val], axis=0)
    guess = {"model": "guess", "mAP": shares[shares > 0].mean()}
    rows: list[dict[str, Any]] = [guess | dict.fromkeys(("best epoch", "epochs", "minutes"), "")]
    for name in [options.only] if options.only else ["mobilevitv2", "timm"]:
        out = options.out / f"{name}-{options.seed}"
        if not (out / "report.html").is_file():
            torch.manual_seed(options.seed)
            network = make(name, options.width, len(data.classes))
            fit(network, data, recipe, out, resume=(out / "checkpoints").is_dir())
        with (out / "metrics.csv").open() as file:
            epochs = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]
        best = max(epochs, key=lambda row: (row["val_map"], -row["val_loss"]))
        minutes = sum(row["seconds"] for row in epochs) / 60
        row = {"mAP": best["val_map"], "best epoch": int(best["epoch"]), "epochs": len(epochs)}
        rows.append({"model": name, **row, "minutes": minutes})
    title = f"From scratch on CamVid's scenes, width {options.width}, the same recipe"
    report("camvid_labels", title, rows)


if __name__ == "__main__":
    main()
