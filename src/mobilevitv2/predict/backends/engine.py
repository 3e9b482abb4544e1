"""A bundle in the package's own engine."""

from pathlib import Path

import numpy as np
from PIL import Image

from mobilevitv2.bundle import Bundle, processor_of, task_of_config
from mobilevitv2.errors import ConfigError, UnsupportedError
from mobilevitv2.predict.answers import Answer, of_model
from mobilevitv2.predict.backends import Backend
from mobilevitv2.predict.backends.choose import Opened, Request
from mobilevitv2.processor import MobileViTImageProcessor
from mobilevitv2.runtime.native import PRECISIONS, NativeRuntime, missing
from mobilevitv2.runtime.opening import Precision
from mobilevitv2.tasks import task_named


class EngineBackend(Backend):
    """A bundle in the engine; it answers as it does in PyTorch."""

    def __init__(
        self, bundle: Bundle, *, threads: int | None = None, precision: Precision = "auto"
    ) -> None:
        if precision == "fp16":
            raise UnsupportedError(f"the engine computes in {', '.join(PRECISIONS)}, not fp16.")
        self.bundle, self.config = bundle, bundle.config
        self.runtime = NativeRuntime(
            bundle.folder, threads=threads, precision="fp32" if precision == "auto" else precision
        )
        self.task = task_named(task_of_config(self.config, self.runtime.task), bundle.folder).name
        self.take_names(self.config)
        self._stored = MobileViTImageProcessor.from_dict(self.runtime.description["processor"])

    @property
    def runs_in(self) -> str:
        """The runtime, the instructions it computes with, and in what precision."""
        return f"engine, {self.runtime.instructions}, {self.runtime.precision}"

    def open_processor(self, source: str | Path) -> MobileViTImageProcessor:
        """How images are prepared for `__call__`; `source` is what messages call the bundle."""
        return processor_of(source, task=self.task, config=self.config)

    def prepares_as(self, processor: MobileViTImageProcessor) -> bool:
        """Whether `prepare` makes what this processor makes."""
        # Unscaled, the pixels depend on what the picture was made of.
        return processor == self._stored and processor.do_rescale and processor.do_convert_rgb

    def prepare(self, picture: Image.Image) -> np.ndarray:
        """float32 [3, H, W] of an RGB picture: the processor's to the bit, and quicker."""
        return self.runtime.prepare(np.asarray(picture))

    def __call__(self, pixels: np.ndarray) -> Answer:
        """The answer to float32 [B, 3, H, W]."""
        found = self.runtime(pixels)
        return of_model(found["logits"], found.get("boxes"))


def refuses(request: Request) -> Exception | None:
    """Why the engine isn't for this; what it can't do with a network shows when it is opened."""
    if request.in_memory:
        return ConfigError(
            "a model in memory runs in PyTorch; the engine opens bundles. Save it with "
            "save_pretrained, and its processor too, and give the folder."
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


def open(request: Request) -> Opened:
    """Raises UnsupportedError for what the engine can't compute."""
    assert request.bundle is not None  # or it was refused
    how = {"threads": request.threads, "precision": request.precision}
    backend = EngineBackend(request.bundle, **how)
    processor = request.processor or backend.open_processor(request.source)
    return Opened(backend, processor, request.source)


def open_engine(
    source: str | Path | Bundle, *, threads: int | None = None, precision: Precision = "auto"
) -> EngineBackend:
    """A bundle's folder, a hub id, or a bundle that was found already, in the engine.

    Raises UnsupportedError for every other checkpoint and for what the engine can't compute,
    ImportError where there is no engine, CheckpointError, ConfigError or FileNotFoundError.
    """
    if not isinstance(source, Bundle):
        request = Request(source, runtime="native")
        if (reason := refuses(request)) is not None:
            raise reason
        assert request.bundle is not None  # or it was refused
        source = request.bundle
    return EngineBackend(source, threads=threads, precision=precision)
