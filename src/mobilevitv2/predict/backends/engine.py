"""Runs bundles in the engine."""

import math
from pathlib import Path

import numpy as np
from PIL import Image

from mobilevitv2.bundle import Bundle, facts_of, processor_of, task_of_config
from mobilevitv2.errors import ConfigError, UnsupportedError
from mobilevitv2.images.reading import ImageSource, load_image
from mobilevitv2.predict.answers import Answer, of_model
from mobilevitv2.predict.backends import Backend
from mobilevitv2.predict.backends.choose import Request
from mobilevitv2.processor import MobileViTImageProcessor
from mobilevitv2.runtime.native import PRECISIONS, NativeRuntime, missing
from mobilevitv2.runtime.opening import Precision
from mobilevitv2.tasks import task_named


class EngineBackend(Backend):
    """A bundle in the engine, with the same answers as in PyTorch."""

    def __init__(self, bundle: Bundle, *, threads: int | None, precision: Precision) -> None:
        if precision == "fp16":
            raise UnsupportedError(f"the engine computes in {', '.join(PRECISIONS)}, not fp16.")
        self.bundle, self.config = bundle, bundle.config
        self.runtime = NativeRuntime(
            bundle.folder, threads=threads, precision="fp32" if precision == "auto" else precision
        )
        self.task = task_named(task_of_config(self.config, self.runtime.task), bundle.folder).name
        self.facts = facts_of(self.config)
        self._stored = MobileViTImageProcessor.from_dict(self.runtime.description["processor"])

    @property
    def runs_in(self) -> str:
        return f"engine, {self.runtime.instructions}, {self.runtime.precision}"

    def open_processor(self, source: str | Path) -> MobileViTImageProcessor:
        return processor_of(source, task=self.task, config=self.config)

    def prepare(self, image: ImageSource, processor: MobileViTImageProcessor) -> np.ndarray | None:
        # Unscaled pixels depend on the picture's own type.
        if processor != self._stored or not (processor.do_rescale and processor.do_convert_rgb):
            return None
        picture, limit = load_image(image), Image.MAX_IMAGE_PIXELS
        if limit is not None and math.prod(processor.target_size(*picture.size)) > limit:
            return None  # the processor raises
        return self.runtime.prepare(np.asarray(picture))

    def __call__(self, pixels: np.ndarray) -> Answer:
        found = self.runtime(pixels)
        return of_model(found["logits"], found.get("boxes"))


def refuses(request: Request) -> Exception | None:
    """Why the engine can't run this; whether it supports the network shows only on opening it."""
    if request.in_memory:
        return ConfigError(
            "a model in memory runs in PyTorch; the engine opens bundles. Save the model and its "
            "processor with save_pretrained, and pass the folder."
        )
    if request.exported:
        return ConfigError(f"{request.source} is an exported file, with a runtime of its own.")
    if request.runtime == "torch":
        return ConfigError(
            f"precision {request.precision} is the engine's; PyTorch computes in fp32, bf16 or "
            "fp16. Leave out the runtime, or export the model: mobilevitv2 export --int8."
        )
    if request.on_gpu and not (request.wants_engine and request.device is None):
        return ConfigError(f"the engine runs on the CPU; device {request.device} is for PyTorch.")
    if (reason := missing()) is not None:
        return ImportError(reason)
    if request.bundle is None:
        return UnsupportedError(
            f"the engine opens folders with config.json and model.safetensors as transformers and "
            f"this package write them, and {request.source} isn't one. Run it in PyTorch, or "
            "convert it: mobilevitv2 convert MODEL --to transformers."
        )
    return None


def open(request: Request) -> EngineBackend:
    """Raises UnsupportedError for what the engine can't compute."""
    assert request.bundle is not None  # or it was refused
    return EngineBackend(request.bundle, threads=request.threads, precision=request.precision)


def open_engine(source: str | Path, *, threads: int | None = None) -> EngineBackend:
    """Open a bundle's folder or a hub id in the engine, in fp32.

    Raises UnsupportedError for any other checkpoint and for what the engine can't compute,
    ImportError without the engine, CheckpointError, ConfigError or FileNotFoundError.
    """
    request = Request(source, runtime="native", threads=threads)
    if (reason := refuses(request)) is not None:
        raise reason
    return open(request)
