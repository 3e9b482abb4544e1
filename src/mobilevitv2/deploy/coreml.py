"""Core ML, for iPhone, iPad and Mac; made anywhere, run on macOS."""

import json
from pathlib import Path
from typing import Any

import torch

from mobilevitv2.deploy.exported_module import ExportedModule
from mobilevitv2.errors import require
from mobilevitv2.results.colors import distinct_colors
from mobilevitv2.runtime.record import NAME, Record
from mobilevitv2.tasks import task_named

PREVIEW = "com.apple.coreml.model.preview"  # where Xcode looks up how to show a model


def write(module: ExportedModule, record: Record, path: Path) -> None:
    """Make the package, which takes an image, and scales and orders its channels itself.

    A classifier gives class names and probabilities, the others what the request says, a mask with
    what Xcode needs to draw it.
    """
    ct = require("coremltools", extra="coreml")
    processor, request = record.open_processor(), module.request
    image = ct.ImageType(
        name="image",
        shape=(request.batch, 3, *request.example_size),
        scale=processor.rescale_factor if processor.do_rescale else 1 / 255,
        color_layout=ct.colorlayout.BGR if processor.do_flip_channel_order else ct.colorlayout.RGB,
    )
    precision = ct.precision.FLOAT16 if request.precision == "fp16" else ct.precision.FLOAT32
    graph = InCoreMl(module).eval()
    program = torch.export.export(graph, (module.example(),)).run_decompositions({})
    model: Any = ct.convert(
        program,
        convert_to="mlprogram",
        inputs=[image],
        outputs=None if graph.classifies else [ct.TensorType(name=n) for n in module.output_names],
        classifier_config=ct.ClassifierConfig(record.labels) if graph.classifies else None,
        minimum_deployment_target=ct.target.iOS16,
        compute_precision=precision,
        skip_model_load=True,
    )
    model.short_description = f"MobileViTv2 for {record.task}"
    model.version = record.versions[NAME]
    model.user_defined_metadata[NAME] = record.to_json()
    if request.output == "mask":
        model.user_defined_metadata[f"{PREVIEW}.type"] = "imageSegmenter"
        colors = record.colors or distinct_colors(len(record.labels))
        shown = {"labels": record.labels, "colors": [f"#{bytes(rgb).hex()}" for rgb in colors]}
        model.user_defined_metadata[f"{PREVIEW}.params"] = json.dumps(shown)
    model.save(str(path))


class InCoreMl(torch.nn.Module):
    """Core ML's outputs: a classifier's probabilities, and a mask in int32."""

    def __init__(self, module: ExportedModule) -> None:
        super().__init__()
        self.module = module
        self.classifies = task_named(module.request.task).part("deploy").CLASSIFIES

    def forward(self, pixels: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        found = self.module(pixels)
        if self.classifies:
            return found.softmax(-1)
        return found.to(torch.int32) if self.module.request.output == "mask" else found
