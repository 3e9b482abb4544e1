"""A bundle in the package's own engine as `Predictor` uses it: prepared pixels in, logits out."""

from pathlib import Path

import numpy as np
from PIL import Image

from mobilevitv2.bundle import Bundle, check_names, find_bundle, processor_of, task_of_config
from mobilevitv2.errors import UnsupportedError
from mobilevitv2.processor import MobileViTImageProcessor
from mobilevitv2.runtime.native import PRECISIONS, NativeRuntime, missing
from mobilevitv2.runtime.opening import Precision
from mobilevitv2.tasks import task_named


class NativeNetwork:
    """A bundle in the engine; it answers as `LiveNetwork` does."""

    def __init__(
        self, bundle: Bundle, *, threads: int | None = None, precision: Precision = "auto"
    ) -> None:
        if precision == "fp16":
            raise UnsupportedError(f"the engine computes in {', '.join(PRECISIONS)}, not fp16.")
        self.config = bundle.config
        self.runtime = NativeRuntime(
            bundle.folder, threads=threads, precision="fp32" if precision == "auto" else precision
        )
        task_named(self.task, bundle.folder)
        check_names(self.config)
        self._stored = MobileViTImageProcessor.from_dict(self.runtime.description["processor"])

    @property
    def task(self) -> str:
        """classification, segmentation or detection"""
        return task_of_config(self.config, self.runtime.task)

    @property
    def classes(self) -> list[str]:
        """The names of the classes, in the order of the logits."""
        return list((self.config.id2label or {}).values())

    @property
    def colors(self) -> list[tuple[int, int, int]]:
        """RGB of each class; empty where nobody chose them."""
        return [(r, g, b) for r, g, b in self.config.class_colors or []]

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

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """float32 [B, 3, H, W] to [B, classes], or [B, classes, h, w] of a segmenter.

        Of a detector [B, anchors, 4 + 1 + classes]: boxes, then logits with the background first.
        """
        found = self.runtime(pixels)
        if self.task == "detection":
            return np.concatenate([found["boxes"], found["logits"]], -1)
        return found["logits"]


def open_native(
    source: str | Path, *, threads: int | None = None, precision: Precision = "auto"
) -> NativeNetwork:
    """A bundle's folder, or a hub id, in the engine.

    Raises UnsupportedError for every other checkpoint and for what the engine has no form of,
    ImportError where there is no engine, CheckpointError, ConfigError or FileNotFoundError.
    """
    if (reason := missing()) is not None:
        raise ImportError(reason)
    bundle = find_bundle(source)
    if bundle is None:
        raise UnsupportedError(
            f"the engine opens folders with config.json and model.safetensors as transformers and "
            f"this package write them, and {source} is none. Run it in PyTorch, or convert it: "
            "mobilevitv2 convert MODEL --to transformers."
        )
    return NativeNetwork(bundle, threads=threads, precision=precision)
