"""Time of one forward pass in eager PyTorch: ours, timm's and transformers'.

python benchmarks/inference.py [--width 1.0] [--threads 2] [--rounds 20]
"""

import argparse
from functools import partial
from typing import Any

import torch
from measure import interleaved, median, report
from networks import PEERS, make

from mobilevitv2.benchmark.contenders import Logits
from mobilevitv2.deploy import fuse


def main() -> None:
    """Measure batches of 1 and 16 at 256 px, fp32."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    networks = {name: make(name, options.width).eval() for name in PEERS}
    model: Any = make("mobilevitv2", options.width).eval()
    networks["mobilevitv2, fused"] = Logits(fuse(model.model, 256))
    rows = []
    with torch.inference_mode():
        for batch, rounds in ((1, options.rounds), (16, max(3, options.rounds // 5))):
            images = torch.rand(batch, 3, 256, 256)
            calls = {name: partial(network, images) for name, network in networks.items()}
            times = interleaved(calls, rounds)
            best_timm = min(median(times["timm"]), median(times["timm channels_last"]))
            ours = median(times["mobilevitv2"])
            for name, values in times.items():
                rows.append(
                    {
                        "batch": batch,
                        "model": name,
                        "median ms": median(values),
                        "min ms": min(values),
                        "max ms": max(values),
                        "ours is x times as fast": median(values) / ours,
                        "best timm / this": best_timm / median(values),
                    }
                )
    report("inference", f"Forward pass, width {options.width}, 256 px, fp32, eager", rows)


if __name__ == "__main__":
    main()
