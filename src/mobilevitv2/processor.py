"""Images to a model's pixel arrays, and its outputs to label maps or detections.

Fields, defaults and results are those of transformers' `MobileViTImageProcessor`, and the two read
each other's `preprocessor_config.json`; this one needs only numpy and Pillow.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Literal, Self

import numpy as np
from PIL import Image

from mobilevitv2.errors import ConfigError, ImageError, require
from mobilevitv2.images.reading import (
    DataFormat,
    ImageSource,
    load_image,
    load_segmentation_map,
    name_of,
    read_image,
    white_level,
)
from mobilevitv2.processor_settings import MULTIPLE, ProcessorSettings, checked_side
from mobilevitv2.results.label_maps import resize_axis
from mobilevitv2.results.suppression import DETECTIONS, OVERLAP, detect

__all__ = ["BatchFeature", "MobileViTImageProcessor", "load_image"]

IGNORED_LABEL = 255  # which `do_reduce_labels` gives to the background


class BatchFeature(dict[str, Any]):
    """A dict with attributes: `batch["pixel_values"]` is `batch.pixel_values`."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"this batch has {list(self)}, but no {name!r}") from None

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Move all tensors like `Tensor.to`; a dtype applies to floating ones only."""
        torch = require("torch", extra="torch")
        for name, tensor in self.items():
            if not isinstance(tensor, torch.Tensor):
                raise TypeError(f"{name} isn't a tensor. Pass return_tensors='pt' for tensors.")
            if tensor.is_floating_point():
                self[name] = tensor.to(*args, **kwargs)
            else:
                self[name] = tensor.to(tensor.new_empty(0).to(*args, **kwargs).device)
        return self


class MobileViTImageProcessor(ProcessorSettings):
    """Resize, crop, scale to [0, 1] and, if the weights need it, flip RGB to BGR.

    RGB or BGR? ml-cvnets trained the published MobileViTV2 weights on RGB, and timm feeds them RGB.
    transformers flips to BGR by default, which is right for MobileViT version 1; its MobileViTV2
    files say BGR too, although their conversion didn't change the weights, so they probably do
    better with `do_flip_channel_order=False`, which hasn't been measured here. This class keeps
    transformers' default and follows a checkpoint's file; `for_checkpoint` gives the setting for
    each origin. Weights always need the order that they were trained with.

    No mean is subtracted: these models take plain [0, 1]. Images always become RGB, transparency
    turns white, and EXIF rotations are applied (transformers does neither by default, and passes on
    a gray image with one channel). `do_convert_rgb=False` refuses an image that isn't RGB instead.
    None means a setting's default. Wrong values raise ConfigError, also on assignment and in files.
    """

    @property
    def channel_order(self) -> Literal["rgb", "bgr"]:
        return "bgr" if self.do_flip_channel_order else "rgb"

    @classmethod
    def for_checkpoint(
        cls, layout: Literal["transformers", "timm", "cvnets"], image_size: int = 256
    ) -> Self:
        """The settings for weights of this origin at this image size [px].

        The short side is resized to 288 for a crop of 256, and in proportion up to 384, from where
        the whole short side is kept, as timm and ml-cvnets evaluate. For transformers images are
        flipped to BGR, as its files say; see the class.
        """
        if layout not in ("transformers", "timm", "cvnets"):
            raise ConfigError(f"layout is {layout!r}; expected transformers, timm or cvnets.")
        image_size = checked_side("image_size", image_size)
        short_side = image_size if image_size >= 384 else int(image_size / 0.888)
        return cls(
            size={"shortest_edge": short_side},
            crop_size={"height": image_size, "width": image_size},
            do_flip_channel_order=layout == "transformers",
        )

    def target_size(self, width: int, height: int) -> tuple[int, int]:
        """The (width, height) that an image of this size is resized to, before a crop [px]."""
        return _target_size(width, height, self.size) if self.do_resize else (width, height)

    @property
    def square_size(self) -> tuple[int, int]:
        """Height and width that a square image ends up with [px]."""
        if self.do_center_crop:
            return self.crop_size["height"], self.crop_size["width"]
        width, height = self.target_size(1024, 1024)
        return height, width

    def whole(self, short_side: int) -> Self:
        """The same with this short side [px] and nothing cut off."""
        return self._uncropped({"shortest_edge": short_side})

    def stretched(self, height: int, width: int) -> Self:
        """The same with every image stretched to this size [px], whatever its shape."""
        return self._uncropped({"height": height, "width": width})

    def fitted(self, size: tuple[int, int]) -> Self:
        """The same for one image of (width, height) [px], uncropped, sides rounded to 32 px."""
        sides = self.target_size(*size)
        # which all exported files take, and as the reference rounds them
        width, height = (max(round(side / MULTIPLE), 1) * MULTIPLE for side in sides)
        return self.stretched(height, width)

    def _uncropped(self, size: dict[str, int]) -> Self:
        return replace(self, do_resize=True, do_center_crop=False, size=size)

    def preprocess(
        self,
        images: ImageSource | Sequence[ImageSource],
        segmentation_maps: ImageSource | Sequence[ImageSource] | None = None,
        return_tensors: Literal["np", "pt"] | None = None,
        *,
        input_data_format: DataFormat | None = None,
        **overrides: Any,
    ) -> BatchFeature:
        """`pixel_values`, float32 [3, H, W] an image, and with maps `labels`, int64 [H, W] a map.

        Takes one image or a list: whatever `load_image` takes, and arrays [B, ...]. Without
        `return_tensors` the result holds lists of arrays, else one array or tensor [B, ...]. Any
        field can be overridden for this call. Float arrays in [0, 1] stay in [0, 1], with or
        without `do_rescale` (transformers divides them by 255 unless it is off). Maps are resized
        without mixing classes. A crop larger than the image fills image and map with 0, as in
        transformers. Raises ImageError.
        """
        overrides = {name: value for name, value in overrides.items() if value is not None}
        settings = replace(self, **overrides) if overrides else self
        if return_tensors not in (None, "np", "pt"):
            raise ValueError(f"return_tensors is {return_tensors!r}; expected None, 'np' or 'pt'.")
        sources = _listed(images, "images", item_ndim=3)
        pixel_values, sizes = [], []
        for index, source in enumerate(sources):
            with _numbered("Image", index, len(sources)):
                image, white = settings._read(source, input_data_format), white_level(source)
                sizes.append(image.size)
                image = settings._resize_and_crop(image, settings.resample, name_of(source))
            pixel_values.append(settings._to_array(image, white))
        batch = BatchFeature(pixel_values=_stacked(pixel_values, return_tensors, "images"))
        if segmentation_maps is not None:
            labels = settings._labels(segmentation_maps, sizes)
            batch["labels"] = _stacked(labels, return_tensors, "segmentation maps")
        return batch

    __call__ = preprocess

    def _read(self, source: ImageSource, input_data_format: DataFormat | None) -> Image.Image:
        if not self.do_convert_rgb:
            mode = read_image(source, input_data_format=input_data_format).mode
            if mode != "RGB":
                raise ImageError(
                    f"{name_of(source)} is {mode}, not RGB, and do_convert_rgb is False."
                )
        return load_image(source, input_data_format=input_data_format)

    def _resize_and_crop(self, image: Image.Image, resample: int, name: str) -> Image.Image:
        if self.do_resize:
            width, height = _target_size(*image.size, self.size)
            limit = Image.MAX_IMAGE_PIXELS
            if limit is not None and width * height > limit:
                raise ImageError(
                    f"{name} is too long and thin: its {image.width}x{image.height} px would be "
                    f"resized to {width}x{height}, and the limit is {limit:,} pixels. Crop it."
                )
            if (width, height) != image.size:
                image = image.resize((width, height), Image.Resampling(resample))
        if self.do_center_crop:
            height, width = self.crop_size["height"], self.crop_size["width"]
            left, top = (image.width - width) // 2, (image.height - height) // 2
            image = image.crop((left, top, left + width, top + height))  # fills with 0 beyond edges
        return image

    def _to_array(self, image: Image.Image, white: float) -> np.ndarray:
        channels = np.asarray(image).transpose(2, 0, 1)  # [H, W, 3] -> [3, H, W]
        if self.do_flip_channel_order:
            channels = channels[::-1]
        factor = self.rescale_factor if self.do_rescale else white / 255
        values = (np.arange(256) * factor).astype(np.float32)
        return np.take(values, channels)

    def _labels(
        self, segmentation_maps: ImageSource | Sequence[ImageSource], sizes: list[tuple[int, int]]
    ) -> list[np.ndarray]:
        maps = _listed(segmentation_maps, "segmentation maps", item_ndim=2)
        if len(maps) != len(sizes):
            raise ImageError(f"Got {len(sizes)} images and {len(maps)} segmentation maps.")
        labels = []
        for index, (source, size) in enumerate(zip(maps, sizes, strict=True)):
            with _numbered("Segmentation map", index, len(maps)):
                label_map = load_segmentation_map(source)
                if label_map.size != size:
                    raise ImageError(
                        f"the segmentation map {name_of(source)} has {label_map.width}x"
                        f"{label_map.height} px, but its image has {size[0]}x{size[1]}."
                    )
            if self.do_reduce_labels:  # before the crop, whose filling isn't to be reduced
                classes = np.asarray(label_map).astype(np.int32)
                ignored = (classes == 0) | (classes == IGNORED_LABEL)
                label_map = Image.fromarray(np.where(ignored, IGNORED_LABEL, classes - 1))
            label_map = self._resize_and_crop(label_map, Image.Resampling.NEAREST, name_of(source))
            labels.append(np.asarray(label_map).astype(np.int64))
        return labels

    def post_process_semantic_segmentation(
        self,
        outputs: Any,
        target_sizes: Iterable[tuple[int, int]] | None = None,
        return_segmentation_scores: bool = False,
    ) -> list[Any]:
        """A map of class numbers [H, W] for each image, from logits [B, classes, h, w].

        `outputs` has `.logits`, or is the logits; tensors give tensors, arrays give arrays. With
        `target_sizes`, a (height, width) for each image, logits are resized to it first (bilinear,
        align_corners=False). With scores, each element has `.segmentation` and
        `.segmentation_scores`, the resized logits [classes, H, W].
        """
        logits = getattr(outputs, "logits", outputs)
        if getattr(logits, "ndim", None) != 4:
            shape = getattr(logits, "shape", type(outputs))
            raise ValueError(f"Logits are {shape}; expected [B, classes, h, w].")
        scores = list(logits)
        if target_sizes is not None:
            sizes = _checked_sizes(target_sizes, len(scores))
            scores = [_resize_logits(s, size) for s, size in zip(scores, sizes, strict=True)]
        maps = [score.argmax(0) for score in scores]
        if not return_segmentation_scores:
            return maps
        return [
            BatchFeature(segmentation=label_map, segmentation_scores=score)
            for label_map, score in zip(maps, scores, strict=True)
        ]

    def post_process_object_detection(
        self,
        outputs: Any,
        threshold: float = 0.5,
        target_sizes: Iterable[tuple[int, int]] | None = None,
        *,
        nms_threshold: float = OVERLAP,
        top_k: int = DETECTIONS,
    ) -> list[BatchFeature]:
        """The objects in each image, best first: `scores` [n], `labels` [n] and `boxes` [n, 4].

        `outputs` has `.logits` and `.pred_boxes`, or is the two; tensors give tensors, arrays give
        arrays. Labels leave out the background. Boxes are x1, y1, x2, y2: in px with
        `target_sizes`, a (height, width) for each image, else as fractions of it. See `detect`.
        """
        if hasattr(outputs, "logits"):
            outputs = outputs.logits, outputs.pred_boxes
        logits, boxes = outputs
        sizes = _checked_sizes(
            [(1, 1)] * len(logits) if target_sizes is None else target_sizes, len(logits)
        )
        options = {"threshold": threshold, "nms_threshold": nms_threshold, "top_k": top_k}
        results = []
        for scores, places, size in zip(_arrays(logits), _arrays(boxes), sizes, strict=True):
            found = detect(scores, places, size, **options)
            results.append(BatchFeature({k: _like(logits, v) for k, v in vars(found).items()}))
        return results


def _checked_sizes(sizes: Iterable[tuple[int, int]], images: int) -> list[tuple[int, int]]:
    checked = [(int(height), int(width)) for height, width in sizes]
    if len(checked) != images:
        raise ValueError(f"Got {images} images and {len(checked)} target sizes.")
    return checked


def _arrays(values: Any) -> np.ndarray:
    """A tensor, recognized without importing torch, as an array; an array as it is."""
    return values.detach().float().cpu().numpy() if hasattr(values, "detach") else values


def _like(given: Any, values: np.ndarray) -> Any:
    """An array, as a tensor on the device of `given` if that is one."""
    if isinstance(given, np.ndarray):
        return values
    return require("torch", extra="torch").from_numpy(values).to(given.device)


def _target_size(width: int, height: int, size: Mapping[str, int]) -> tuple[int, int]:
    """The width and height to resize to, rounded like transformers' Pillow backend."""
    if "height" in size:
        return size["width"], size["height"]
    if "max_height" in size:
        scale = min(size["max_width"] / width, size["max_height"] / height)
        return max(1, int(width * scale)), max(1, int(height * scale))
    short, long = min(width, height), max(width, height)
    target, longest = size["shortest_edge"], size.get("longest_edge")
    exact: float = target
    if longest is not None and long / short * target > longest:
        exact = longest * short / long
        target = max(1, round(exact))
    if longest is not None and short == target:
        return width, height
    other = int(exact * long / short)
    return (target, other) if width <= height else (other, target)


def _resize_logits(logits: Any, size: tuple[int, int]) -> Any:
    """Bilinear with align_corners=False and no antialiasing, [C, h, w] to [C, *size]."""
    if min(size) < 1:
        raise ValueError(f"A target size is {size}; expected (height, width) of at least 1.")
    if not isinstance(logits, np.ndarray):
        functional = require("torch.nn.functional", extra="torch")
        return functional.interpolate(logits[None], size=size, mode="bilinear")[0]
    for axis, length in ((1, size[0]), (2, size[1])):
        logits = resize_axis(logits, axis, length)
    return logits


def _listed(sources: Any, what: str, *, item_ndim: int) -> list[ImageSource]:
    """One source or many, as a list; an array with one more axis than an item is a batch."""
    if isinstance(sources, list | tuple):
        if not sources:
            raise ImageError(f"The list of {what} is empty. Pass at least one.")
        if any(isinstance(source, list | tuple) for source in sources):
            raise ImageError(f"The list of {what} holds lists. Pass a flat list.")
        return list(sources)
    if getattr(sources, "ndim", 0) == item_ndim + 1:
        return _listed(list(sources), what, item_ndim=item_ndim)
    return [sources]


def _stacked(arrays: list[np.ndarray], return_tensors: str | None, what: str) -> Any:
    if return_tensors is None:
        return arrays
    if len({array.shape for array in arrays}) > 1:
        raise ImageError(
            f"The {what} differ in size, so they can't become one array: crop or resize them to "
            "one size, or leave out return_tensors."
        )
    batch = np.stack(arrays)
    return batch if return_tensors == "np" else require("torch", extra="torch").from_numpy(batch)


@contextmanager
def _numbered(what: str, index: int, count: int) -> Iterator[None]:
    """Say which of several images an ImageError is about."""
    try:
        yield
    except ImageError as error:
        if count == 1:
            raise
        raise ImageError(f"{what} {index + 1} of {count}: {error}") from error
