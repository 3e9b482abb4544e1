"""Every installed runtime with our export, timm's and transformers', 256 px, random weights.

python benchmarks/runtimes.py [--width 1.0] [--threads 2] [--rounds 30]
"""

import argparse
import tempfile
from pathlib import Path

import torch
from measure import report
from networks import save

from mobilevitv2 import MobileViTImageProcessor
from mobilevitv2.benchmark.run import benchmark


def main() -> None:
    """Measure batches of 1 and 8; a row per contender."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        save("mobilevitv2", options.width, Path(folder))
        processor = MobileViTImageProcessor(do_flip_channel_order=False)
        processor.save_pretrained(folder)
        result = benchmark(
            Path(folder),
            image_size=256,
            threads=options.threads,
            rounds=options.rounds,
            peers=True,
        )
    ours = {
        (t.runtime, t.precision, t.batch): t.median_ms
        for t in result.timings
        if t.model == "mobilevitv2"
    }
    ours |= {("PyTorch", "fp32", b): ours["PyTorch, fused", "fp32", b] for b in (1, 8)}
    rows = [
        {
            "batch": t.batch,
            "runtime": t.runtime,
            "precision": t.precision,
            "model": t.model,
            "median ms": t.median_ms,
            "min ms": t.fastest_ms,
            "ours is x times as fast": t.median_ms
            / ours[t.runtime.removesuffix(", channels_last"), t.precision, t.batch],
        }
        for t in sorted(result.timings, key=lambda t: (t.batch, t.runtime, t.precision, t.model))
    ]
    report("runtimes", f"Width {options.width}, 256 px, {options.threads} threads", rows)


if __name__ == "__main__":
    main()
