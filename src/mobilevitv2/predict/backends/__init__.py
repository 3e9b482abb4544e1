"""Where a model runs: in PyTorch, in the engine, or in an exported file's own runtime."""

from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np

from mobilevitv2.class_names import ClassFacts
from mobilevitv2.images.reading import ImageSource
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

    @abstractmethod
    def open_processor(self, source: str | Path) -> MobileViTImageProcessor:
        """How images are prepared for `__call__`; `source` is where the model came from."""

    def prepare(self, image: ImageSource, processor: MobileViTImageProcessor) -> np.ndarray | None:
        """The processor's float32 [3, H, W], but faster; None where this backend can't."""
        return None

    @abstractmethod
    def __call__(self, pixels: np.ndarray) -> Answer:
        """The answer to float32 [B, 3, H, W]."""
