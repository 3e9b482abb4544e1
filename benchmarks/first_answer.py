"""From the start of the process to the first label of one photo.

    python -m venv core && core/bin/pip install .
    python benchmarks/first_answer.py PHOTO --command core/bin/mobilevitv2 [--width 1.0]

Ours is `mobilevitv2 predict BUNDLE PHOTO` in the native engine, and the same with an exported file
in onnxruntime, ideally in an environment without PyTorch, which neither needs. The peers are the
shortest scripts that do the same with transformers and timm, from files on disk.
"""

import argparse
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import timm
import torch
from measure import interleaved, median, report
from networks import save
from transformers import MobileViTImageProcessor as TheirProcessor

from mobilevitv2 import MobileViTImageProcessor
from mobilevitv2.deploy import export

TRANSFORMERS = """
from transformers import pipeline
print(pipeline("image-classification", model={folder!r})({photo!r})[0]["label"])
"""
TIMM = """
import timm, torch
from PIL import Image
model = timm.create_model({name!r}, checkpoint_path={weights!r}).eval()
prepare = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
with torch.inference_mode():
    print(model(prepare(Image.open({photo!r}).convert("RGB"))[None]).argmax().item())
"""


def main() -> None:
    """Measure whole processes, interleaved."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photo")
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=7)
    beside = str(Path(sys.executable).parent / "mobilevitv2")
    parser.add_argument("--command", default=beside, help="The mobilevitv2 of another environment.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        where = Path(folder)
        bundle, exported, weights = where / "bundle", where / "model.onnx", where / "timm.pth"
        save("mobilevitv2", options.width, Path(bundle))
        MobileViTImageProcessor().save_pretrained(bundle)
        export(bundle, to="onnx", out=exported, image_size=256)
        theirs = where / "transformers"
        save("transformers", options.width, Path(theirs))
        TheirProcessor().save_pretrained(theirs)
        name = f"mobilevitv2_{round(100 * options.width):03d}"
        torch.save(timm.create_model(name).state_dict(), weights)
        scripts = {
            "mobilevitv2": [options.command, "predict", str(bundle), options.photo],
            "mobilevitv2, onnxruntime": [options.command, "predict", str(exported), options.photo],
            "transformers": [
                sys.executable,
                "-c",
                TRANSFORMERS.format(folder=str(theirs), photo=options.photo),
            ],
            "timm": [
                sys.executable,
                "-c",
                TIMM.format(name=name, weights=str(weights), photo=options.photo),
            ],
        }
        run = partial(subprocess.run, check=True, capture_output=True)
        times = interleaved({n: partial(run, s) for n, s in scripts.items()}, options.rounds)
    ours = median(times["mobilevitv2"])
    rows = [
        {
            "": name,
            "median s": median(values) / 1e3,
            "min s": min(values) / 1e3,
            "ours is x times as quick": median(values) / ours,
        }
        for name, values in times.items()
    ]
    report("first_answer", f"From process start to the first label, width {options.width}", rows)


if __name__ == "__main__":
    main()
