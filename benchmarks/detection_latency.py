"""Prepared pixels to final boxes on a CPU: ours and torchvision's SSDLite on MobileNetV3.

    python benchmarks/detection_latency.py [--width 0.5] [--threads 2] [--rounds 50]

One image of 320x320 px, 80 classes, random weights. The time includes decoding, softmax and
suppression, but not reading and resizing the image: torchvision's is measured after its own
transform, and again with it, as its users call it. Both sides keep scores above 0.01, at most 400
candidates per class, boxes that overlap by up to 0.5, and 200 boxes in the end.

The cost of suppression depends on the number of candidates, and random weights give every anchor
the same score. So on both sides the layers that score the classes are scaled, map by map, until the
standard deviation of their logits is 2, and one number, found by bisection, is added to the
background's bias in all maps, so that about 400 of the anchors x classes pass 0.01.
"""

import argparse
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import interleaved, median, report
from torch import Tensor, nn
from torchvision.models.detection import ssdlite320_mobilenet_v3_large

from mobilevitv2 import MobileViTImageProcessor, MobileViTV2Config
from mobilevitv2.deploy import export, fuse
from mobilevitv2.model.detection import BOX, MobileViTV2ForObjectDetection
from mobilevitv2.predict.backends.exported import ExportedBackend
from mobilevitv2.predict.backends.torch import TorchBackend
from mobilevitv2.results.suppression import CANDIDATES, DETECTIONS, LEAST_SCORE, OVERLAP, detect

SIZE = 320  # px
CLASSES = 80
PASSING = 400  # anchors x classes
SPREAD = 2.0  # of the logits

Scores = Callable[[], Tensor]  # logits [anchors, 1 + CLASSES] of the image that is measured


def output_of(layer: nn.Module, run: Callable[[], object]) -> Tensor:
    """A layer's output when the network runs."""
    outputs: list[Tensor] = []
    hook = layer.register_forward_hook(lambda *given: outputs.append(given[2]))
    run()
    hook.remove()
    return outputs[0]


def make_realistic(layers: Sequence[nn.Conv2d], first: int, logits: Scores) -> int:
    """Scale and shift the layers that score classes; returns the number of candidates.

    A layer's channels for an anchor are `first` other numbers, the background, and the classes.
    """
    answers = first + 1 + CLASSES
    with torch.inference_mode():
        for layer in layers:
            given = output_of(layer, logits).unflatten(1, (-1, answers))
            weight = layer.weight.view(-1, answers, *layer.weight.shape[1:])
            weight[:, first:] *= SPREAD / given[:, :, first:].std()
        scores = logits()
        low, high = -20.0, 20.0
        for _ in range(40):
            middle = (low + high) / 2
            shifted = scores.clone()
            shifted[:, 0] += middle
            if int((shifted.softmax(-1)[:, 1:] > LEAST_SCORE).sum()) > PASSING:
                low = middle
            else:
                high = middle
        for layer in layers:
            assert layer.bias is not None
            layer.bias.view(-1, answers)[:, first] += high
        return int((logits().softmax(-1)[:, 1:] > LEAST_SCORE).sum())


def torchvisions(pixels: np.ndarray) -> tuple[dict[str, Callable[[], Any]], int]:
    """Calls of torchvision's detector, and its number of candidates."""
    model: Any = ssdlite320_mobilenet_v3_large(
        weights=None,
        weights_backbone=None,
        num_classes=1 + CLASSES,
        score_thresh=LEAST_SCORE,
        nms_thresh=OVERLAP,
        detections_per_img=DETECTIONS,
        topk_candidates=CANDIDATES,
    ).eval()
    picture = torch.from_numpy(pixels[0])
    images, _ = model.transform([picture])

    def heads() -> tuple[list[Tensor], dict[str, Tensor]]:
        features = list(model.backbone(images.tensors).values())
        return features, model.head(features)

    def prepared() -> Any:
        with torch.inference_mode():
            features, answers = heads()
            anchors = model.anchor_generator(images, features)
            return model.postprocess_detections(answers, anchors, images.image_sizes)

    def whole() -> Any:
        with torch.inference_mode():
            return model([picture])

    layers = [block[-1] for block in model.head.classification_head.module_list]
    count = make_realistic(layers, 0, lambda: heads()[1]["cls_logits"][0])
    return {"torchvision": prepared, "torchvision, its transform too": whole}, count


def ours(
    pixels: np.ndarray, width: float, threads: int, folder: Path
) -> tuple[dict[str, Callable[[], Any]], int]:
    """Calls of our detector in every runtime, and its number of candidates."""
    config = MobileViTV2Config(width_multiplier=width, image_size=SIZE, num_labels=CLASSES)
    model = MobileViTV2ForObjectDetection(config).eval()
    predictors: Any = model.detection_head.predictors
    layers = [predictor.conv_1x1.convolution for predictor in predictors]
    count = make_realistic(layers, BOX, lambda: model(torch.from_numpy(pixels)).logits[0])
    model.save_pretrained(folder)
    size = {"height": SIZE, "width": SIZE}
    MobileViTImageProcessor(size=size, do_center_crop=False).save_pretrained(folder)
    networks: dict[str, Any] = {
        "PyTorch": TorchBackend(model),
        "PyTorch, fused": TorchBackend(fuse(model, SIZE)),
    }
    for name, to, suffix in (("onnxruntime", "onnx", "onnx"), ("OpenVINO", "openvino", "xml")):
        for output in ("logits", "detections"):
            path = folder / f"{output}.{suffix}"
            export(folder, to=to, out=path, output=output)  # pyright: ignore[reportArgumentType]
            label = name if output == "logits" else f"{name}, suppression in the file"
            networks[label] = ExportedBackend(path, threads=threads, precision="fp32")
            chosen = ExportedBackend(path, threads=threads)
            if chosen.runtime.precision != "fp32":
                networks[f"{label}, {chosen.runtime.precision}"] = chosen

    def call(network: Any) -> Any:
        answers = network(pixels)[0]
        return detect(answers[:, BOX:], answers[:, :BOX], (SIZE, SIZE))

    calls: dict[str, Callable[[], Any]] = {k: partial(call, n) for k, n in networks.items()}
    for label, network in networks.items():
        if "in the file" in label:  # it answers with boxes already
            calls[label] = partial(network.runtime, pixels)
    return calls, count


def version(name: str) -> str:
    """The package that a call runs in, and its version."""
    package = name.split(",")[0].lower().replace("pytorch", "torch")
    return f"{package} {metadata.version(package)}"


def main() -> None:
    """Measure all of them, interleaved."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=float, default=0.5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=50)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    pixels = np.random.default_rng(0).random((1, 3, SIZE, SIZE), np.float32)
    with tempfile.TemporaryDirectory() as folder:
        theirs, passing = torchvisions(pixels)
        mine, passing_here = ours(pixels, options.width, options.threads, Path(folder))
        times = interleaved(theirs | mine, options.rounds)
    rows = [
        {
            "detector": "torchvision's" if name in theirs else "ours",
            "how": name,
            "version": version(name),
            "candidates": passing if name in theirs else passing_here,
            "median ms": median(values),
            "min ms": min(values),
            "x times as fast as torchvision": median(times["torchvision"]) / median(values),
        }
        for name, values in times.items()
    ]
    title = (
        f"Detection, width {options.width}, {SIZE} px, {CLASSES} classes, batch 1, "
        f"{options.threads} threads"
    )
    report("detection_latency", title, rows)


if __name__ == "__main__":
    main()
