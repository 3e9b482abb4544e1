"""Writes the figures in benchmarks/results/*.json into the README, between its two markers.

python benchmarks/readme.py
"""

import json
from pathlib import Path
from typing import Any

from measure import RESULTS

README = Path(__file__).parents[1] / "README.md"
MARKERS = ("<!-- measured -->", "<!-- end of measured -->")


def main() -> None:
    """Replace what stands between the markers."""
    text = README.read_text()
    before, rest = text.split(MARKERS[0])
    after = rest.split(MARKERS[1])[1]
    README.write_text("\n".join((before + MARKERS[0], measured(), MARKERS[1] + after)))


def measured() -> str:
    """The tables, as Markdown."""
    inference, step = load("inference"), load("training_step")
    about = inference["machine"]
    versions = ", ".join(f"{k} {v}" for k, v in about["versions"].items() if k != "mobilevitv2")
    rows = [
        (
            "forward pass, batch 1",
            *compared([r for r in inference["rows"] if r["batch"] == 1], "median ms", "ms"),
        ),
        (
            "forward pass, batch 16",
            *compared([r for r in inference["rows"] if r["batch"] == 16], "median ms", "ms"),
        ),
        ("training step, batch 16", *compared(step["rows"], "median ms", "ms")),
        ("memory of that step", *compared(step["rows"], "peak MiB", "MiB")),
        (
            "that step, freed memory kept, as `train` does",
            *compared(step["rows"], "memory kept, median ms", "ms"),
        ),
    ]
    lines = [
        f"Width 1.0, 256 px, fp32, eager PyTorch, {about['threads']} threads of {about['cpu']}; "
        f"{versions}. Machines differ and are noisy: take the ratios. "
        "`benchmarks/` has the scripts, the raw figures and more.",
        "",
        "| | mobilevitv2 | timm, its better memory format | transformers |",
        "|---|---|---|---|",
        *(f"| {' | '.join(row)} |" for row in rows),
        "",
        *engine(),
        "",
        *runtimes(),
        "",
        *trained(),
        "",
        *detection(),
        "",
        "Time for each pixel stays level as images grow, which it does neither in timm's "
        "MobileViTv2 nor in MobileViT version 1:",
        "",
        "![Cost by image size](benchmarks/results/image_size.png)",
    ]
    return "\n".join(lines)


def engine() -> list[str]:
    """The native engine beside the quickest of the other runtimes."""
    rows = load("engine")["rows"]
    ms = {(r["width"], r["batch"], r["contender"]): r["ms"] for r in rows}
    lines = [
        "Bundles in the native engine, ms a call at batch 1 and images a second at batch 8 "
        "(`benchmarks/engine.py`; [more](docs/engine.md)):",
        "",
        "| | width 1.0 | | width 0.5 | |",
        "|---|---|---|---|---|",
    ]
    for name in dict.fromkeys(r["contender"] for r in rows):
        if " avx2" in name or name.endswith("ours"):
            continue
        shown = name.split(" avx")[0].replace(", timm", ", timm's export")
        cells = [
            f"{ms[width, 1, name]:.1f} ms | {8e3 / ms[width, 8, name]:.0f}/s"
            for width in (1.0, 0.5)
        ]
        lines.append(f"| {shown} | {' | '.join(cells)} |")
    return lines


def runtimes() -> list[str]:
    """The same export, and the peers' own, in every runtime, one image at a time."""
    rows = [row for row in load("runtimes")["rows"] if row["batch"] == 1]
    found = {(r["runtime"], r["precision"], r["model"]): r["median ms"] for r in rows}
    lines = [
        "The same in other runtimes, batch 1 (`benchmarks/runtimes.py`):",
        "",
        "| | ours | timm's export | transformers' export |",
        "|---|---|---|---|",
    ]
    for runtime, precision, name in (
        ("ONNX", "fp32", "onnxruntime, fp32"),
        ("OpenVINO", "fp32", "OpenVINO, fp32"),
        ("OpenVINO", "bf16", "OpenVINO, bf16"),
        ("ExecuTorch", "fp32", "ExecuTorch with XNNPACK, fp32"),
    ):
        ours = found.get((runtime, precision, "mobilevitv2"))
        if ours is None:
            continue
        peers = [found.get((runtime, precision, peer)) for peer in ("timm", "transformers")]
        said = ["" if ms is None else f"{ms:,.0f} ms ({ms / ours:.2f}x)" for ms in peers]
        lines.append(f"| {name} | {ours:,.0f} ms | {' | '.join(said)} |")
    first = {row[""]: row["median s"] for row in load("first_answer")["rows"]}
    lines += [
        "",
        f"From process start to the first label: {first['mobilevitv2']:.1f} s, timm's shortest "
        f"script {first['timm']:.1f} s, transformers' {first['transformers']:.1f} s "
        "(`benchmarks/first_answer.py`).",
    ]
    return lines


def trained() -> list[str]:
    """What training from scratch comes to, beside peers in the same trainer."""
    flowers = {row["model"]: row for row in load("same_trainer")["rows"]}
    ours, timm = (flowers[name]["best accuracy"] for name in ("mobilevitv2", "timm"))
    streets = {row["model"]: row for row in load("camvid")["rows"]}
    segmenter, peer = streets["mobilevitv2"], streets["lraspp_mobilenet_v3_large"]
    minutes = segmenter["minutes"]
    step = {row["backbone"]: row for row in load("segmentation_step_deeplabv3")["rows"]}
    quicker = min(step["timm"]["median ms"], step["timm channels_last"]["median ms"])
    leaner = min(step["timm"]["peak MiB"], step["timm channels_last"]["peak MiB"])
    photo = load("large_image")["rows"]
    return [
        f"From scratch on 1,500 flowers, width 0.5: {100 * ours:.1f} %; timm's network in the "
        f"same trainer, with the same recipe and seed, {100 * timm:.1f} % "
        "(`benchmarks/same_trainer.py`).",
        "",
        f"From scratch on CamVid's 180 street scenes, width 0.5, {minutes:.0f} minutes on "
        f"{segmenter['threads']} busy core: mean IoU {segmenter['mIoU']:.3f} over 11 classes; "
        f"torchvision's LRASPP with MobileNetV3 {peer['mIoU']:.3f} after {peer['minutes']:.0f} "
        "minutes of the same crops (`benchmarks/camvid.py`). A training step takes "
        f"{step['mobilevitv2']['median ms'] / quicker:.2f} of the time and "
        f"{step['mobilevitv2']['peak MiB'] / leaner:.2f} of the memory of the same head on timm's "
        "backbone (`benchmarks/segmentation_step.py`). A photo of 4,000x3,000 px takes "
        f"{photo[0]['peak MiB']:,.0f} MiB above the idle process, seen at its own size "
        f"{photo[1]['peak MiB']:,.0f} MiB (`benchmarks/large_image.py`).",
    ]


def detection() -> list[str]:
    """Detectors beside torchvision's SSDLite: from scratch for the same time, and how quick."""
    rows = {row["model"]: row for row in load("bccd")["rows"]}
    ours, peer = rows["mobilevitv2"], rows["ssdlite320_mobilenet_v3_large"]
    timed = {row["how"]: row["median ms"] for row in load("detection_latency")["rows"]}
    theirs = timed["torchvision"]
    return [
        "From scratch on 205 pictures of blood cells (BCCD), width 0.5, 320 px, "
        f"{ours['minutes']:.0f} minutes on {ours['threads']} busy core: mAP@0.5 "
        f"{100 * ours['mAP@0.5']:.1f} %, mAP {100 * ours['mAP']:.1f} %; torchvision's SSDLite with "
        f"MobileNetV3 after {peer['minutes']:.0f} minutes in the same trainer "
        f"{100 * peer['mAP@0.5']:.1f} % and {100 * peer['mAP']:.1f} % (`benchmarks/bccd.py`). From "
        "prepared pixels to boxes, one image of 320 px, 80 classes: "
        f"{timed['PyTorch']:,.0f} ms in eager PyTorch, {timed['onnxruntime']:,.0f} ms in "
        f"onnxruntime, torchvision's {theirs:,.0f} ms ({theirs / timed['PyTorch']:.2f}x and "
        f"{theirs / timed['onnxruntime']:.2f}x; `benchmarks/detection_latency.py`).",
    ]


def compared(rows: list[dict[str, Any]], column: str, unit: str) -> tuple[str, str, str]:
    """Ours, timm's better format and transformers, each with how many times ours it is."""
    values = {row["model"]: row[column] for row in rows}
    timm = min(values["timm"], values["timm channels_last"])
    ours, theirs = values["mobilevitv2"], values["transformers"]
    lead = [f"{value:,.0f} {unit} ({value / ours:.2f}x)" for value in (timm, theirs)]
    return f"{ours:,.0f} {unit}", lead[0], lead[1]


def load(name: str) -> dict[str, Any]:
    """One results file."""
    return json.loads((RESULTS / f"{name}.json").read_text())


if __name__ == "__main__":
    main()
