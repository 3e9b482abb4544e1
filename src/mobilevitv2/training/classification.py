"""Training a classifier: the loss, what validation counts, how images become samples."""

# B batch, N classes

from dataclasses import replace
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mobilevitv2.data.classes.opening import ImageSet
from mobilevitv2.data.decoded import DecodedSamples
from mobilevitv2.images.reading import load_image
from mobilevitv2.processor import MobileViTImageProcessor
from mobilevitv2.scores.classification import ClassificationScores
from mobilevitv2.training import goal
from mobilevitv2.training.augment import Augment, Mix
from mobilevitv2.training.module import Training, logits_of
from mobilevitv2.training.recipe import Recipe

LARGEST = 256  # px, unless a recipe asks for more
TINY = 96  # px; below, validation cuts no border off


class ClassifierTraining(Training):
    """`network(images)` gives logits [B, N], or an output that has them; targets are int64 [B]."""

    def __init__(self, network: nn.Module, recipe: Recipe, **options: Any) -> None:
        super().__init__(network, recipe, **options)
        self.mix = Mix(recipe, len(self.goal.data.classes))

    def loss(self, logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
        """The mean over images of logits [B, N]; labels are class numbers [B] or shares [B, N]."""
        return F.cross_entropy(logits, labels, label_smoothing=smoothing)

    def loss_of(self, images: Tensor, targets: Tensor) -> Tensor:
        images, labels = self.mix(images, targets)
        logits = logits_of(self.network(images)).float()
        return self.loss(logits, labels, self.recipe.label_smoothing)

    def validate_batch(self, images: Tensor, targets: Tensor) -> None:
        logits = logits_of(self.averaged(images)).float()
        self.count_loss(self.loss(logits, targets), len(targets))
        self.goal.count(self.scores, logits, targets.cpu())


class WholeImages(goal.Goal[Any]):
    """What is in whole images: how they are sized, prepared and shown."""

    images: ClassVar[type[DecodedSamples]]

    def usual_size(self) -> int:
        """That of the median image as a multiple of 32, from 32 to 256 [px]."""
        return min(max(round(self.data.short_side / 32) * 32, 32), LARGEST)

    def sized(self, processor: MobileViTImageProcessor, size: int) -> MobileViTImageProcessor:
        """The reference's margin around a crop of `size`; none for tiny images."""
        margin = MobileViTImageProcessor.for_checkpoint("cvnets", size).size
        return replace(
            processor,
            do_resize=True,
            do_center_crop=True,
            size={"shortest_edge": size} if size < TINY else margin,
            crop_size={"height": size, "width": size},
        )

    def preparations(self, recipe: Recipe, processor: MobileViTImageProcessor) -> goal.Preparations:
        def prepare(image: Any, _: tuple[int, int]) -> Tensor:
            return torch.from_numpy(processor(image).pixel_values[0])

        return self.images, Augment(recipe, processor.crop_size["height"]), prepare

    def examples(
        self, network: nn.Module, images: DecodedSamples, results: dict[int, Tensor], name: Any
    ) -> dict[str, Any]:
        indices = list(results)
        return {
            "probabilities": torch.stack(list(results.values())).numpy(),
            "images": lambda i: load_image(images.samples[indices[i]][0]),
            "names": [name(index) for index in indices],
        }


class Goal(WholeImages):
    """One class for each image."""

    training = ClassifierTraining
    images = ImageSet

    def new_scores(self) -> ClassificationScores:
        return ClassificationScores(len(self.data.classes))

    def count(self, scores: ClassificationScores, output: Any, targets: Any) -> Tensor:
        """Returns the probabilities [B, N]."""
        logits = logits_of(output).float().cpu()
        scores.update(logits.numpy(), targets)
        return logits.softmax(1)

    def figures(self, scores: ClassificationScores) -> dict[str, float]:
        found = {"accuracy": scores.accuracy, "top5": scores.top5}
        return {name: score for name, score in found.items() if score is not None}
