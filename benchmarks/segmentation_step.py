"""Time and memory of a segmenter's training step: ours, and the same head on timm's backbone.

    python benchmarks/segmentation_step.py [--width 0.5] [--size 352] [--batch 8] [--threads 2]
        [--head deeplabv3 | pspnet] [--stride 16]

Times are measured interleaved in one process; memory is the peak that a step adds to a fresh one.
"""

import argparse
from collections.abc import Callable

import timm
import torch
from measure import interleaved, median, peak_memory, report
from torch import Tensor, nn

from mobilevitv2 import MobileViTV2Config, MobileViTV2ForSemanticSegmentation
from mobilevitv2.model.segmentation import FEATURES, Head, segmentation_loss

CLASSES = 21
NETWORKS = ("mobilevitv2", "timm", "timm channels_last")


class OnTimm(nn.Module):
    """Our head on the last feature map of timm's backbone."""

    def __init__(self, config: MobileViTV2Config, *, channels_last: bool) -> None:
        super().__init__()
        name = f"mobilevitv2_{round(100 * config.width_multiplier):03d}"
        self.backbone = timm.create_model(
            name, features_only=True, output_stride=config.output_stride
        )
        name, features = FEATURES[config.segmentation_head]
        dropout = config.classifier_dropout_prob
        self.head = Head(config, config.aspp_out_channels, dropout, **{name: features(config)})
        self.format = torch.channels_last if channels_last else torch.contiguous_format
        self.to(memory_format=self.format)  # pyright: ignore[reportCallIssue]

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.backbone(images.contiguous(memory_format=self.format))[-1])


class Ours(nn.Module):
    """Our model, returning logits."""

    def __init__(self, config: MobileViTV2Config) -> None:
        super().__init__()
        self.model = MobileViTV2ForSemanticSegmentation(config)

    def forward(self, images: Tensor) -> Tensor:
        return self.model(images, return_dict=True).logits


def step(name: str, options: argparse.Namespace) -> Callable[[], None]:
    """Forward, loss at the masks' size, backward, in training mode."""
    torch.manual_seed(0)
    config = MobileViTV2Config(
        width_multiplier=options.width,
        num_labels=CLASSES,
        segmentation_head=options.head,
        output_stride=options.stride,
    )
    network = (
        Ours(config)
        if name == "mobilevitv2"
        else OnTimm(config, channels_last=name.endswith("channels_last"))
    ).train()
    images = torch.rand(options.batch, 3, options.size, options.size)
    masks = torch.randint(0, CLASSES, (options.batch, options.size, options.size))

    def call() -> None:
        segmentation_loss(network(images), masks).backward()
        network.zero_grad(set_to_none=True)

    return call


def main() -> None:
    """Measure in fp32."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=float, default=0.5)
    parser.add_argument("--size", type=int, default=352)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--head", choices=list(FEATURES), default="deeplabv3")
    parser.add_argument("--stride", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    memory = {name: peak_memory(step, name, options) for name in NETWORKS}
    times = interleaved({name: step(name, options) for name in NETWORKS}, options.rounds)
    rows = [
        {
            "backbone": name,
            "median ms": median(values),
            "min ms": min(values),
            "peak MiB": memory[name],
            "ours is x times as fast": median(values) / median(times["mobilevitv2"]),
            "ours needs x of the memory": memory["mobilevitv2"] / memory[name],
        }
        for name, values in times.items()
    ]
    title = (
        f"Training step with {options.head}, width {options.width}, batch {options.batch}, "
        f"{options.size} px, output stride {options.stride}, fp32"
    )
    report(f"segmentation_step_{options.head}", title, rows)


if __name__ == "__main__":
    main()
