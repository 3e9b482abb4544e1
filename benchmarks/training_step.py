"""Time and memory of one training step: ours, timm's and transformers'.

    python benchmarks/training_step.py [--width 1.0] [--batch 16] [--threads 2] [--rounds 5]

Times are measured interleaved in one process: first as it is, then with freed memory kept, as
`train` does. Memory is the peak that a step adds to a fresh process, where nothing is kept.
"""

import argparse
from collections.abc import Callable

import torch
import torch.nn.functional as F
from measure import interleaved, median, peak_memory, report
from networks import PEERS, make

from mobilevitv2.training.memory import kept_memory


def step(name: str, width: float, batch: int) -> Callable[[], None]:
    """Forward, cross-entropy, backward, in training mode."""
    network = make(name, width).train()
    images, labels = torch.rand(batch, 3, 256, 256), torch.randint(0, 1000, (batch,))

    def call() -> None:
        F.cross_entropy(network(images), labels).backward()
        network.zero_grad(set_to_none=True)

    return call


def main() -> None:
    """Measure at 256 px, fp32."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    memory = {name: peak_memory(step, name, options.width, options.batch) for name in PEERS}
    steps = {name: step(name, options.width, options.batch) for name in PEERS}
    times = interleaved(steps, options.rounds)
    with kept_memory():
        kept = interleaved(steps, options.rounds)
    rows = [
        {
            "model": name,
            "median ms": median(values),
            "min ms": min(values),
            "memory kept, median ms": median(kept[name]),
            "peak MiB": memory[name],
            "ours is x times as fast": median(values) / median(times["mobilevitv2"]),
            "ours needs x of the memory": memory["mobilevitv2"] / memory[name],
        }
        for name, values in times.items()
    ]
    title = f"Training step, width {options.width}, batch {options.batch}, 256 px, fp32"
    report("training_step", title, rows)


if __name__ == "__main__":
    main()
