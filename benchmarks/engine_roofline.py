"""Where the native engine's time goes: each part against the least time for its products.

python benchmarks/engine_roofline.py [--width 1.0] [--size 256] [--threads 2] [--picture FILE.png]

The floor of a part is its multiply-adds at the speed of multiplications in registers alone,
measured just before on the same processor. The rest is activations, filters, norms, memory and
threads.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import matplotlib
from engine import save
from measure import report

from mobilevitv2.runtime.native import PRECISIONS, NativeRuntime, instructions_for

matplotlib.use("Agg")
from matplotlib import pyplot

COLORS = {"products": "#3b6ea5", "the rest": "#d9a441"}


def profile(bundle: Path, precision: Any, size: int, threads: int) -> list[dict[str, Any]]:
    """A row per part of the network."""
    runtime = NativeRuntime(bundle, threads=threads, precision=precision)
    found = runtime.profile(size, size, rounds=60)
    rows = []
    for part in found["parts"]:
        floor = part["multiply_adds"] / found["peak"] / threads
        row = {"precision": precision, "instructions": runtime.instructions, "part": part["name"]}
        row |= {"GMAC": part["multiply_adds"] / 1e9, "floor [ms]": floor * 1e3}
        rows.append(row | {"ms": part["seconds"] * 1e3, "floor / ms": floor / part["seconds"]})
    return rows


def draw(rows: list[dict[str, Any]], title: str, file: Path) -> None:
    """Bars for all parts, a panel per precision."""
    kinds = list(dict.fromkeys(row["precision"] for row in rows))
    figure, panels = pyplot.subplots(1, len(kinds), figsize=(4.2 * len(kinds), 4.2), squeeze=False)
    for panel, kind in zip(panels[0], kinds, strict=True):
        mine = [row for row in rows if row["precision"] == kind]
        places = range(len(mine))
        floors = [row["floor [ms]"] for row in mine]
        rest = [max(row["ms"] - row["floor [ms]"], 0) for row in mine]
        panel.barh(places, floors, color=COLORS["products"], label="products, at the peak")
        panel.barh(places, rest, left=floors, color=COLORS["the rest"], label="the rest")
        panel.set_yticks(places, [row["part"] for row in mine] if panel is panels[0][0] else [])
        panel.invert_yaxis()
        total, floor = sum(row["ms"] for row in mine), sum(floors)
        panel.set_title(
            f"{kind}: products are {100 * floor / total:.0f} % of the time", fontsize=10
        )
        panel.set_xlabel("ms")
        panel.spines[["top", "right"]].set_visible(False)
    panels[0][-1].legend(fontsize=8, frameon=False, loc="lower right")
    figure.suptitle(title, fontsize=11)
    figure.tight_layout()
    figure.savefig(file, dpi=110)


def main() -> None:
    """Measure, report and draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--picture", type=Path, default=Path("docs/pictures/engine.png"))
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        bundle = save(options.width, Path(folder))
        for precision in PRECISIONS:
            if instructions_for(precision):
                rows += profile(bundle, precision, options.size, options.threads)
    title = f"Width {options.width}, {options.size} px, {options.threads} threads"
    report("engine_roofline", title, rows)
    draw(rows, title, options.picture)


if __name__ == "__main__":
    main()
