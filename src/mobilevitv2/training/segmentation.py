"""Training a segmenter: the loss, what validation counts, how images and masks become samples."""

# B batch, C channels, H W height and width, N classes

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader

from mobilevitv2.data import SegmentationData
from mobilevitv2.data.masks.opening import IGNORED
from mobilevitv2.data.masks.samples import MaskedImages
from mobilevitv2.errors import ConfigError, DataError
from mobilevitv2.model.segmentation import MobileViTV2ForSemanticSegmentation, segmentation_loss
from mobilevitv2.processor import MobileViTImageProcessor
from mobilevitv2.results.label_maps import label_map
from mobilevitv2.scores.segmentation import SegmentationScores
from mobilevitv2.training import goal
from mobilevitv2.training.augment_masks import MaskAugment
from mobilevitv2.training.folder import name_of
from mobilevitv2.training.module import Training
from mobilevitv2.training.recipe import Recipe

if TYPE_CHECKING:
    from mobilevitv2.report.masked_panels import Example

LARGEST = 512  # px, unless a recipe asks for more


class SegmenterTraining(Training):
    """`network(images)` gives logits [B, N, h, w], or an output that has them.

    Targets are uint8 [B, H, W], 255 where a pixel does not count. `weights` [N] say how much a
    pixel of each class counts.
    """

    class_weights: Tensor | None

    def __init__(
        self,
        network: nn.Module,
        recipe: Recipe,
        *,
        classes: int,
        weights: Tensor | None,
        **how: Any,
    ) -> None:
        super().__init__(network, recipe, **how)
        self.register_buffer("class_weights", weights, persistent=False)
        self.scores = SegmentationScores(classes, IGNORED)

    def loss_of(self, images: Tensor, targets: Tensor) -> Tensor:
        output = self.network(images)
        how = (targets, IGNORED, self.class_weights, self.recipe.label_smoothing)
        loss = segmentation_loss(maps_of(output), *how)
        beside = getattr(output, "auxiliary_logits", None)
        if beside is None:
            return loss
        return loss + self.recipe.auxiliary_loss * segmentation_loss(beside, *how)

    def validate_batch(self, images: Tensor, targets: Tensor) -> None:
        logits = maps_of(self.averaged(images)).float()
        size = images.shape[-2:]  # photos may be far larger, and so would all their scores be
        reduced = F.interpolate(targets[:, None].float(), size, mode="nearest-exact")[:, 0].long()
        counted = int((reduced != IGNORED).sum())
        if counted:
            self.count_loss(segmentation_loss(logits, reduced, IGNORED), counted)
        for scores, truth in zip(logits.cpu().numpy(), targets.cpu().numpy(), strict=True):
            self.scores.update(label_map(scores, truth.shape)[0], truth)

    def take_scores(self) -> dict[str, float]:
        found = {"miou": self.scores.miou, "pixel_accuracy": self.scores.pixel_accuracy}
        self.scores = SegmentationScores(self.scores.classes, IGNORED)
        return found


class Goal(goal.Goal[SegmentationData]):
    """Classes of single pixels."""

    name = "segmentation"
    metric = "miou"
    eval_batch = 1  # images keep their shapes
    model_class = MobileViTV2ForSemanticSegmentation

    def check(self, recipe: Recipe, asked: Iterable[str] = ()) -> None:
        super().check(recipe, asked)
        if recipe.batch_size < 2:
            raise ConfigError(
                "batch_size is 1, and a segmentation head normalizes means over whole maps, of "
                "which it needs two or more. Choose a batch_size of at least 2."
            )
        if len(self.data.train) < 2:
            raise DataError(
                f"{self.data.name} has one image to train on, and a segmentation head needs two or "
                "more. Add images with masks."
            )

    def image_size(self, recipe: Recipe) -> int:
        """The recipe's, or the median short side as a multiple of 32, from 32 to 512 [px]."""
        if recipe.image_size is not None:
            return recipe.image_size
        return min(max(self.data.short_side // 32 * 32, 32), LARGEST)

    def config(self, recipe: Recipe, image_size: int) -> dict[str, Any]:
        return {
            "segmentation_head": recipe.segmentation_head,
            "aspp_out_channels": recipe.head_channels,
            "output_stride": recipe.output_stride,
            "use_auxiliary_head": recipe.auxiliary_loss > 0,
            "auxiliary_loss_weight": recipe.auxiliary_loss,
            "classifier_dropout_prob": 0.0,  # as the reference
            "class_colors": [list(color) for color in self.data.colors],
        }

    def sized(self, processor: MobileViTImageProcessor, size: int) -> MobileViTImageProcessor:
        """Whole images, of this short side."""
        return processor.whole(size)

    def image_sets(
        self, recipe: Recipe, processor: MobileViTImageProcessor
    ) -> dict[str, MaskedImages]:
        size = processor.size["shortest_edge"]
        augment = MaskAugment(recipe, size)

        def prepare(image: Image.Image, mask: np.ndarray, _: tuple[int, int]) -> Any:
            pixels = processor.fitted(image.size)(image).pixel_values[0]
            return torch.from_numpy(pixels), torch.from_numpy(mask)

        read = self.data.read_mask
        return {
            name: MaskedImages(samples, read, augment, short_side=2 * size)
            if name == "train"
            else MaskedImages(samples, read, prepare, keep_pixels=True, replace_broken=False)
            for name, samples in self.data.splits.items()
        }

    def module(self, network: nn.Module, recipe: Recipe, **how: Any) -> SegmenterTraining:
        weights = class_weights(self.data.pixels["train"], recipe.class_balance)
        return SegmenterTraining(
            network, recipe, classes=len(self.data.classes), weights=weights, **how
        )

    def conclude(self, network: nn.Module, loaders: dict[str, DataLoader]) -> goal.Conclusion:
        found = {name: measure(network, loaders[name], self.data) for name in loaders}
        scores = {name: total.miou for name, (total, _) in found.items()}

        def report(
            out: Path, recipe: Recipe, history: list[dict[str, float]], timing: dict[str, Any]
        ) -> Path:
            from mobilevitv2.report.segmentation import write_segmentation_report

            split = "test" if "test" in found else "val"
            total, of_images = found[split]
            return write_segmentation_report(
                out,
                history=history,
                classes=self.data.classes,
                colors=self.data.colors,
                scores=total,
                examples=list(self._examples(network, loaders[split], split, of_images)),
                title=f"{self.data.name}, {split} images",
                settings=asdict(recipe) | {f"{name} mIoU": s for name, s in scores.items()},
                timing=timing,
            )

        return goal.Conclusion(scores, report)

    def _examples(
        self, network: nn.Module, loader: DataLoader, split: str, of_images: dict[int, float]
    ) -> "Iterator[Example]":
        from mobilevitv2.report.masked_panels import Example
        from mobilevitv2.report.page import told_of

        images: Any = loader.dataset
        for index in told_of(of_images):
            pixels, truth, _ = images[index]
            image = images.image(index)
            predicted, certainty = predict_map(network, pixels[None], truth.shape, certainty=True)
            yield Example(
                name=name_of(self.data, split, index),
                image=image,
                truth=truth.numpy(),
                predicted=predicted,
                certainty=certainty,
                miou=of_images[index],
            )


def maps_of(output: Any) -> Tensor:
    """The logits of a network's output, which may be the logits, or torchvision's dict of them."""
    if isinstance(output, Tensor):
        return output
    return output["out"] if isinstance(output, dict) else output.logits


def class_weights(pixels: list[int], balance: float) -> Tensor | None:
    """How much a pixel of each class counts: (its share of all pixels) ** -balance.

    None where all count the same; 0 for a class without pixels. Scaled so that the mean over the
    pixels is 1.
    """
    if not balance:
        return None
    counts = torch.tensor(pixels, dtype=torch.float64)
    weights = (counts.clamp(min=1) / counts.sum()) ** -balance
    weights[counts == 0] = 0  # nothing shows the class, and smoothed labels would ask for it
    return (weights * counts.sum() / (weights * counts).sum()).float()


@torch.inference_mode()
def predict_map(
    network: nn.Module, images: Tensor, size: tuple[int, int], *, certainty: bool = False
) -> tuple[np.ndarray, np.ndarray | None]:
    """Class numbers and, if asked for, their probabilities, [H, W] of `size`, of one image."""
    device = next(network.parameters()).device
    logits = maps_of(network(images.to(device))).float().cpu().numpy()[0]
    return label_map(logits, size, certainty=certainty)


def measure(
    network: nn.Module, loader: DataLoader, data: SegmentationData
) -> tuple[SegmentationScores, dict[int, float]]:
    """The scores over all images, and each image's own mIoU by its index."""
    total = SegmentationScores(len(data.classes), IGNORED)
    of_images = {}
    for index, (images, masks, broken) in enumerate(loader):
        if broken[0] >= 0:
            continue
        truth = masks[0].numpy()
        predicted, _ = predict_map(network, images, truth.shape)
        of_images[index] = total.update(predicted, truth)
    return total, of_images
