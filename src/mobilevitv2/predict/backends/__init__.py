"""Where a model runs: in PyTorch, in the engine, or in an exported file's own runtime."""

from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np

from mobilevitv2.bundle import check_names
from mobilevitv2.config import MobileViTV2Config
from mobilevitv2.images.reading import ImageSource
from mobilevitv2.predict.answers import Answer
from mobilevitv2.processor import MobileViTImageProcessor


class Backend(ABC):
    """A model that is ready to run on arrays."""

    output = "logits"  # or what an exported file was made for; see `Record.output`
    task: str  # the name of its task
    classes: list[str]  # the class names, in the order of the logits
    colors: list[tuple[int, int, int]]  # RGB of each class; empty unless somebody chose them
    thresholds: list[float] | None  # a multi-label model's own, for each class

    def take_names(self, config: MobileViTV2Config) -> None:
        """Set what the config says of the classes. Raises CheckpointError; see `check_names`."""
        check_names(config)
        self.classes = list((config.id2label or {}).values())
        self.colors = [(r, g, b) for r, g, b in config.class_colors or []]
        self.thresholds = config.label_thresholds

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
