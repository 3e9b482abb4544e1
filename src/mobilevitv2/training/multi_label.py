"""Training a multi-label classifier: each class is a question of its own, answered yes or no."""

# B batch, N classes

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mobilevitv2.data.labels.opening import LabeledImages
from mobilevitv2.errors import DataError
from mobilevitv2.scores.multi_label import MultiLabelScores, best_thresholds
from mobilevitv2.training.classification import ClassifierTraining, WholeImages
from mobilevitv2.training.goal import Found
from mobilevitv2.training.module import logits_of
from mobilevitv2.training.recipe import Recipe


class MultiLabelTraining(ClassifierTraining):
    """`network(images)` gives logits [B, N], or has them in its output; targets are bool [B, N]."""

    def loss(self, logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
        """The mean over images and classes of logits [B, N]; labels are shares [B, N]."""
        smooth = labels.float() * (1 - smoothing) + smoothing / 2
        return F.binary_cross_entropy_with_logits(logits, smooth)

    def loss_of(self, images: Tensor, targets: Tensor) -> Tensor:
        return super().loss_of(images, targets.float())  # which can be mixed


class Goal(WholeImages):
    """Any number of classes for each image."""

    training = MultiLabelTraining
    images = LabeledImages

    def check(self, recipe: Recipe, asked: Iterable[str] = ()) -> None:
        super().check(recipe, asked)
        for split, samples in self.data.splits.items():
            if not any(labels.any() for _, labels in samples):
                raise DataError(
                    f"no image of the {split} split of {self.data.name} has a label, so nothing "
                    "can be measured on it. Label some, or split the images anew."
                )

    def config(self, recipe: Recipe) -> dict[str, Any]:
        return {"problem_type": "multi_label_classification"}

    def new_scores(self) -> MultiLabelScores:
        return MultiLabelScores(len(self.data.classes))

    def count(self, scores: MultiLabelScores, output: Any, targets: Any) -> Tensor:
        """Returns the probabilities [B, N]."""
        probabilities = logits_of(output).float().cpu().sigmoid()
        scores.update(probabilities.numpy(), targets.cpu().numpy())
        return probabilities

    def figures(self, scores: MultiLabelScores) -> dict[str, float]:
        return {name: getattr(scores, name) for name in ("map", "macro_f1", "micro_f1")}

    @torch.inference_mode()
    def choose_last(self, network: nn.Module, found: dict[str, Found]) -> bool:
        """Give the network each class's threshold with the best F1 on the validation images."""
        chosen, _ = found["val"]
        thresholds = best_thresholds(chosen.scores, chosen.truth)
        for scores, _ in found.values():
            scores.thresholds = thresholds
        config = getattr(network, "config", None)
        if config is not None:
            config.label_thresholds = thresholds.tolist()
        return config is not None
