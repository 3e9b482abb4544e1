"""Training a segmenter: the loss, what validation counts, how images and masks become samples."""

# B batch, H W height and width, N classes

from collections.abc import Iterable
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from mobilevitv2.data import SegmentationData
from mobilevitv2.data.masks.opening import IGNORED, MaskedImages
from mobilevitv2.errors import ConfigError, DataError
from mobilevitv2.model.segmentation import segmentation_loss
from mobilevitv2.processor import MobileViTImageProcessor
from mobilevitv2.results.label_maps import label_map
from mobilevitv2.scores.segmentation import SegmentationScores
from mobilevitv2.training import goal
from mobilevitv2.training.augment_masks import MaskAugment
from mobilevitv2.training.module import Training, logits_of
from mobilevitv2.training.recipe import Recipe

LARGEST = 512  # px, unless a recipe asks for more


class SegmenterTraining(Training):
    """`network(images)` gives logits [B, N, h, w], or an output that has them.

    Targets are uint8 [B, H, W], 255 where a pixel doesn't count.
    """

    class_weights: Tensor | None  # [N], how much a pixel of each class counts

    def __init__(self, network: nn.Module, recipe: Recipe, **options: Any) -> None:
        super().__init__(network, recipe, **options)
        weights = class_weights(self.goal.data.pixels["train"], recipe.class_balance)
        self.register_buffer("class_weights", weights, persistent=False)

    def loss_of(self, images: Tensor, targets: Tensor) -> Tensor:
        output = self.network(images)
        options = (targets, IGNORED, self.class_weights, self.recipe.label_smoothing)
        loss = segmentation_loss(logits_of(output), *options)
        auxiliary = getattr(output, "auxiliary_logits", None)
        if auxiliary is None:
            return loss
        return loss + self.recipe.auxiliary_loss * segmentation_loss(auxiliary, *options)

    def validate_batch(self, images: Tensor, targets: Tensor) -> None:
        logits = logits_of(self.averaged(images)).float()
        size = images.shape[-2:]  # photos may be far larger, and so would all their scores be
        reduced = F.interpolate(targets[:, None].float(), size, mode="nearest-exact")[:, 0].long()
        counted = int((reduced != IGNORED).sum())
        if counted:
            self.count_loss(segmentation_loss(logits, reduced, IGNORED), counted)
        self.goal.count(self.scores, logits, targets.cpu())


class Goal(goal.Goal[SegmentationData]):
    """Classes of single pixels."""

    training = SegmenterTraining
    eval_batch = 1  # images keep their shapes

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

    def usual_size(self) -> int:
        """The median short side as a multiple of 32, from 32 to 512 [px]."""
        return min(max(self.data.short_side // 32 * 32, 32), LARGEST)

    def config(self, recipe: Recipe) -> dict[str, Any]:
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

    def preparations(self, recipe: Recipe, processor: MobileViTImageProcessor) -> goal.Preparations:
        def prepare(image: Image.Image, mask: np.ndarray, _: tuple[int, int]) -> Any:
            pixels = processor.fitted(image.size)(image).pixel_values[0]
            return torch.from_numpy(pixels), torch.from_numpy(mask)

        decoded = partial(MaskedImages, read_mask=self.data.read_mask)
        return decoded, MaskAugment(recipe, processor.size["shortest_edge"]), prepare

    def new_scores(self) -> SegmentationScores:
        return SegmentationScores(len(self.data.classes), IGNORED)

    def count(self, scores: SegmentationScores, output: Any, targets: Any) -> list[float]:
        """Returns each image's mIoU."""
        return [
            scores.update(label_map(logits, truth.shape)[0], truth)
            for logits, truth in zip(maps_of(output), map(np.asarray, targets), strict=True)
        ]

    def figures(self, scores: SegmentationScores) -> dict[str, float]:
        return {"miou": scores.miou, "pixel_accuracy": scores.pixel_accuracy}

    @torch.inference_mode()
    def examples(
        self, network: nn.Module, images: Any, results: dict[int, float], name: Any
    ) -> dict[str, Any]:
        from mobilevitv2.report.page import told_of
        from mobilevitv2.report.segmentation import Example

        device = next(network.parameters()).device
        examples = []
        for index in told_of(results):
            pixels, truth, _ = images[index]
            (logits,) = maps_of(network(pixels[None].to(device)))
            mask, certainty = label_map(logits, truth.shape, certainty=True)
            picture, truth = images.image(index), truth.numpy()
            examples.append(Example(name(index), picture, truth, mask, results[index], certainty))
        return {"colors": self.data.colors, "examples": examples}


def maps_of(output: Any) -> np.ndarray:
    """The logits of a network's output, float32 [B, N, h, w]."""
    return logits_of(output).float().cpu().numpy()


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
