"""Eager PyTorch of two versions of this package: a forward pass and a training step of each.

    git worktree add ../before v0.1.0
    python benchmarks/two_versions.py ../before/src [--width 1.0] [--threads 2] [--rounds 15]

Each version runs in a process of its own, since they have one name; the processes take turns.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

from measure import median, report

WORKER = """
import sys, time
import torch
import torch.nn.functional as F
from mobilevitv2 import MobileViTV2Config, MobileViTV2ForImageClassification

width, threads = float(sys.argv[1]), int(sys.argv[2])
torch.set_num_threads(threads)
torch.manual_seed(0)
config = MobileViTV2Config(width_multiplier=width, num_labels=1000)
network = MobileViTV2ForImageClassification(config)
given = {batch: torch.rand(batch, 3, 256, 256) for batch in (1, 16)}

def forward(batch):
    with torch.inference_mode():
        network.eval()(given[batch])

def step(batch):
    labels = torch.zeros(batch, dtype=torch.long)
    F.cross_entropy(network.train()(given[batch]).logits, labels).backward()
    network.zero_grad(set_to_none=True)

for line in sys.stdin:
    what, batch = line.split()
    call = {"forward": forward, "step": step}[what]
    start = time.perf_counter()
    call(int(batch))
    print(1e3 * (time.perf_counter() - start), flush=True)
"""
CASES = ("forward 1", "forward 16", "step 1", "step 16")


def main() -> None:
    """Measure at 256 px, fp32."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("before", type=Path, help="The src folder of the other version.")
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    sources = {"before": options.before, "now": Path(__file__).parent.parent / "src"}
    workers = {
        name: subprocess.Popen(
            [sys.executable, "-c", WORKER, str(options.width), str(options.threads)],
            env=os.environ | {"PYTHONPATH": str(source.resolve())},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name, source in sources.items()
    }

    def ask(name: str, case: str) -> float:
        worker = workers[name]
        assert worker.stdin is not None
        assert worker.stdout is not None
        print(case, file=worker.stdin, flush=True)
        return float(worker.stdout.readline())

    rows = []
    for case in CASES:
        for name in workers:
            ask(name, case)  # to warm up
        times: dict[str, list[float]] = {name: [] for name in workers}
        for i in range(options.rounds):
            for name in list(workers)[:: 1 if i % 2 else -1]:
                times[name].append(ask(name, case))
        before, now = median(times["before"]), median(times["now"])
        what, batch = case.split()
        rows.append(
            {"": f"{what}, batch {batch}", "before ms": before, "now ms": now}
            | {"now is x times as quick": before / now}
        )
    for worker in workers.values():
        worker.communicate()
    report("two_versions", f"Two versions, eager, width {options.width}", rows)


if __name__ == "__main__":
    main()
