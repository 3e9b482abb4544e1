"""Where a model runs: in PyTorch, in the engine, or in an exported file's own runtime."""

from abc import ABC, abstractmethod

import numpy as np
from PIL import Image

from mobilevitv2.class_names import ClassFacts
from mobilevitv2.predict.answers import Answer
from mobilevitv2.processor import MobileViTImageProcessor


class Backend(ABC):
    """A model that is ready to run on arrays."""

    output = "logits"  # or what an exported file was made for; see `Record.output`
    task: str  # the name of its task
    facts: ClassFacts

    @property
    def classes(self) -> list[str]:
        return self.facts.labels

    @property
    @abstractmethod
    def runs_in(self) -> str:
        """The runtime, the device or instructions, and the precision, for people."""

    def prepares_as(self, processor: MobileViTImageProcessor) -> bool:
        """Whether `prepare` does what this processor does."""
        return False

    def prepare(self, picture: Image.Image) -> np.ndarray:
        """An RGB picture to float32 [3, H, W]; only if `prepares_as` has said that it can."""
        raise NotImplementedError

    @abstractmethod
    def __call__(self, pixels: np.ndarray) -> Answer:
        """The answer to float32 [B, 3, H, W]."""
