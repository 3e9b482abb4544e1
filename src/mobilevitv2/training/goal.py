"""`Goal`: what is particular to a task in a training run."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import torch
from torch import nn
from torch.utils.data import DataLoader

from mobilevitv2.data import Data as AnyData
from mobilevitv2.data.decoded import DecodedSamples
from mobilevitv2.processor import MobileViTImageProcessor
from mobilevitv2.tasks import task_named
from mobilevitv2.training.folder import name_of
from mobilevitv2.training.loaders import readable
from mobilevitv2.training.module import Training
from mobilevitv2.training.recipe import Recipe

Data = TypeVar("Data", bound=AnyData)
Preparations = tuple[Callable[..., DecodedSamples], Any, Callable[..., Any]]
"""What decodes samples, what augments them to train, and what prepares the others."""
Found = tuple[Any, dict[int, Any]]  # the scores of a split, and each image's result by its index


class Goal(ABC, Generic[Data]):
    """One data set, and how a network is made for it, trained on it and measured on it."""

    training: ClassVar[type[Training]]

    eval_batch: ClassVar[int | None] = None
    """The batch size in validation, where it isn't the recipe's."""

    def __init__(self, data: Data) -> None:
        self.data = data
        self.task = task_named(data.task)

    def check(self, recipe: Recipe, asked: Iterable[str] = ()) -> None:
        """Raises ConfigError for a recipe that this task can't use; see `Recipe.check_for`."""
        recipe.check_for(self.task.name, asked)

    def image_size(self, recipe: Recipe) -> int:
        """The side of the training images [px]: the recipe's, or one that suits the data."""
        return recipe.image_size or self.usual_size()

    @abstractmethod
    def usual_size(self) -> int:
        """The image size for this data where the recipe has none [px]."""

    def config(self, recipe: Recipe) -> dict[str, Any]:
        """The config's fields that the task or the recipe decides."""
        return {}

    @abstractmethod
    def sized(self, processor: MobileViTImageProcessor, size: int) -> MobileViTImageProcessor:
        """The same processor, for images of this size."""

    @abstractmethod
    def preparations(self, recipe: Recipe, processor: MobileViTImageProcessor) -> Preparations:
        """How samples become what the network takes."""

    def image_sets(self, recipe: Recipe, processor: MobileViTImageProcessor) -> dict[str, Any]:
        """The splits: training images augmented, the others as the processor prepares them."""
        decoded, augment, prepare = self.preparations(recipe, processor)
        return {
            name: decoded(samples, prepare=augment, short_side=2 * augment.size)
            if name == "train"
            else decoded(samples, prepare=prepare, keep_pixels=True, replace_broken=False)
            for name, samples in self.data.splits.items()
        }

    def module(self, network: nn.Module, recipe: Recipe, **options: Any) -> Training:
        """The Lightning module; `options` are its remaining arguments."""
        return self.training(network, recipe, goal=self, **options)

    @abstractmethod
    def new_scores(self) -> Any:
        """Scores that count nothing yet."""

    @abstractmethod
    def count(self, scores: Any, output: Any, targets: Any) -> Iterable[Any]:
        """Count a batch's output into the scores; returns each image's own result."""

    @abstractmethod
    def figures(self, scores: Any) -> dict[str, float]:
        """What the history says of the scores: the task's figures, and more where there are."""

    @torch.inference_mode()
    def measure(self, network: nn.Module, loader: DataLoader) -> Found:
        """Count all images of a split that can be decoded; the network is in eval mode."""
        scores, results, first = self.new_scores(), {}, 0
        device = next(network.parameters()).device
        for batch in loader:
            there, pixels, targets = readable(batch)
            if there:
                found = self.count(scores, network(pixels.to(device)), targets)
                results |= zip([first + i for i in there], found, strict=True)
            first += len(batch[2])
        return scores, results

    def choose_last(self, network: nn.Module, found: dict[str, Found]) -> bool:
        """Choose what the best network is still to be told; returns whether to save it again."""
        return False

    def report(
        self,
        out: Path,
        network: nn.Module,
        images: dict[str, Any],
        found: dict[str, Found],
        recipe: Recipe,
        **page: Any,
    ) -> Path:
        """Write the page about a run's best network, on the images held out where there are any."""
        split = "test" if "test" in found else "val"
        scores, results = found[split]
        figures = {name: self.figures(total) for name, (total, _) in found.items()}
        shown = {
            f"{name} {title}": figures[name][score]
            for score, title in self.task.figures.items()
            if score in figures[split]
            for name in found
        }
        return self.task.part("report").write(
            out,
            classes=self.data.classes,
            scores=scores,
            title=f"{self.data.name}, {split} images",
            settings=asdict(recipe) | shown,
            **self.examples(network, images[split], results, partial(name_of, self.data, split)),
            **page,
        )

    @abstractmethod
    def examples(
        self, network: nn.Module, images: Any, results: dict[int, Any], name: Callable[[int], str]
    ) -> dict[str, Any]:
        """What the report shows of single images, as arguments of its `write`."""


def goal_for(data: AnyData) -> Goal:
    """The goal of training on a data set."""
    return task_named(data.task).part("training").Goal(data)
