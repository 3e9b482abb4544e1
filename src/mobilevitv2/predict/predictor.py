"""`Predictor`: a model with its image processor, from images to labels, masks or boxes."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

import numpy as np
from PIL import Image

from mobilevitv2.errors import DIVERGED, CheckpointError, ConfigError, ImageError
from mobilevitv2.images.download import download, is_address
from mobilevitv2.images.reading import ImageSource, load_image, name_of
from mobilevitv2.predict.answers import Answer, Logits, TopK
from mobilevitv2.predict.backends.choose import Request, RuntimeName, open_backend
from mobilevitv2.predict.views import Views
from mobilevitv2.processor import MobileViTImageProcessor
from mobilevitv2.runtime.opening import Precision
from mobilevitv2.tasks import check_options, task_named

if TYPE_CHECKING:
    import torch

    from mobilevitv2.model.opening import TaskModel
    from mobilevitv2.results import Result

ChannelOrder = Literal["rgb", "bgr"]
Item = TypeVar("Item")
Made = TypeVar("Made")

READERS = min(4, os.cpu_count() or 1)  # threads that read images ahead of the model


@dataclass(frozen=True)
class Unreadable:
    """An image of a stream that can't be used, and why."""

    source: str
    reason: str


@dataclass(frozen=True)
class Prepared:
    """One image as the model takes it."""

    source: str | None
    pixels: np.ndarray  # float32 [3, H, W]
    size: tuple[int, int]  # height and width of the picture [px]
    image: ImageSource | None  # the image as given; None where its source can be opened again

    @property
    def picture(self) -> Image.Image | None:
        """The image, upright and RGB; None where its source can be opened again."""
        return None if self.image is None else load_image(self.image)


class Predictor:
    """Names what images show: `Predictor("runs/flowers")("photo.jpg").label`.

    A segmenter gives each pixel a class, `Predictor("runs/streets")("photo.jpg").mask`, and a
    detector finds objects: `Predictor("runs/blood")("photo.jpg").objects`. An image is a path, an
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
        """From an exported file, a hub id, a bundle's or run's folder, a weights file or a model.

        An exported file (.onnx, .xml, .pte, .tflite, .pt2, or a web export's folder) runs in its
        own runtime, on `threads` threads in `precision`; .onnx, .xml and .tflite need no PyTorch.
        Everything else runs on `device`, by default a GPU if there is one. On the CPU, bundles and
        runs go to the package's engine, which needs no PyTorch, in fp32 unless `precision` is bf16
        or int8; networks that it doesn't support, and all other checkpoints, to PyTorch. `runtime`
        insists on one: native is the engine.

        A model in memory is used as it is, or copied if it is in training mode or must change its
        device or precision. In PyTorch `threads` applies to the whole process.

        Without a `processor`, images are prepared as the file or the checkpoint says, or else as
        weights of its layout usually expect; `channel_order` overrides both. `requests` batches are
        computed at a time, if the runtime takes several.

        A classifier names the `top_k` best classes, by default 5. A detector and a multi-label
        classifier name what scores above `threshold`, in [0, 1], by default 0.3 for the detector,
        for the other each class's own threshold, or 0.5.

        For segmenters only: `image_size` is another short side to resize images to [px]; `flip`
        averages with the mirrored image; `window` splits an image that is then larger into
        overlapping squares of this side [px], so it goes with `image_size`.

        Raises CheckpointError, ConfigError, FileNotFoundError, or ImportError with what to install.
        """
        self._arguments = {k: v for k, v in locals().items() if k not in ("self", "model")}
        for name, value in (("top_k", top_k), ("batch_size", batch_size), ("requests", requests)):
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}.")
        if threshold is not None and not 0 <= threshold <= 1:
            raise ValueError(f"threshold must be in [0, 1], not {threshold}.")
        request = Request(model, processor, device, runtime, threads, precision)
        self.backend = open_backend(request)
        self.source = None if request.in_memory else request.source
        processor = processor or self.backend.open_processor(request.source)
        self._task = task_named(self.backend.task, self._name)
        check_options(self._task, image_size=image_size, flip=flip or None, window=window)
        given = check_options(self._task, top_k=top_k, threshold=threshold)
        self.options: dict[str, Any] = self._part.DEFAULTS | given
        self.views = Views(flip=flip, window=window)
        if self.views.average and self.backend.output != "logits":
            raise ConfigError(
                f"{self.source} gives classes, but flip and window average scores. Export it with "
                "logits."
            )
        if channel_order is not None:
            processor = replace(processor, do_flip_channel_order=channel_order == "bgr")
        self.processor = processor if image_size is None else processor.whole(image_size)
        self.batch_size = batch_size or self._task.batch_size
        self.requests = requests

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled by its source, which another process opens again."""
        if self.source is None:
            raise TypeError("a model in memory can't be pickled. Save it, and open it there.")
        return partial(type(self), self.source, **self._arguments), ()

    @classmethod
    def from_pretrained(cls, source: str | Path, **options: Any) -> Self:
        """`Predictor(source, **options)`, by transformers' name."""
        return cls(source, **options)

    @property
    def task(self) -> str:
        return self._task.name

    @property
    def runs_in(self) -> str:
        return self.backend.runs_in

    @property
    def classes(self) -> list[str]:
        return self.backend.classes

    @cached_property
    def id2label(self) -> dict[int, str]:
        return dict(enumerate(self.classes))

    @cached_property
    def colors(self) -> list[tuple[int, int, int]]:
        from mobilevitv2.results.colors import distinct_colors

        chosen = self.backend.facts.colors
        return [(r, g, b) for r, g, b in chosen or distinct_colors(len(self.classes))]

    @property
    def colours(self) -> list[tuple[int, int, int]]:
        """`colors`, in the spelling of 0.1.0."""
        return self.colors

    def warmup(self, batch_size: int | None = None) -> None:
        """Run once on black images, so that memory and plans are ready for the first real ones."""
        black, _ = self._part.pixels_of(self, Image.new("RGB", (256, 256)))
        self._part.answers(self, [black] * (batch_size or self.batch_size))

    def __call__(
        self, images: ImageSource, *, top_k: int | None = None, threshold: float | None = None
    ) -> Any:
        """The result for one image, such as a `Classification`; for several, a list of them.

        Raises ImageError, which names the image, where `stream` goes on, and CheckpointError if an
        answer holds NaN or infinity, as after a diverged training.
        """
        many = isinstance(images, list | tuple) or getattr(images, "ndim", 0) == 4
        sources, results = images if many else [images], []
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
    ) -> "Iterator[Result | Unreadable]":
        """A result for each image, in order; an `Unreadable` for one that can't be read.

        Threads read the next batch meanwhile; `images` is consumed one batch ahead.
        """
        options = self.options | check_options(self._task, top_k=top_k, threshold=threshold)
        finish = partial(self._part.result, self, **options)

        def compute(batch: list[Prepared | Unreadable]) -> tuple[list[Any], Iterator[Answer]]:
            pixels = [item.pixels for item in batch if isinstance(item, Prepared)]
            return batch, iter(self._part.answers(self, pixels) if pixels else ())

        batches = self.read_ahead(images, batch_size=batch_size)
        computed = map(compute, batches)
        if self.requests > 1:
            computed = in_order(compute, batches, threads=self.requests, ahead=self.requests)
        for batch, answers in computed:
            for item in batch:
                yield item if isinstance(item, Unreadable) else finish(next(answers), item)

    def read_ahead(
        self, images: Iterable[ImageSource], *, batch_size: int | None = None
    ) -> Iterator[list[Prepared | Unreadable]]:
        """Batches of prepared images; the next is read while one is used."""
        batch_size = batch_size or self.batch_size
        prepared = in_order(self.prepare, images, threads=READERS, ahead=batch_size)
        while batch := list(islice(prepared, batch_size)):
            yield batch

    def prepare(self, source: ImageSource) -> Prepared | Unreadable:
        """Read one image and prepare it for the model."""
        remote, name = is_address(source), name_of(source)
        on_disk = isinstance(source, str | os.PathLike) and not remote
        try:
            image = _fetch(str(source)) if remote else source
            pixels, size = self._part.pixels_of(self, image)
        except (ImageError, OSError) as error:
            return Unreadable(name, str(error))
        named = on_disk or remote or getattr(source, "filename", "")
        return Prepared(name if named else None, pixels, size, None if on_disk else image)

    def answer(self, pixels: np.ndarray) -> Answer:
        """The answer to float32 [B, 3, H, W]. Raises CheckpointError for NaN or infinity."""
        answer = self.backend(pixels)
        if not answer.is_finite():
            raise CheckpointError(f"The answers of {self._name} {DIVERGED}")
        return answer

    def logits(self, pixels: list[np.ndarray]) -> np.ndarray:
        """A classifier's logits, float32 [B, classes], of prepared arrays [3, H, W] of any sizes.

        A file that gives only the best classes answers with the logarithms of their probabilities;
        the other classes share the rest evenly. Raises CheckpointError if an answer holds NaN or
        infinity, and ConfigError for a model without such logits.
        """
        if not pixels:
            return np.empty((0, len(self.classes)), np.float32)
        if len({array.shape for array in pixels}) > 1:  # the processor doesn't crop
            return np.concatenate([self.logits([array]) for array in pixels])
        answer = self.answer(np.stack(pixels))
        if isinstance(answer, TopK):
            return answer.logits(len(self.classes))
        if not isinstance(answer, Logits):
            raise ConfigError(f"{self._name} gives no logits of whole images.")
        return answer.logits

    @property
    def _part(self) -> Any:
        return self._task.part("predict")

    @property
    def _name(self) -> str:
        return str(self.source or "the model")


def in_order(
    function: Callable[[Item], Made], items: Iterable[Item], *, threads: int, ahead: int
) -> Iterator[Made]:
    """What `function` makes of each item, in threads, while `ahead` more are under way."""
    under_way: deque[Future[Made]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="predictor")
    try:
        for item in items:
            under_way.append(pool.submit(function, item))
            if len(under_way) > ahead:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _fetch(address: str) -> Image.Image:
    try:
        return load_image(download(address))
    except ImageError as error:
        reason = str(error)
        raise ImageError(reason if address in reason else f"{address}: {reason}") from error
