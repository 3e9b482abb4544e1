"""Cost of a forward pass by image size: time and memory per pixel; ours, timm's, MobileViT v1.

    python benchmarks/image_size.py [--width 1.0] [--threads 2] [--rounds 5]

MobileViT's attention grows with the square of the number of pixels, MobileViTv2's doesn't.
"""

import argparse
from collections.abc import Callable

import torch
from matplotlib.figure import Figure
from measure import RESULTS, interleaved, median, peak_memory, report
from networks import make

NAMES = ("mobilevitv2", "timm", "mobilevit_s")
SIZES = (256, 384, 512, 768, 1024)


def forward(name: str, width: float, size: int) -> Callable[[], None]:
    """One square image, `size` px wide, through a network in inference mode."""
    network, image = make(name, width).eval(), torch.rand(1, 3, size, size)

    def call() -> None:
        with torch.inference_mode():
            network(image)

    return call


def main() -> None:
    """Measure, print, plot."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    calls = {(name, s): forward(name, options.width, s) for name in NAMES for s in SIZES}
    labeled = {f"{name} {size}": call for (name, size), call in calls.items()}
    times = interleaved(labeled, options.rounds)
    rows = []
    for name in NAMES:
        for size in SIZES:
            megapixels = size**2 / 1e6
            rows.append(
                {
                    "model": name,
                    "px": size,
                    "ms": median(times[f"{name} {size}"]),
                    "ms per megapixel": median(times[f"{name} {size}"]) / megapixels,
                    "MiB per megapixel": peak_memory(forward, name, options.width, size)
                    / megapixels,
                }
            )
    for row in rows:
        first = next(r for r in rows if r["model"] == row["model"])
        row["time, of 256 px"] = row["ms per megapixel"] / first["ms per megapixel"]
        row["memory, of 256 px"] = row["MiB per megapixel"] / first["MiB per megapixel"]
    report("image_size", f"Cost by image size, width {options.width}, batch 1, fp32", rows)
    plot(rows)


def plot(rows: list[dict]) -> None:
    """results/image_size.png: growth of a pixel's time, and its memory, over the image's side."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    for axes, column in zip(
        figure.subplots(1, 2), ("time, of 256 px", "MiB per megapixel"), strict=True
    ):
        for name in NAMES:
            points = [row for row in rows if row["model"] == name]
            axes.plot([p["px"] for p in points], [p[column] for p in points], "o-", label=name)
        label = column.replace("time, of 256 px", "time per pixel, relative to 256 px")
        axes.set(xlabel="image side, px", ylabel=label, ylim=(0, None))
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    figure.axes[0].legend(frameon=False)
    figure.savefig(RESULTS / "image_size.png", dpi=150)


if __name__ == "__main__":
    main()
