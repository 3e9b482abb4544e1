"""Writes the figures in benchmarks/results/*.json into the README and docs/benchmarks.md.

    python benchmarks/readme.py

Each stands between `<!-- measured: NAME -->` and `<!-- end of measured -->`, where NAME is a
function of this module. Every figure has one source: the engine, onnxruntime and OpenVINO are
those of engine.json, eager PyTorch those of inference.json and training_step.json. runtimes.json
was measured on a busier machine than engine.json, so only its ratios are published.
"""

import json
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"
PAPERS = ("README.md", "docs/benchmarks.md")
BLOCK = re.compile(r"(<!-- measured: (\w+) -->\n).*?(<!-- end of measured -->)", re.DOTALL)

PROCESSORS = {"AMD EPYC": "an AMD EPYC (Zen 4: AVX-512 with bf16 and int8, no AMX)"}
CONTENDERS = {  # of engine.json: what it runs, and in which precision
    "engine fp32 avx512": "engine, fp32",
    "engine fp32 avx2": "engine, fp32, held to AVX2",
    "engine bf16 avx512-bf16": "engine, bf16",
    "engine int8 avx512-int8": "engine, int8",
    "engine int8 avx2-int8": "engine, int8, held to AVX2",
    "onnxruntime fp32, timm": "onnxruntime, fp32, timm's export",
    "onnxruntime fp32, ours": "onnxruntime, fp32, our export",
    "OpenVINO fp32, timm": "OpenVINO, fp32, timm's export",
    "OpenVINO fp32, ours": "OpenVINO, fp32, our export",
    "OpenVINO bf16, timm": "OpenVINO, bf16, timm's export",
    "OpenVINO bf16, ours": "OpenVINO, bf16, our export",
}


def main() -> None:
    """Fill every block of every paper."""
    for paper in PAPERS:
        path = ROOT / paper
        path.write_text(filled(path.read_text()))


def filled(text: str) -> str:
    """A paper with the current figures in its blocks. Raises KeyError for an unknown block."""
    return BLOCK.sub(lambda m: f"{m[1]}{BLOCKS[m[2]]()}\n{m[3]}", text)


@cache
def load(name: str, *, machine: bool = True) -> dict[str, Any]:
    """One results file. Raises ValueError if it comes from another `machine` than the others."""
    result = json.loads((RESULTS / f"{name}.json").read_text())
    known = json.loads((RESULTS / "engine.json").read_text())["machine"]
    if machine and any(result["machine"][key] != known[key] for key in ("cpu", "versions")):
        raise ValueError(f"{name}.json and engine.json come from different machines or versions.")
    return result


def rows_of(name: str) -> list[dict[str, Any]]:
    """The rows of a results file."""
    return load(name)["rows"]


def by(name: str, column: str, value: str) -> dict[str, Any]:
    """One column of a results file by another."""
    return {row[column]: row[value] for row in rows_of(name)}


def ms(value: float) -> str:
    """Milliseconds to three digits."""
    return f"{value:,.0f} ms" if value >= 100 else f"{value:.1f} ms"


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def spread(values: list[float]) -> str:
    """The least and the largest of some ratios."""
    return f"{min(values):.2f} to {max(values):.2f}"


def machine() -> str:
    """What all figures were measured on, and with."""
    about = load("engine")["machine"]
    used = [f"{name} {version}" for name, version in about["versions"].items()]
    versions = ", ".join(
        dict.fromkeys([*used, *by("detection_latency", "how", "version").values()])
    )
    return (
        f"Measured on {PROCESSORS[about['cpu']]}, a virtual machine shared with other work, with "
        f"{about['threads']} threads unless stated otherwise; Python {about['python']}, "
        f"{versions}. Machines differ and are noisy: compare the ratios."
    )


def speed() -> str:
    """The README's table: what people use now, beside this package."""
    engine = {
        row["contender"]: row["ms"]
        for row in rows_of("engine")
        if row["width"] == 1.0 and row["batch"] == 1
    }
    eager, step = forward(1), timed_steps("median ms")
    first = by("first_answer", "", "median s")
    boxes = by("detection_latency", "how", "median ms")
    compared = [
        ("one image, fp32", "onnxruntime, timm's export", engine["onnxruntime fp32, timm"],
         "engine", engine["engine fp32 avx512"]),
        ("one image, fp32", "OpenVINO, timm's export", engine["OpenVINO fp32, timm"],
         "engine", engine["engine fp32 avx512"]),
        ("one image, bf16", "OpenVINO, timm's export", engine["OpenVINO bf16, timm"],
         "engine", engine["engine bf16 avx512-bf16"]),
        ("one image, int8 (OpenVINO: bf16)", "OpenVINO, timm's export",
         engine["OpenVINO bf16, timm"], "engine", engine["engine int8 avx512-int8"]),
        ("one image, eager PyTorch", "timm", eager["timm"], "PyTorch", eager["mobilevitv2"]),
        ("one image, eager PyTorch", "transformers", eager["transformers"],
         "PyTorch", eager["mobilevitv2"]),
        ("training step of 16 images", "timm", step["timm"], "PyTorch", step["mobilevitv2"]),
        ("training step of 16 images", "transformers", step["transformers"],
         "PyTorch", step["mobilevitv2"]),
        ("boxes in one image, 320 px, width 0.5", "torchvision's SSDLite", boxes["torchvision"],
         "PyTorch", boxes["PyTorch"]),
    ]  # fmt: skip
    rows = [
        [what, peer, ms(theirs), ours, ms(mine), f"{theirs / mine:.2f}x"]
        for what, peer, theirs, ours, mine in compared
    ]
    for peer in ("timm", "transformers"):
        times = first[peer] / first["mobilevitv2"]
        cells = [f"{first[peer]:.1f} s", "engine", f"{first['mobilevitv2']:.2f} s", f"{times:.1f}x"]
        rows.append(["process start to first label", peer, *cells])
    about = load("engine")["machine"]
    title = (
        f"Width 1.0 at 256 px unless stated otherwise, {about['threads']} threads of "
        f"{PROCESSORS[about['cpu']]}:"
    )
    head = ["", "what people use now", "", "mobilevitv2", "", "speedup"]
    return f"{title}\n\n{table(head, rows)}"


def engine() -> str:
    """The native engine beside onnxruntime and OpenVINO."""
    found = {(r["width"], r["batch"], r["contender"]): r["ms"] for r in rows_of("engine")}
    rows = []
    for name, shown in CONTENDERS.items():
        cells = [shown]
        for width in (1.0, 0.5):
            cells += [ms(found[width, 1, name]), f"{8e3 / found[width, 8, name]:.0f}"]
        rows.append(cells)
    head = [
        "",
        "width 1.0, batch 1",
        "images/s, batch 8",
        "width 0.5, batch 1",
        "images/s, batch 8",
    ]
    sizes = sorted({(width, batch) for width, batch, _ in found})

    def lead(theirs: str, ours: str) -> str:
        """How many times as fast ours is, over widths and batches."""
        return spread([found[*at, theirs] / found[*at, ours] for at in sizes])

    onnx, openvino = "onnxruntime fp32, timm", "OpenVINO bf16, timm"
    text = (
        "Speedups over these widths and batches, each on timm's export: the engine's fp32 over "
        "onnxruntime "
        f"{lead(onnx, 'engine fp32 avx512')}, its bf16 over OpenVINO's bf16 "
        f"{lead(openvino, 'engine bf16 avx512-bf16')}, its int8 over OpenVINO's bf16 "
        f"{lead(openvino, 'engine int8 avx512-int8')}. Held to AVX2, the "
        f"engine's fp32 is {lead(onnx, 'engine fp32 avx2')} and its int8 "
        f"{lead(onnx, 'engine int8 avx2-int8')} times as fast as onnxruntime with AVX-512."
    )
    return f"{table(head, rows)}\n\n{text}"


def engine_more() -> str:
    """The engine after a rest, on a busy machine, at other widths and sizes, and its memory."""
    crowds = rows_of("engine_crowds")

    def ratios(column: str, prefix: str) -> str:
        return spread([r[column] for r in crowds if r["contender"].startswith(prefix)])

    sizes = rows_of("engine_sizes")

    def cost(precision: str, widths: Callable[[float], bool] = lambda width: True) -> str:
        mine = [r for r in sizes if r["precision"] == precision and widths(r["width"])]
        return spread([r["against 1.0 at 256"] for r in mine])

    memory = rows_of("engine_memory")
    kept = ", ".join(f"{r['kept weights [MiB]']:.1f} MiB in {r['precision']}" for r in memory)
    run = ", ".join(f"{r['a run [MiB]']:.0f} MiB in {r['precision']}" for r in memory)
    return "\n".join(
        [
            "- **After a rest** of 100 ms a call takes "
            f"{ratios('rested / in a row', 'engine')} times as long as one in a row.",
            "- **Beside two processes that take all the time they get**, the engine takes "
            f"{ratios('busy / quiet', 'engine')} times as long, onnxruntime "
            f"{ratios('busy / quiet', 'onnxruntime')}, OpenVINO "
            f"{ratios('busy / quiet', 'OpenVINO')}.",
            "- **Other widths and sizes**: seven widths from 0.5 to 2.0 at 224x224 to 384x384 and "
            "500x333 px. Time per multiply-add, relative to width 1.0 at 256 px measured in turn "
            f"with it: fp32 {cost('fp32')}, bf16 {cost('bf16')}, int8 "
            f"{cost('int8', lambda width: width > 0.5)} from width 0.75 on and "
            f"{cost('int8', lambda width: width == 0.5)} at 0.5.",
            f"- **Memory**: a bundle of {memory[0]['file [MiB]']:.1f} MiB takes {kept}. A run "
            f"of one image adds {run}.",
        ]
    )


def roofline() -> str:
    """How much of the engine's time is multiplications at the processor's peak."""
    shares = []
    for precision in dict.fromkeys(row["precision"] for row in rows_of("engine_roofline")):
        mine = [r for r in rows_of("engine_roofline") if r["precision"] == precision]
        share = sum(r["floor [ms]"] for r in mine) / sum(r["ms"] for r in mine)
        shares.append(f"{100 * share:.0f} % in {precision}")
    return (
        "The floor of a part is its multiply-adds at the speed of multiplications in registers "
        "alone; the rest is activations, 3x3 filters, norms, memory and threads. The floor's share "
        f"of the whole time is {', '.join(shares)}."
    )


def exports() -> str:
    """Our export in each runtime beside the peers': ratios alone, see this module's docstring."""
    found = {
        (r["runtime"], r["precision"], r["model"]): r["median ms"]
        for r in rows_of("runtimes")
        if r["batch"] == 1
    }
    rows = []
    for runtime, precision in dict.fromkeys(
        (runtime, precision) for runtime, precision, _ in found
    ):
        if runtime.startswith("PyTorch"):
            continue
        ours = found[runtime, precision, "mobilevitv2"]
        peers = [found[runtime, precision, peer] / ours for peer in ("timm", "transformers")]
        shown = {"ONNX": "onnxruntime", "ExecuTorch": "ExecuTorch with XNNPACK"}.get(
            runtime, runtime
        )
        rows.append([f"{shown}, {precision}", "1.00", *(f"{ratio:.2f}" for ratio in peers)])
    return table(["", "our export", "timm's", "transformers'"], rows)


def pytorch() -> str:
    """Forward passes and training steps in eager PyTorch."""
    kinds = [
        ("forward pass, batch 1", forward(1), ms),
        ("forward pass, batch 16", forward(16), ms),
        ("training step, batch 16", timed_steps("median ms"), ms),
        ("the same, freed memory kept, as `train` does", timed_steps("memory kept, median ms"), ms),
        ("peak memory of that step", timed_steps("peak MiB"), lambda value: f"{value:,.0f} MiB"),
    ]
    rows = []
    for name, values, shown in kinds:
        ours = values["mobilevitv2"]
        peers = [values["timm"], values["transformers"]]
        cells = [f"{shown(value)} ({value / ours:.2f}x)" for value in peers]
        rows.append([name, shown(ours), *cells])
    return table(["", "mobilevitv2", "timm, its better memory format", "transformers"], rows)


def forward(batch: int) -> dict[str, float]:
    """Milliseconds of a forward pass by library."""
    rows = [row for row in rows_of("inference") if row["batch"] == batch]
    return better_format({row["model"]: row["median ms"] for row in rows})


def timed_steps(column: str) -> dict[str, float]:
    """A column of the training step's by library."""
    return better_format(by("training_step", "model", column))


def better_format(values: dict[str, float]) -> dict[str, float]:
    """With timm's better memory format as timm's."""
    return values | {"timm": min(values["timm"], values["timm channels_last"])}


def sizes() -> str:
    """The cost of a pixel in large images."""
    largest = max(row["px"] for row in rows_of("image_size"))
    grown = {r["model"]: r["time, of 256 px"] for r in rows_of("image_size") if r["px"] == largest}
    return (
        f"At {largest} px a pixel takes {grown['mobilevitv2']:.2f} times as long as at 256 px; in "
        f"timm's MobileViTv2 {grown['timm']:.2f} times, in MobileViT version 1 "
        f"{grown['mobilevit_s']:.2f} times."
    )


def from_start() -> str:
    """Whole processes and whole folders."""
    first = by("first_answer", "", "median s")
    photos = by("folder", "", "photos/s")
    return (
        f"From process start to the first label: {first['mobilevitv2']:.2f} s in the engine, "
        f"{first['mobilevitv2, onnxruntime']:.2f} s in onnxruntime, timm's shortest script "
        f"{first['timm']:.1f} s, transformers' {first['transformers']:.1f} s "
        f"(`first_answer.py`). {load('folder')['title']}: `Predictor` in onnxruntime "
        f"{photos['Predictor']:.1f} photos a second, bare onnxruntime with Pillow "
        f"{photos['bare onnxruntime and Pillow']:.1f} (`folder.py`)."
    )


def classification() -> str:
    """Training from scratch in the same trainer, and reduced precision."""
    accuracy = by("same_trainer", "model", "best accuracy")
    lines = [
        f"From scratch on 1,500 flowers, width 0.5: {percent(accuracy['mobilevitv2'])}; timm's "
        f"network in the same trainer, with the same recipe and seed, {percent(accuracy['timm'])} "
        "(`same_trainer.py`).",
        "",
        "PyTorch's autocast against fp32, the same best class on a trained classifier "
        "(`precision.py`):",
        "",
    ]
    rows = [
        [row["autocast"], f"{row['count']:,} {row['images']}", f"{row['same best class, %']:.1f} %",
         str(row["not finite"]), f"{row['largest difference']:.4f}"]
        for row in rows_of("precision")
    ]  # fmt: skip
    head = ["", "images", "same class", "not finite", "largest difference of a logit"]
    return "\n".join(lines) + "\n" + table(head, rows)


def labels() -> str:
    """Multi-label classifiers: training from scratch."""
    rows = load("camvid_labels", machine=False)["rows"]
    found = {row["model"]: row["mAP"] for row in rows}
    return (
        "From scratch on CamVid's 180 street scenes, which of 11 classes are in them, width 0.5, "
        f"{rows[-1]['minutes']:.0f} minutes on 1 busy core of an Intel Xeon with AMX: mAP "
        f"{percent(found['mobilevitv2'])}; timm's network in the same trainer "
        f"{percent(found['timm'])}; naming every class everywhere {percent(found['guess'])} "
        "(`camvid_labels.py`)."
    )


def segmentation() -> str:
    """Segmenters: training from scratch, a step, and a large photo."""
    streets = {row["model"]: row for row in rows_of("camvid")}
    ours, peer = streets["mobilevitv2"], streets["lraspp_mobilenet_v3_large"]
    steps = []
    for head, name in (("deeplabv3", "DeepLabV3"), ("pspnet", "PSPNet")):
        values = [
            better_format(by(f"segmentation_step_{head}", "backbone", column))
            for column in ("median ms", "peak MiB")
        ]
        time, memory = (each["mobilevitv2"] / each["timm"] for each in values)
        steps.append(f"{time:.2f} of the time and {memory:.2f} of the memory with {name}")
    photo = by("large_image", "seen at", "peak MiB")
    return "\n".join(
        [
            "- From scratch on CamVid's 180 street scenes, width 0.5, "
            f"{ours['minutes']:.0f} minutes on {ours['threads']} busy core: mean IoU "
            f"{ours['mIoU']:.3f} over 11 classes; torchvision's LRASPP with MobileNetV3 "
            f"{peer['mIoU']:.3f} after {peer['minutes']:.0f} minutes of the same crops "
            "(`camvid.py`).",
            f"- A training step takes {', '.join(steps)}, relative to the same head on timm's "
            "backbone (`segmentation_step.py`).",
            f"- A photo of 4,000x3,000 px takes {photo['short side 512 px']:,.0f} MiB above the "
            f"idle process; seen at its own size {photo['its own size']:,.0f} MiB, through windows "
            f"of 512 px {photo['its own size, windows of 512 px']:,.0f} MiB (`large_image.py`).",
        ]
    )


def detection() -> str:
    """Detectors beside torchvision's SSDLite: from scratch for the same time, and latency."""
    rows = {row["model"]: row for row in rows_of("bccd")}
    ours, peer = rows["mobilevitv2"], rows["ssdlite320_mobilenet_v3_large"]
    text = (
        "From scratch on 205 pictures of blood cells (BCCD), width 0.5, 320 px, "
        f"{ours['minutes']:.0f} minutes on {ours['threads']} busy core: mAP@0.5 "
        f"{percent(ours['mAP@0.5'])}, mAP {percent(ours['mAP'])}; torchvision's SSDLite with "
        f"MobileNetV3 after {peer['minutes']:.0f} minutes in the same trainer "
        f"{percent(peer['mAP@0.5'])} and {percent(peer['mAP'])} (`bccd.py`).\n\n"
        "From prepared pixels to boxes, one image of 320 px, width 0.5, 80 classes "
        "(`detection_latency.py`):\n\n"
    )
    latency = by("detection_latency", "how", "median ms")
    theirs = latency["torchvision"]
    names = {name: name for name in latency} | {
        "torchvision": "torchvision's SSDLite",
        "torchvision, its transform too": "torchvision's SSDLite, its transform too",
    }
    cells = [[names[name], ms(value), f"{theirs / value:.2f}x"] for name, value in latency.items()]
    return text + table(["", "time", "as fast as torchvision"], cells)


def percent(share: float) -> str:
    """A share in percent."""
    return f"{100 * share:.1f} %"


BLOCKS: dict[str, Callable[[], str]] = {
    block.__name__: block
    for block in (
        machine, speed, engine, engine_more, roofline, exports, pytorch, sizes, from_start,
        classification, labels, segmentation, detection,
    )
}  # fmt: skip


if __name__ == "__main__":
    main()
