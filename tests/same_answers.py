"""Do two versions answer alike, bit for bit? `python tests/same_answers.py REVISION [OTHER]`

Installs each revision (the second is the working tree unless named) into a folder of its own, makes
models with the first, and runs twenty cases in both: every task, in PyTorch, in the engine and as
exported files. Prints a line for each case; exits with 1 where one differs.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
TASKS = {"cls": "ImageClassification", "seg": "SemanticSegmentation", "det": "ObjectDetection"}
CASES: dict[str, dict[str, Any]] = {  # name: model, how it is exported, how it is run
    "cls torch": {"model": "cls", "run": {"runtime": "torch"}},
    "cls torch bf16": {"model": "cls", "run": {"runtime": "torch", "precision": "bf16"}},
    "cls engine": {"model": "cls", "run": {"runtime": "native"}},
    "cls engine bf16": {"model": "cls", "run": {"runtime": "native", "precision": "bf16"}},
    "cls engine int8": {"model": "cls", "run": {"precision": "int8"}},
    "cls onnx": {"model": "cls", "export": {"to": "onnx"}},
    "cls onnx top_k": {"model": "cls", "export": {"to": "onnx", "output": "top_k"}},
    "cls onnx uint8": {"model": "cls", "export": {"to": "onnx", "input": "uint8"}},
    "cls openvino": {"model": "cls", "export": {"to": "openvino"}, "run": {"precision": "fp32"}},
    "cls pt2": {"model": "cls", "export": {"to": "torch"}},
    "cls executorch": {"model": "cls", "export": {"to": "executorch"}},
    "seg torch": {"model": "seg", "run": {"runtime": "torch", "flip": True}},
    "seg engine": {"model": "seg", "run": {"runtime": "native"}},
    "seg engine windows": {"model": "seg", "run": {"image_size": 256, "window": 128}},
    "seg onnx": {"model": "seg", "export": {"to": "onnx"}},
    "seg onnx mask": {"model": "seg", "export": {"to": "onnx", "output": "mask"}},
    "det torch": {"model": "det", "run": {"runtime": "torch"}},
    "det engine": {"model": "det", "run": {"runtime": "native"}},
    "det onnx boxes": {"model": "det", "export": {"to": "onnx", "output": "boxes"}},
    "det onnx detections": {"model": "det", "export": {"to": "onnx", "output": "detections"}},
}
SUFFIX = {"onnx": ".onnx", "openvino": ".xml", "torch": ".pt2", "executorch": ".pte"}


def make_models(folder: Path) -> None:
    """Bundles with random weights, and pictures."""
    import torch
    from PIL import Image

    import mobilevitv2

    for task, head in TASKS.items():
        torch.manual_seed(1)
        more: dict[str, Any] = (
            {"aspp_out_channels": 32, "output_stride": 16} if task == "seg" else {}
        )
        size = 320 if task == "det" else 128
        config = mobilevitv2.MobileViTV2Config(
            width_multiplier=0.5, num_labels=7, image_size=size, **more
        )
        model = getattr(mobilevitv2, f"MobileViTV2For{head}")(config)
        with torch.no_grad():  # norms that do something
            for name, value in model.named_buffers():
                if name.endswith("running_var"):
                    value.uniform_(0.5, 2)
                elif name.endswith("running_mean"):
                    value.normal_(0, 0.1)
        model.save_pretrained(folder / task)
        processor = mobilevitv2.MobileViTImageProcessor.for_checkpoint("transformers", size)
        processor.save_pretrained(folder / task)
    rng = np.random.default_rng(0)
    for i, (height, width) in enumerate([(140, 190), (300, 210), (128, 128)]):
        coarse = rng.integers(0, 255, (8, 8, 3), np.uint8)
        picture = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        picture.save(folder / f"picture{i}.png")


def answer(models: Path, out: Path) -> None:
    """Every case's answers in one .npz; "absent" where a runtime is not installed."""
    import mobilevitv2
    from mobilevitv2.deploy import export

    out.mkdir(parents=True, exist_ok=True)
    pictures = sorted(models.glob("*.png"))
    for name, case in CASES.items():
        source, found = models / case["model"], {}
        run = {"threads": 2, **case.get("run", {})}
        if case["model"] == "det":
            run["threshold"] = 0.01
        try:
            if how := case.get("export"):
                source = out / (name.replace(" ", "-") + SUFFIX[how["to"]])
                export(models / case["model"], out=source, image_size=case.get("size"), **how)
            predictor = mobilevitv2.Predictor(source, **run)
        except ImportError as error:
            found["absent"] = np.array(str(error))
        else:
            for picture, result in zip(pictures, predictor(list(pictures)), strict=True):
                for field in ("labels", "scores", "boxes", "mask", "certainty"):
                    if (value := getattr(result, field, None)) is not None:
                        found[f"{picture.stem} {field}"] = np.asarray(value)
        np.savez(out / f"{name.replace(' ', '-')}.npz", **found)


def differing(before: Path, after: Path) -> int:
    """Prints a line for each case, and counts those that differ."""
    wrong = 0
    for name in CASES:
        one, two = (np.load(place / f"{name.replace(' ', '-')}.npz") for place in (before, after))
        if "absent" in one or "absent" in two:
            print(f"{name:20} not run: {(one if 'absent' in one else two)['absent']}")
            continue
        same = one.files == two.files and all(
            one[key].dtype == two[key].dtype and one[key].tobytes() == two[key].tobytes()
            for key in one.files
        )
        wrong += not same
        print(f"{name:20} {'equal' if same else 'DIFFERS'} ({len(one.files)} arrays)")
    return wrong


def installed(revision: str | None, folder: Path) -> dict[str, str]:
    """The environment in which a revision, or the working tree, is what Python imports."""
    source = ROOT
    if revision is not None:
        source = folder / "source"
        subprocess.run(["git", "clone", "-q", str(ROOT), str(source)], check=True)
        subprocess.run(["git", "-C", str(source), "checkout", "-q", revision], check=True)
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target"]
    subprocess.run([*pip, str(folder / "site"), str(source)], check=True)
    return os.environ | {"PYTHONPATH": str(folder / "site"), "OMP_NUM_THREADS": "2"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("before", help="a revision of this repository")
    parser.add_argument("after", nargs="?", help="another one, instead of the working tree")
    parser.add_argument("--step", choices=["make", "answer"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step == "make":
        return make_models(Path(arguments.before))
    if arguments.step == "answer":
        return answer(Path(arguments.before), Path(arguments.after))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "models").mkdir()
        here = [sys.executable, __file__, "--step"]
        for side, revision in (("before", arguments.before), ("after", arguments.after)):
            where = installed(revision, folder / side)
            if side == "before":
                subprocess.run([*here, "make", folder / "models"], env=where, check=True)
            command = [*here, "answer", folder / "models", folder / side / "answers"]
            subprocess.run(command, env=where, check=True)
        wrong = differing(folder / "before" / "answers", folder / "after" / "answers")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
