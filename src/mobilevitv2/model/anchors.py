"""Anchors: boxes of fixed sizes and shapes at every cell of six feature maps.

For each anchor the detector predicts a class and how the box differs from the anchor. A number's
place alone says which anchor it is for, so the order here is part of the weights.
"""

# H W height and width of a feature map, A anchors of a cell; a box is center x, center y, width and
# height, as fractions of the image

import math
from collections.abc import Sequence

import torch
from torch import Tensor

SMALLEST, LARGEST = 0.1, 1.05  # side of the first map's small square, and past the last map's
ASPECT_RATIOS = ((2, 3), (2, 3), (2, 3), (2, 3), (2, 3), (2,))  # of each map, finest map first
ANCHORS_OF_A_CELL = tuple(2 + 2 * len(ratios) for ratios in ASPECT_RATIOS)


def anchor_shapes(index: int) -> list[tuple[float, float]]:
    """Width and height of the A anchors at each cell of map `index`.

    Two squares, then a wide and a tall box for each aspect ratio; sides are at most 1. Source:
    ml-cvnets, for its published weights.
    """
    step = (LARGEST - SMALLEST) / len(ASPECT_RATIOS)
    small, next_small = SMALLEST + index * step, SMALLEST + (index + 1) * step
    large = math.sqrt(small * next_small)
    shapes = [(small, small), (large, large)]
    for ratio in ASPECT_RATIOS[index]:
        long, short = small * math.sqrt(ratio), small / math.sqrt(ratio)
        shapes += [(long, short), (short, long)]
    return [(min(width, 1.0), min(height, 1.0)) for width, height in shapes]


def make_anchors(
    map_sizes: Sequence[Sequence[int]],
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
) -> Tensor:
    """All anchors [anchors, 4] of maps of these (height, width), finest first.

    Ordered by map, row, cell of the row, shape.
    """
    kind = {"dtype": dtype, "device": device}
    anchors = []
    for index, (height, width) in enumerate(map_sizes):
        y = (torch.arange(height, **kind) + 0.5) / height
        x = (torch.arange(width, **kind) + 0.5) / width
        shapes = torch.tensor(anchor_shapes(index), **kind)  # [A, 2]
        cells = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)[:, :, None]  # [H, W, 1, 2]
        size = (height, width, len(shapes), 2)
        anchors.append(torch.cat([cells.expand(size), shapes.expand(size)], -1).view(-1, 4))
    return torch.cat(anchors)
