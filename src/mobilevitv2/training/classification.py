"""Training a classifier: the loss, what validation counts, how images become samples."""

# B batch, C channels, H W height and width, N classes, M images

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader

from mobilevitv2.data import ClassificationData, Sample
from mobilevitv2.data.classes.samples import ImageSet
from mobilevitv2.images.reading import load_image
from mobilevitv2.model.classification import MobileViTV2ForImageClassification
from mobilevitv2.processor import MobileViTImageProcessor
from mobilevitv2.scores.classification import ClassificationScores
from mobilevitv2.training import goal
from mobilevitv2.training.augment import Augment, Mix
from mobilevitv2.training.folder import name_of
from mobilevitv2.training.module import Training
from mobilevitv2.training.networks import margin_processor
from mobilevitv2.training.recipe import Recipe

LARGEST = 256  # px, unless a recipe asks for more


class ClassifierTraining(Training):
    """`network(images)` gives logits [B, N], or an output that has them; targets are int64 [B]."""

    def __init__(self, network: nn.Module, recipe: Recipe, *, classes: int, **how: Any) -> None:
        super().__init__(network, recipe, **how)
        self.mix = Mix(recipe, classes)
        self.scores = ClassificationScores(classes)

    def loss_of(self, images: Tensor, targets: Tensor) -> Tensor:
        images, labels = self.mix(images, targets)
        logits = logits_of(self.network(images)).float()
        return F.cross_entropy(logits, labels, label_smoothing=self.recipe.label_smoothing)

    def validate_batch(self, images: Tensor, targets: Tensor) -> None:
        logits = logits_of(self.averaged(images)).float()
        self.count_loss(F.cross_entropy(logits, targets), len(targets))
        self.scores.update(logits.cpu().numpy(), targets.cpu().numpy())

    def take_scores(self) -> dict[str, float]:
        found = {"accuracy": self.scores.accuracy, "top5": self.scores.top5}
        self.scores = ClassificationScores(self.scores.classes)
        return {name: score for name, score in found.items() if score is not None}


class Goal(goal.Goal[ClassificationData]):
    """Classes of whole images."""

    name = "classification"
    metric = "accuracy"
    model_class = MobileViTV2ForImageClassification

    def image_size(self, recipe: Recipe) -> int:
        """The recipe's, or that of the median image as a multiple of 32, from 32 to 256 [px]."""
        if recipe.image_size is not None:
            return recipe.image_size
        return min(max(round(self.data.short_side / 32) * 32, 32), LARGEST)

    def config(self, recipe: Recipe, image_size: int) -> dict[str, Any]:
        return {}

    def sized(self, processor: MobileViTImageProcessor, size: int) -> MobileViTImageProcessor:
        return margin_processor(processor, size)

    def image_sets(self, recipe: Recipe, processor: MobileViTImageProcessor) -> dict[str, ImageSet]:
        size = processor.crop_size["height"]

        def prepare(image: Any, _: tuple[int, int]) -> Tensor:
            return torch.from_numpy(processor(image).pixel_values[0])

        return {
            name: ImageSet(samples, Augment(recipe, size), short_side=2 * size)
            if name == "train"
            else ImageSet(samples, prepare, keep_pixels=True, replace_broken=False)
            for name, samples in self.data.splits.items()
        }

    def module(self, network: nn.Module, recipe: Recipe, **how: Any) -> ClassifierTraining:
        return ClassifierTraining(network, recipe, classes=len(self.data.classes), **how)

    def conclude(self, network: nn.Module, loaders: dict[str, DataLoader]) -> goal.Conclusion:
        predictions = {name: predict_logits(network, loaders[name]) for name in loaders}
        counted = {name: self._scores(*found[:2]) for name, found in predictions.items()}
        scores = {name: found.accuracy for name, found in counted.items()}

        def report(
            out: Path, recipe: Recipe, history: list[dict[str, float]], timing: dict[str, Any]
        ) -> Path:
            from mobilevitv2.report.classification import write_report

            split = "test" if "test" in predictions else "val"
            logits, _, indices = predictions[split]
            return write_report(
                out,
                history=history,
                classes=self.data.classes,
                scores=counted[split],
                probabilities=logits.softmax(1).numpy(),
                images=_opener(self.data.splits[split], indices),
                names=[name_of(self.data, split, index) for index in indices],
                title=f"{self.data.name}, {split} images",
                settings=asdict(recipe) | {f"{name} accuracy": s for name, s in scores.items()},
                timing=timing,
            )

        return goal.Conclusion(scores, report)

    def _scores(self, logits: Tensor, targets: Tensor) -> ClassificationScores:
        scores = ClassificationScores(len(self.data.classes))
        scores.update(logits.numpy(), targets.numpy())
        return scores


def logits_of(output: Any) -> Tensor:
    """The logits of a network's output, which may be the logits."""
    return output if isinstance(output, Tensor) else output.logits


@torch.inference_mode()
def predict_logits(network: nn.Module, loader: DataLoader) -> tuple[Tensor, Tensor, list[int]]:
    """float32 logits [M, N], targets [M] and indices of the M images that could be decoded."""
    device = next(network.parameters()).device
    logits, targets = [], []
    for pixels, labels, _ in loader:
        logits.append(logits_of(network(pixels.to(device))).float().cpu())
        targets.append(labels)
    all_targets = torch.cat(targets)
    there = all_targets >= 0
    return torch.cat(logits)[there], all_targets[there], there.nonzero().flatten().tolist()


def _opener(samples: list[Sample], indices: list[int]) -> Callable[[int], Image.Image]:
    def image(i: int) -> Image.Image:
        return load_image(samples[indices[i]][0])

    return image
