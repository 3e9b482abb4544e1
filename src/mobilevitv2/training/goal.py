"""`Goal`: what is particular to classification, segmentation or detection in a training run."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from mobilevitv2.data import ClassificationData, DetectionData, SegmentationData
from mobilevitv2.data import Data as AnyData
from mobilevitv2.tasks import task_named

if TYPE_CHECKING:
    from torch import nn
    from torch.utils.data import DataLoader

    from mobilevitv2.model.pretrained import MobileViTV2PreTrainedModel
    from mobilevitv2.processor import MobileViTImageProcessor
    from mobilevitv2.training.module import Training
    from mobilevitv2.training.recipe import Recipe

Data = TypeVar("Data", bound=ClassificationData | SegmentationData | DetectionData)
# Writes the page about a run: its folder, recipe, history and timing, to the page's path.
WriteReport = Callable[[Path, "Recipe", list[dict[str, float]], dict[str, Any]], Path]


@dataclass(frozen=True)
class Conclusion:
    """What the best network came to: the metric on each split, in [0, 1]; and the report."""

    scores: dict[str, float]
    report: WriteReport


class Goal(ABC, Generic[Data]):
    """One data set, and how a network is made for it, trained on it and measured on it."""

    name: ClassVar[str]
    """What a checkpoint for it is called."""
    metric: ClassVar[str]
    """The score in [0, 1] that chooses the best epoch; `val_` and this name is in the history."""
    model_class: "ClassVar[type[MobileViTV2PreTrainedModel]]"

    eval_batch: ClassVar[int | None] = None
    """Images at a time in validation, where that is not the recipe's batch size."""

    def __init__(self, data: Data) -> None:
        self.data = data

    def check(self, recipe: "Recipe", asked: Iterable[str] = ()) -> None:
        """Raises ConfigError for a recipe that this task can't use; see `Recipe.check_for`."""
        recipe.check_for(self.name, asked)

    @abstractmethod
    def image_size(self, recipe: "Recipe") -> int:
        """The side of the training images [px]."""

    @abstractmethod
    def config(self, recipe: "Recipe", image_size: int) -> dict[str, Any]:
        """Fields of the config that the task or the recipe decides."""

    @abstractmethod
    def sized(self, processor: "MobileViTImageProcessor", size: int) -> "MobileViTImageProcessor":
        """The same processor, for images of this size."""

    @abstractmethod
    def image_sets(self, recipe: "Recipe", processor: "MobileViTImageProcessor") -> dict[str, Any]:
        """The splits: training images augmented, the others as the processor prepares them."""

    @abstractmethod
    def module(self, network: "nn.Module", recipe: "Recipe", **how: Any) -> "Training":
        """The Lightning module; `how` are its remaining arguments."""

    @abstractmethod
    def conclude(self, network: "nn.Module", loaders: "dict[str, DataLoader]") -> Conclusion:
        """Measure the network, in eval mode, on all splits but train."""


def goal_for(data: AnyData) -> Goal:
    """The goal of training on a data set."""
    return task_named(data.task).part("training").Goal(data)
