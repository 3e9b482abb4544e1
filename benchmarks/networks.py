"""The networks to compare, with random weights; each takes images [B, 3, H, W]."""

from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn

from mobilevitv2 import MobileViTV2Config, MobileViTV2ForImageClassification
from mobilevitv2.benchmark.contenders import Logits, transformers_classifier

PEERS = ("mobilevitv2", "timm", "timm channels_last", "transformers")


class ChannelsLast(nn.Module):
    """A model that gets its images in channels_last."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def forward(self, images: Tensor) -> Tensor:
        return self.model(images.contiguous(memory_format=torch.channels_last))


def make(name: str, width: float = 1.0, classes: int = 1000) -> nn.Module:
    """The network of a peer, or of a timm model, by its name."""
    torch.manual_seed(0)
    if name == "mobilevitv2":
        config = MobileViTV2Config(width_multiplier=width, num_labels=classes)
        return Logits(MobileViTV2ForImageClassification(config))
    if name == "transformers":
        return transformers_classifier(width, classes)
    timm_name = f"mobilevitv2_{round(100 * width):03d}" if name.startswith("timm") else name
    model = timm.create_model(timm_name, num_classes=classes)
    return ChannelsLast(model) if name.endswith("channels_last") else model


def save(name: str, width: float, folder: Path) -> None:
    """Save a network with its configuration, as its library does."""
    network: Any = make(name, width)
    network.model.save_pretrained(folder)
