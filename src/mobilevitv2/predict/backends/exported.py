"""Runs an exported file in its own runtime."""

from pathlib import Path

import numpy as np

from mobilevitv2.errors import CheckpointError, ConfigError, ImageError
from mobilevitv2.predict.answers import OF_OUTPUT, Answer
from mobilevitv2.predict.backends import Backend
from mobilevitv2.predict.backends.choose import Request
from mobilevitv2.processor import MobileViTImageProcessor
from mobilevitv2.processor_settings import MULTIPLE
from mobilevitv2.runtime import open_runtime
from mobilevitv2.runtime.opening import FORMATS, Precision, exported_file
from mobilevitv2.tasks import task_named


class ExportedBackend(Backend):
    """An exported file with its record; takes batches of any size, whatever the graph takes."""

    def __init__(
        self, source: str | Path, *, threads: int | None = None, precision: Precision = "auto"
    ) -> None:
        self.runtime = open_runtime(source, threads=threads, precision=precision)
        self.source = str(source)
        if self.runtime.record is None:
            raise CheckpointError(
                f"{source} has no record of its classes and of how images are prepared, so it "
                "isn't from mobilevitv2 export. Export the model with it, or run the graph by "
                "yourself: mobilevitv2.runtime.open_runtime."
            )
        self.record = self.facts = self.runtime.record
        self.output = self.record.output
        processor = self.record.open_processor()
        self.white = 255 * processor.rescale_factor if processor.do_rescale else 255.0
        self.task = task_named(self.record.task, source).name

    @property
    def runs_in(self) -> str:
        file = exported_file(self.source)
        assert file is not None  # it is open
        return f"{FORMATS[file.suffix.lower()].name}, {self.runtime.precision}"

    def open_processor(self, source: str | Path = "") -> MobileViTImageProcessor:
        processor = self.record.open_processor()
        if self.record.input == "uint8":  # the graph brings RGB into the weights' order
            processor.do_flip_channel_order = False
        return processor

    def __call__(self, pixels: np.ndarray) -> Answer:
        """The answer to float32 [B, 3, H, W], prepared by `open_processor`'s processor.

        Raises ImageError for a size that the file was not made for, and CheckpointError if the file
        doesn't fit its record.
        """
        self._check_size(*pixels.shape[2:])
        if self.record.input == "uint8":
            pixels = np.rint(pixels * (255 / self.white)).astype(np.uint8).transpose(0, 2, 3, 1)
        together = self.record.batch
        if together is None:
            return self._answer(pixels)
        parts = []
        for start in range(0, len(pixels), together):
            part = pixels[start : start + together]
            missing = np.zeros((together - len(part), *part.shape[1:]), part.dtype)
            parts.append(self._answer(np.concatenate([part, missing]))[: len(part)])
        return type(parts[0]).joined(parts)

    def _answer(self, pixels: np.ndarray) -> Answer:
        outputs = [
            array.astype(np.float32, copy=False) if array.dtype.kind == "f" else array
            for array in self.runtime(pixels)
        ]
        answer = OF_OUTPUT[self.record.output](*outputs)
        if not answer.fits(len(self.classes)):
            raise CheckpointError(
                f"{self.source} doesn't fit its record: it gives {list(outputs[0].shape)}, and the "
                f"record names {len(self.classes)} classes. It was changed; export it again."
            )
        return answer

    def _check_size(self, height: int, width: int) -> None:
        sizes = self.record.sizes
        if sizes is None and (height % MULTIPLE or width % MULTIPLE):
            raise ImageError(
                f"{self.source} takes images whose sides are multiples of {MULTIPLE} px, not "
                f"{height}x{width}."
            )
        if sizes is not None and [height, width] not in sizes:
            known = ", ".join(f"{h}x{w}" for h, w in sizes)
            raise ImageError(
                f"{self.source} was exported for {known} px, and this image is {height}x{width}. "
                "Export it for that size, or for any: --image-size any."
            )


def refuses(request: Request) -> Exception | None:
    """Why this doesn't run in a runtime of its own."""
    if not request.exported:
        return ConfigError(f"{request.model} isn't an exported file.")
    if request.device is not None and str(request.device) != "cpu":
        return ConfigError(
            f"{request.model} runs on the CPU; device {request.device} is for PyTorch."
        )
    if request.runtime != "auto":
        return ConfigError(
            f"{request.model} runs in its own runtime, so it can't run in {request.runtime}."
        )
    return None


def open(request: Request) -> ExportedBackend:
    """Raises what `open_runtime` does, and CheckpointError for a file without a record."""
    return ExportedBackend(request.source, threads=request.threads, precision=request.precision)
