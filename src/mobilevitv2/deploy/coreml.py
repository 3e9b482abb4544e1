"""Core ML, for iPhone, iPad and Mac; converted here, and run where macOS is."""

from pathlib import Path
from typing import Any

import torch

from mobilevitv2.deploy.form import ExportForm
from mobilevitv2.deploy.request import Request
from mobilevitv2.errors import require
from mobilevitv2.runtime.record import NAME, Record


def write(form: ExportForm, request: Request, record: Record, path: Path) -> None:
    """Make the package: an image goes in, class names and probabilities come out.

    The image is scaled in the model; its channel order is the model's.
    """
    ct = require("coremltools", extra="coreml")
    processor = record.open_processor()
    batch = request.batch or 1
    image = ct.ImageType(
        name="image",
        shape=(batch, 3, *request.example_size),
        scale=processor.rescale_factor if processor.do_rescale else 1 / 255,
        color_layout=ct.colorlayout.BGR if processor.do_flip_channel_order else ct.colorlayout.RGB,
    )
    precision = ct.precision.FLOAT16 if request.precision == "fp16" else ct.precision.FLOAT32
    example = (form.example(request.example_size, batch),)
    program = torch.export.export(Probabilities(form).eval(), example).run_decompositions({})
    model: Any = ct.convert(
        program,
        convert_to="mlprogram",
        inputs=[image],
        classifier_config=ct.ClassifierConfig(record.labels),
        minimum_deployment_target=ct.target.iOS16,
        compute_precision=precision,
        skip_model_load=True,
    )
    model.short_description = f"MobileViTv2 for {record.task}"
    model.version = record.versions[NAME]
    model.user_defined_metadata[NAME] = record.to_json()
    model.save(str(path))


class Probabilities(torch.nn.Module):
    """A form that gives probabilities, as Core ML's classifiers do."""

    def __init__(self, form: ExportForm) -> None:
        super().__init__()
        self.form = form

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.form(pixels).softmax(-1)
