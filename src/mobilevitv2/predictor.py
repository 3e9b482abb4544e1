"""`Predictor`: a model with its image processor; pictures in, labels out."""

import logging
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal, Self, overload

import numpy as np
import torch
from PIL import Image

from mobilevitv2.checkpoint.files import FOLDER_NAMES
from mobilevitv2.checkpoint.opening import open_checkpoint
from mobilevitv2.config import CONFIG_NAME
from mobilevitv2.download import download, is_address
from mobilevitv2.errors import CheckpointError, ImageError
from mobilevitv2.images import ImageSource, load_image, name_of
from mobilevitv2.model.classification import MobileViTV2ForImageClassification
from mobilevitv2.predictions import Classification
from mobilevitv2.processor import MobileViTImageProcessor

logger = logging.getLogger(__name__)

ChannelOrder = Literal["rgb", "bgr"]

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
    image: ImageSource | None
    """The picture itself, where its source can't be opened again."""


class Predictor:
    """Names what is in images: `Predictor.from_pretrained("runs/flowers")("photo.jpg").label`.

    An image is a path, an http or https address, or whatever `load_image` takes.
    """

    def __init__(
        self,
        model: MobileViTV2ForImageClassification,
        processor: MobileViTImageProcessor,
        *,
        top_k: int = 5,
        batch_size: int = 16,
    ) -> None:
        channels, classes = model.config.num_channels, len(model.config.id2label or {})
        if channels != 3 or classes < 1:
            raise CheckpointError(
                f"a model with {channels} input channels and {classes} classes can't name what is "
                "in an image: "
                "3 channels and at least one class are wanted."
            )
        if top_k < 1 or batch_size < 1:
            raise ValueError(f"top_k and batch_size are at least 1, not {top_k} and {batch_size}.")
        self.model = model.eval()
        self.processor = processor
        self.top_k = top_k
        self.batch_size = batch_size
        self.source: str | Path | None = None  # where `from_pretrained` found the model

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path,
        *,
        device: str | torch.device | None = None,
        top_k: int = 5,
        batch_size: int = 16,
        channel_order: ChannelOrder | None = None,
    ) -> Self:
        """From a hub id, a folder, a run's folder or a weights file; on a GPU where there is one.

        Images are prepared as the checkpoint's preprocessor_config.json says, or, without one, as
        is usual where weights of this layout come from. `channel_order` overrules either. Raises
        CheckpointError, ConfigError or FileNotFoundError.
        """
        source = bundle_of(source)
        model = open_classifier(source)
        processor = open_processor(source, model)
        if channel_order is not None:
            processor.do_flip_channel_order = channel_order == "bgr"
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        predictor = cls(model.to(device), processor, top_k=top_k, batch_size=batch_size)
        predictor.source = source
        return predictor

    @property
    def classes(self) -> list[str]:
        """The names of the classes, in the order of the logits."""
        return list((self.model.config.id2label or {}).values())

    @overload
    def __call__(  # pyright: ignore[reportOverlappingOverload] an ImageSource is Any
        self, images: list | tuple, *, top_k: int | None = None
    ) -> list[Classification]: ...

    @overload
    def __call__(self, images: ImageSource, *, top_k: int | None = None) -> Classification: ...

    def __call__(
        self, images: ImageSource, *, top_k: int | None = None
    ) -> Classification | list[Classification]:
        """One image to its `Classification`, a list or an array [B, ...] to a list of them.

        Raises ImageError, which names the image; `stream` goes on instead.
        """
        many = isinstance(images, list | tuple) or getattr(images, "ndim", 0) == 4
        results = []
        for result in self.stream(images if many else [images], top_k=top_k):
            if isinstance(result, Unreadable):
                raise ImageError(result.reason)
            results.append(result)
        return results if many else results[0]

    def stream(
        self, images: Iterable[ImageSource], *, top_k: int | None = None
    ) -> Iterator[Classification | Unreadable]:
        """A result for each image, in order, while threads read the next batch.

        An image that can't be read gives an `Unreadable` in its place. `images` is consumed as
        needed, one batch ahead.
        """
        top_k = self.top_k if top_k is None else top_k
        for batch in self.read_ahead(images):
            good = [item for item in batch if isinstance(item, Prepared)]
            logits = iter(self.logits([item.pixels for item in good]).numpy())
            for item in batch:
                if isinstance(item, Unreadable):
                    yield item
                    continue
                yield Classification.from_logits(
                    next(logits),
                    self.model.config.id2label or {},
                    top_k,
                    source=item.source,
                    image=item.image,
                )

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
            pixels = self.processor(image).pixel_values[0]
        except (ImageError, OSError) as error:
            return Unreadable(name, str(error))
        named = on_disk or is_address(source) or getattr(source, "filename", "")
        return Prepared(name if named else None, pixels, None if on_disk else image)

    @torch.inference_mode()
    def logits(self, pixels: list[np.ndarray]) -> torch.Tensor:
        """float32 [B, classes] on the CPU, of arrays [3, H, W], which may differ in size."""
        if not pixels:
            return torch.empty(0, len(self.classes))
        if len({array.shape for array in pixels}) > 1:  # the processor does not crop
            return torch.cat([self.logits([array]) for array in pixels])
        batch = torch.from_numpy(np.stack(pixels)).to(self.model.device, self.model.dtype)
        return self.model(batch, return_dict=True).logits.float().cpu()


def bundle_of(source: str | Path) -> str | Path:
    """The same, but for the folder of a training run the bundle of its best epoch."""
    folder = Path(source).expanduser()
    is_run = (folder / "best" / CONFIG_NAME).is_file() and not (folder / CONFIG_NAME).exists()
    return folder / "best" if is_run else source


def open_classifier(source: str | Path) -> MobileViTV2ForImageClassification:
    """The model of a checkpoint; CheckpointError where its head would be untrained."""
    if open_checkpoint(source).task == "backbone":
        raise CheckpointError(
            f"{source} is a backbone without a classification head, so it can't name classes. "
            "Train one first: mobilevitv2 train DATA --model."
        )
    return MobileViTV2ForImageClassification.from_pretrained(source)


def open_processor(
    source: str | Path, model: MobileViTV2ForImageClassification
) -> MobileViTImageProcessor:
    """The processor that belongs to a checkpoint: its file's, or else that of its layout."""
    path = Path(source).expanduser()
    if not path.is_file() or path.name in FOLDER_NAMES:  # else what lies beside it is another's
        try:
            return MobileViTImageProcessor.from_pretrained(source)
        except FileNotFoundError:
            pass
    size = model.config.image_size
    layout: Any = model.checkpoint_layout or "transformers"
    processor = MobileViTImageProcessor.for_checkpoint(
        layout, size if isinstance(size, int) else size[0]
    )
    logger.warning(
        "%s has no preprocessor_config.json; images are prepared as %s weights want them: "
        "%d px, %s",
        source,
        layout,
        processor.crop_size["height"],
        processor.channel_order.upper(),
    )
    return processor


def _fetch(address: str) -> Image.Image:
    try:
        return load_image(download(address))
    except ImageError as error:
        reason = str(error)
        raise ImageError(reason if address in reason else f"{address}: {reason}") from error
