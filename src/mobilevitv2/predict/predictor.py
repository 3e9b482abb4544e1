"""`Predictor`: a model with its image processor; pictures in; labels, masks or boxes out."""

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from PIL import Image

from mobilevitv2.errors import DIVERGED, CheckpointError, ConfigError, ImageError
from mobilevitv2.images.download import download, is_address
from mobilevitv2.images.reading import ImageSource, load_image, name_of
from mobilevitv2.predict.backends.choose import RuntimeName, open_network
from mobilevitv2.predict.backends.engine import NativeNetwork
from mobilevitv2.predict.backends.exported import ExportedNetwork
from mobilevitv2.predict.views import Views
from mobilevitv2.processor import MobileViTImageProcessor
from mobilevitv2.results import Classification, Detection, Result, Segmentation, distinct_colors
from mobilevitv2.results.label_maps import label_map, nearest
from mobilevitv2.results.suppression import OVERLAP, detect
from mobilevitv2.runtime.opening import Precision

if TYPE_CHECKING:
    import torch

    from mobilevitv2.predict.backends.torch import TaskModel

ChannelOrder = Literal["rgb", "bgr"]

THRESHOLD = 0.3  # the least score of a box that is worth showing, as in ml-cvnets's demos
DECODERS = min(4, os.cpu_count() or 1)  # threads that read images ahead of the model


@dataclass(frozen=True)
class Unreadable:
    """An image of a stream that could not be used, and why."""

    source: str
    reason: str


@dataclass(frozen=True)
class Prepared:
    """One image as the model takes it: float32 [3, H, W]."""

    source: str | None
    pixels: np.ndarray
    size: tuple[int, int]
    """Height and width of the picture [px]."""
    image: ImageSource | None
    """What was given, where a source can't be opened again."""


class Predictor:
    """Names what is in images: `Predictor("runs/flowers")("photo.jpg").label`.

    A segmenter names every pixel, `Predictor("runs/streets")("photo.jpg").mask`, and a detector
    says where things are: `Predictor("runs/blood")("photo.jpg").objects`. An image is a path, an
    http or https address, or whatever `load_image` takes.
    """

    def __init__(
        self,
        model: "TaskModel | str | Path",
        processor: MobileViTImageProcessor | None = None,
        *,
        top_k: int | None = None,
        threshold: float | None = None,
        batch_size: int | None = None,
        requests: int = 1,
        channel_order: ChannelOrder | None = None,
        device: "str | torch.device | None" = None,
        runtime: RuntimeName = "auto",
        threads: int | None = None,
        precision: Precision = "auto",
        image_size: int | None = None,
        flip: bool = False,
        window: int | None = None,
    ) -> None:
        """From an exported file, a hub id, a folder, a run's folder, a weights file or a model.

        An exported file (.onnx, .xml, .pte, .tflite, .pt2, or a web export's folder) runs in its
        own runtime, on `threads` threads in `precision`; no torch is imported for .onnx, .xml and
        .tflite. Everything else runs on `device`, by default a GPU where there is one. On the CPU a
        bundle, or a run's folder, runs in the package's own engine, in fp32 unless `precision` is
        bf16 or int8, and no torch is imported. What the engine has no form of, and all other
        checkpoints, run in PyTorch. `runtime` insists on the one (native) or the other (torch).

        A model in memory is used as it is, and copied where it is in training mode, on another
        device or of another precision. In PyTorch `threads` is the whole process's number.

        Without a `processor`, images are prepared as the file or the checkpoint says, or, if that
        says nothing, as is usual where weights of this layout come from; `channel_order` overrules
        either. `requests` batches are computed at a time, where the runtime takes several.

        Of a classifier the `top_k` best classes are named, by default 5; of a detector what has a
        score above `threshold`, in [0, 1], by default 0.3.

        For segmenters only: `image_size` is another short side to see images at [px]; `flip`
        averages with the mirrored image; `window` sees an image that is then larger than it through
        overlapping squares of this side [px], and so goes with `image_size`.

        Raises CheckpointError, ConfigError, FileNotFoundError, or ImportError with what to install.
        """
        for name, value in (("top_k", top_k), ("batch_size", batch_size), ("requests", requests)):
            if value is not None and value < 1:
                raise ValueError(f"{name} is at least 1, not {value}.")
        if threshold is not None and not 0 <= threshold <= 1:
            raise ValueError(f"threshold is {threshold}; a score of 0 to 1 is wanted.")
        self.network, processor, self.source = open_network(
            model,
            processor,
            device=device,
            runtime=runtime,
            threads=threads,
            precision=precision,
        )
        self._check_for_task(top_k, threshold)
        if channel_order is not None:
            processor = replace(processor, do_flip_channel_order=channel_order == "bgr")
        self.views = None
        if self.task == "segmentation":
            self.views = Views(flip=flip, window=window)
            self._check_views(flip or window is not None)
            if image_size is not None:
                processor = processor.whole(image_size)
        elif image_size is not None or flip or window is not None:
            raise ConfigError("image_size, flip and window are for models that name every pixel.")
        self.processor = processor
        self.top_k = 5 if top_k is None else top_k
        self.threshold = THRESHOLD if threshold is None else threshold
        self.batch_size = batch_size or (4 if self.views else 16)
        self.requests = requests

    def _check_for_task(self, top_k: int | None, threshold: float | None) -> None:
        given = {"top_k": (top_k, "classification"), "threshold": (threshold, "detection")}
        for name, (value, task) in given.items():
            if value is not None and self.task != task:
                raise ConfigError(f"{name} is for {task}, and this model is for {self.task}.")

    def _check_views(self, averaged: bool) -> None:
        gives_classes = (
            isinstance(self.network, ExportedNetwork) and self.network.record.output == "mask"
        )
        if averaged and gives_classes:
            raise ConfigError(
                f"{self.source} gives classes, and flip and window average scores. Export it with "
                "logits."
            )

    @classmethod
    def from_pretrained(cls, source: str | Path, **options: Any) -> Self:
        """`Predictor(source, **options)`, by the name that transformers' users know."""
        return cls(source, **options)

    @property
    def task(self) -> str:
        """classification, segmentation or detection"""
        return self.network.task

    @property
    def runs_in(self) -> str:
        """The runtime, on what and in which precision, for people."""
        return self.network.runs_in

    @property
    def classes(self) -> list[str]:
        """The names of the classes, in the order of the logits."""
        return self.network.classes

    @cached_property
    def colors(self) -> list[tuple[int, int, int]]:
        """RGB of each class."""
        return self.network.colors or distinct_colors(len(self.classes))

    @property
    def colours(self) -> list[tuple[int, int, int]]:
        """`colors`, as 0.1.0 spelled it."""
        return self.colors

    def warmup(self, batch_size: int | None = None) -> None:
        """Run once on black images, so that the first real ones wait for no memory and no plan."""
        black, _ = self._pixels(Image.new("RGB", (256, 256)))
        self._scores([black] * (batch_size or self.batch_size))

    def __call__(
        self, images: ImageSource, *, top_k: int | None = None, threshold: float | None = None
    ) -> Any:
        """One image to its `Classification`, `Segmentation` or `Detection`; several to a list.

        Raises ImageError, which names the image; `stream` goes on instead. CheckpointError where
        the model's answers hold NaN or infinity, as a diverged training leaves them.
        """
        many = isinstance(images, list | tuple) or getattr(images, "ndim", 0) == 4
        results = []
        sources = images if many else [images]
        for result in self.stream(sources, top_k=top_k, threshold=threshold):
            if isinstance(result, Unreadable):
                raise ImageError(result.reason)
            results.append(result)
        return results if many else results[0]

    def stream(
        self,
        images: Iterable[ImageSource],
        *,
        top_k: int | None = None,
        threshold: float | None = None,
        batch_size: int | None = None,
    ) -> Iterator[Result | Unreadable]:
        """A result for each image, in order, while threads read the next batch.

        An image that can't be read gives an `Unreadable` in its place. `images` is consumed as
        needed, one batch ahead.
        """
        self._check_for_task(top_k, threshold)
        top_k = self.top_k if top_k is None else top_k
        threshold = self.threshold if threshold is None else threshold
        id2label = dict(enumerate(self.classes))
        for batch, computed in self._computed(self.read_ahead(images, batch_size=batch_size)):
            logits = iter(computed)
            for item in batch:
                if isinstance(item, Unreadable):
                    yield item
                else:
                    yield self._result(item, next(logits), id2label, top_k, threshold)

    def _result(
        self,
        item: Prepared,
        logits: np.ndarray,
        id2label: dict[int, str],
        top_k: int,
        threshold: float,
    ) -> Result:
        if self.task == "detection":
            overlap = OVERLAP
            if isinstance(self.network, ExportedNetwork):
                overlap = self.network.overlap
            return Detection.of(
                detect(
                    logits[:, 4:],
                    logits[:, :4],
                    item.size,
                    threshold=threshold,
                    nms_threshold=overlap,
                ),
                classes=list(id2label.values()),
                size=item.size,
                colors=self.colors,
                source=item.source,
                image=_picture(item.image),
            )
        if self.task == "segmentation":
            if logits.ndim == 2:  # the file gives classes, not scores
                mask, certainty = nearest(logits, item.size), None
            else:
                mask, certainty = label_map(logits, item.size, certainty=True)
            return Segmentation(
                mask=mask,
                classes=list(id2label.values()),
                colors=self.colors,
                source=item.source,
                image=_picture(item.image),
                certainty=certainty,
            )
        return Classification.from_logits(
            logits, id2label, top_k, source=item.source, image=item.image
        )

    def _computed(
        self, batches: Iterator[list[Prepared | Unreadable]]
    ) -> Iterator[tuple[list[Prepared | Unreadable], list[np.ndarray]]]:
        """Each batch with the logits of its readable images, `requests` batches at a time."""

        def compute(batch: list[Prepared | Unreadable]) -> list[np.ndarray]:
            return self._scores([item.pixels for item in batch if isinstance(item, Prepared)])

        if self.requests == 1:
            for batch in batches:
                yield batch, compute(batch)
            return
        under_way: deque[tuple[list[Prepared | Unreadable], Future[list[np.ndarray]]]] = deque()
        with ThreadPoolExecutor(self.requests, thread_name_prefix="compute") as pool:
            for batch in batches:
                under_way.append((batch, pool.submit(compute, batch)))
                if len(under_way) > self.requests:
                    first, future = under_way.popleft()
                    yield first, future.result()
            while under_way:
                first, future = under_way.popleft()
                yield first, future.result()

    def read_ahead(
        self, images: Iterable[ImageSource], *, batch_size: int | None = None
    ) -> Iterator[list[Prepared | Unreadable]]:
        """Batches of prepared images; the next one is being read while a batch is used."""
        remaining = iter(images)
        batch_size = batch_size or self.batch_size
        pool = ThreadPoolExecutor(DECODERS, thread_name_prefix="read-images")

        def submitted() -> list[Future[Prepared | Unreadable]]:
            return [pool.submit(self.prepare, i) for i in islice(remaining, batch_size)]

        try:
            batch = submitted()
            while batch:
                following = submitted()
                yield [future.result() for future in batch]
                batch = following
        finally:
            pool.shutdown(cancel_futures=True)

    def prepare(self, source: ImageSource) -> Prepared | Unreadable:
        """Read one image and make it what the model takes."""
        on_disk = isinstance(source, os.PathLike) or (
            isinstance(source, str) and not is_address(source)
        )
        name = name_of(source)
        try:
            image = _fetch(str(source)) if is_address(source) else source
            pixels, size = self._pixels(image)
        except (ImageError, OSError) as error:
            return Unreadable(name, str(error))
        named = on_disk or is_address(source) or getattr(source, "filename", "")
        return Prepared(name if named else None, pixels, size, None if on_disk else image)

    def _pixels(self, image: ImageSource) -> tuple[np.ndarray, tuple[int, int]]:
        """What the model takes, and height and width that its answer is for."""
        if self.task == "classification":
            pixels = self._crop(image)
            return pixels, pixels.shape[1:]
        picture = load_image(image)
        prepare = self.processor if self.views is None else self.processor.fitted(picture.size)
        return prepare(picture).pixel_values[0], (picture.height, picture.width)

    def _crop(self, image: ImageSource) -> np.ndarray:
        """What a classifier takes, made by the engine where that makes the same."""
        if isinstance(self.network, NativeNetwork) and self.network.prepares_as(self.processor):
            picture = load_image(image)
            width, height = self.processor.target_size(*picture.size)
            limit = Image.MAX_IMAGE_PIXELS
            if limit is None or width * height <= limit:  # else the processor says what is wrong
                return self.network.prepare(picture)
        return self.processor(image).pixel_values[0]

    def logits(self, pixels: list[np.ndarray]) -> np.ndarray:
        """float32 [B, classes], of prepared arrays [3, H, W], which may differ in size.

        Raises CheckpointError where they hold NaN or infinity.
        """
        if not pixels:
            return np.empty((0, len(self.classes)), np.float32)
        if len({array.shape for array in pixels}) > 1:  # the processor does not crop
            return np.concatenate([self.logits([array]) for array in pixels])
        return self._answers(np.stack(pixels))

    def _answers(self, pixels: np.ndarray) -> np.ndarray:
        """The network's, checked: a box of infinite size may be, if its scores are numbers."""
        answers = self.network(pixels)
        boxes = 4 if self.task == "detection" else 0
        if not np.isfinite(answers[..., boxes:]).all() or np.isnan(answers[..., :boxes]).any():
            raise CheckpointError(f"The answers of {self.source or 'the model'} {DIVERGED}")
        return answers

    def _scores(self, pixels: list[np.ndarray]) -> list[np.ndarray]:
        """Of each prepared array the logits [classes]; of a segmenter [classes, h, w], coarser."""
        if self.views is None:
            return list(self.logits(pixels))
        return [self.views(self._answers, array) for array in pixels]


def _fetch(address: str) -> Image.Image:
    try:
        return load_image(download(address))
    except ImageError as error:
        reason = str(error)
        raise ImageError(reason if address in reason else f"{address}: {reason}") from error


def _picture(image: ImageSource | None) -> Image.Image | None:
    return None if image is None else load_image(image)
