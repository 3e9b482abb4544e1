"""Mean IoU of our segmenter and torchvision's LRASPP, trained from scratch for equal times.

    python benchmarks/camvid.py ../shared/data/camvid [--minutes 30] [--width 0.5] [--threads 2]
        [--precision bf16] [--only mobilevitv2 | lraspp_mobilenet_v3_large] [--out runs/camvid]

Both have the same trainer, recipe, crops and seed; see `same_time.py`. LRASPP's BatchNorm averages
with PyTorch's default momentum of 0.1: its own, 0.01, doesn't settle in so few steps (after 345 of
them it had a mean IoU of 0.05).
"""

import torchvision
from same_time import compare
from torch import nn

from mobilevitv2.data import open_segmentation

PEER = "lraspp_mobilenet_v3_large"


def make_peer(classes: int) -> nn.Module:
    """LRASPP with random weights."""
    build = getattr(torchvision.models.segmentation, PEER)
    network = build(weights=None, weights_backbone=None, num_classes=classes)
    for norm in (m for m in network.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.momentum = 0.1
    return network


if __name__ == "__main__":
    compare(
        "camvid",
        PEER,
        make_peer,
        open_segmentation,
        recipe="segmentation",
        metric="mIoU",
        description=__doc__,
    )
