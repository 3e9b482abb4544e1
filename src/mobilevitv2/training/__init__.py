"""Training: a recipe and a data set to a bundle, with checkpoints that survive being killed."""

from mobilevitv2.training.recipe import Recipe
from mobilevitv2.training.run import TrainingInterrupted, TrainingResult, fit, train

__all__ = ["Recipe", "TrainingInterrupted", "TrainingResult", "fit", "train"]
