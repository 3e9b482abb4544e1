"""An exported file as `Predictor` uses it: prepared pixels in; logits, classes or boxes out."""

import math
from pathlib import Path

import numpy as np

from mobilevitv2.errors import CheckpointError, ImageError
from mobilevitv2.processor import MobileViTImageProcessor
from mobilevitv2.processor_settings import MULTIPLE
from mobilevitv2.results.suppression import OVERLAP
from mobilevitv2.runtime import open_runtime
from mobilevitv2.runtime.opening import FORMATS, Precision, exported_file

TASKS = ("classification", "segmentation", "detection")
NEVER = 1e-30  # in place of a probability of 0, which has no logarithm


class ExportedNetwork:
    """An exported file with its record; batches of any number, whatever the graph takes."""

    def __init__(
        self, source: str | Path, *, threads: int | None = None, precision: Precision = "auto"
    ) -> None:
        self.runtime = open_runtime(source, threads=threads, precision=precision)
        self.source = str(source)
        if self.runtime.record is None:
            raise CheckpointError(
                f"{source} has no record of its classes and of how images are prepared: it does "
                "not come from mobilevitv2 export. Export the model with it, or run the graph by "
                "yourself: mobilevitv2.runtime.open_runtime."
            )
        self.record = self.runtime.record
        processor = self.record.open_processor()
        self.white = 255 * processor.rescale_factor if processor.do_rescale else 255.0
        if self.record.task not in TASKS:
            raise CheckpointError(
                f"{source} is a model for {self.record.task}; {' or '.join(TASKS)} is wanted. "
                "Update mobilevitv2 if the file is newer."
            )

    @property
    def task(self) -> str:
        """classification, segmentation or detection"""
        return self.record.task

    @property
    def runs_in(self) -> str:
        """The runtime, and in what precision."""
        file = exported_file(self.source)
        assert file is not None  # it is open
        return f"{FORMATS[file.suffix.lower()].name}, {self.runtime.precision}"

    @property
    def colors(self) -> list[tuple[int, int, int]]:
        """RGB of each class; empty where nobody chose them."""
        return [(r, g, b) for r, g, b in self.record.colors or []]

    @property
    def classes(self) -> list[str]:
        """The names of the classes, in the order of the logits."""
        return self.record.labels

    @property
    def overlap(self) -> float:
        """Of two boxes of a class that overlap by more, `detect` is to keep the better one."""
        return math.inf if self.record.output == "detections" else OVERLAP

    def open_processor(self) -> MobileViTImageProcessor:
        """How images are prepared for `__call__`."""
        processor = self.record.open_processor()
        if self.record.input == "uint8":  # the graph turns RGB into what the weights want
            processor.do_flip_channel_order = False
        return processor

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """What `open_processor` makes, float32 [B, 3, H, W], to logits [B, classes].

        Of a segmenter they are [B, classes, h, w], or class numbers [B, H, W] where the file gives
        those. Where it gives the k best classes only, the others share what is left evenly.

        Of a detector [B, anchors, 4 + 1 + classes]: center x, center y, width, height in parts of
        the image, then the logits with the background first. Where the file gives scores, these are
        their logarithms; where it gives detections, they stand in place of the anchors, and what is
        not there is background. `detect` makes the same detections of all three; those of the
        last are left by suppression already; see `overlap`.

        Raises ImageError for a size that the file was not made for.
        """
        self._check_size(*pixels.shape[2:])
        if self.record.input == "uint8":
            pixels = np.rint(pixels * (255 / self.white)).astype(np.uint8).transpose(0, 2, 3, 1)
        together = self.record.batch
        if together is None:
            return self._answers(self.runtime(pixels))
        parts = []
        for start in range(0, len(pixels), together):
            part = pixels[start : start + together]
            missing = np.zeros((together - len(part), *part.shape[1:]), part.dtype)
            parts.append(self._answers(self.runtime(np.concatenate([part, missing])))[: len(part)])
        return np.concatenate(parts)

    def _answers(self, outputs: list[np.ndarray]) -> np.ndarray:
        count = len(self.classes)
        if self.task == "detection":
            return self._detector_answers(
                [values.astype(np.float32, copy=False) for values in outputs]
            )
        if self.record.output == "mask":
            return outputs[0]
        if self.record.output == "logits":
            logits, rank = outputs[0], 4 if self.task == "segmentation" else 2
            self._check_classes(logits.shape, logits.ndim == rank and logits.shape[1] == count)
            return logits.astype(np.float32)
        scores, classes = outputs  # [B, k]
        rest = np.maximum(1 - scores.sum(1, keepdims=True), NEVER)
        probabilities = np.repeat(rest / max(count - scores.shape[1], 1), count, axis=1)
        np.put_along_axis(probabilities, classes, np.maximum(scores, NEVER), axis=1)
        return np.log(probabilities, dtype=np.float32)

    def _detector_answers(self, outputs: list[np.ndarray]) -> np.ndarray:
        """Of any output the boxes, and logits whose softmax gives its scores."""
        count, output = len(self.classes), self.record.output
        first = outputs[0]
        if output == "logits":
            self._check_classes(first.shape, first.shape[-1] == 1 + count)
            return np.concatenate([outputs[1], first], -1)
        low, high = np.split(outputs[-1], 2, -1)
        boxes = [(low + high) / 2, high - low]
        if output == "detections":
            labels = outputs[1].astype(int)[..., None]
            self._check_classes(first.shape, first.ndim == 2 and labels.max() < count)
            scores = np.zeros((*first.shape, count), np.float32)
            np.put_along_axis(scores, labels, first[..., None], -1)
        else:
            scores = first
            self._check_classes(first.shape, first.shape[-1] == count)
        background = 1 - scores.sum(-1, keepdims=True)
        probabilities = np.concatenate([background, scores], -1)
        return np.concatenate([*boxes, np.log(np.maximum(probabilities, NEVER))], -1)

    def _check_classes(self, shape: tuple[int, ...], fits: bool) -> None:
        if not fits:
            raise CheckpointError(
                f"{self.source} does not fit its record: it gives {list(shape)}, and the record "
                f"names {len(self.classes)} classes. It was changed; export it anew."
            )

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
