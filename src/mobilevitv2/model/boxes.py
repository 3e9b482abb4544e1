"""Boxes and anchors: how much they overlap, which belongs to which, and how they differ.

Anchors are boxes of fixed sizes and shapes at every cell of six feature maps. For each the detector
predicts a class and how the box differs from it. A number's place alone says which anchor it is
for, so their order is part of the weights. Sources: the SSD paper (Liu et al., 2016), with the
numbers of ml-cvnets.
"""

# n boxes, a anchors; H W height and width of a feature map, A anchors of a cell; a box is center x,
# center y, width, height, or the corners x1, y1, x2, y2; both as fractions of the image

import math
from collections.abc import Sequence

import torch
from torch import Tensor

SMALLEST, LARGEST = 0.1, 1.05  # side of the first map's small square, and past the last map's
ASPECT_RATIOS = ((2, 3), (2, 3), (2, 3), (2, 3), (2, 3), (2,))  # of each map, finest map first
ANCHORS_OF_A_CELL = tuple(2 + 2 * len(ratios) for ratios in ASPECT_RATIOS)
CENTER_VARIANCE, SIZE_VARIANCE = 0.1, 0.2
MATCHED = 0.5  # the least overlap at which an anchor has to find a box
BACKGROUND = -1  # in place of a box's number
EPS = 1e-5  # fraction of the image: keeps overlaps of the smallest boxes low, as in ml-cvnets


def anchor_shapes(index: int) -> list[tuple[float, float]]:
    """Width and height, at most 1, of map `index`'s A anchors: two squares, then wide and tall."""
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
    """All anchors [anchors, 4] of maps of these (height, width), by map, row, cell and shape."""
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


def to_corners(boxes: Tensor) -> Tensor:
    """Center and size [..., 4] to corners [..., 4]."""
    center, half = boxes[..., :2], boxes[..., 2:] * 0.5  # XNNPACK divides by no whole number
    return torch.cat([center - half, center + half], -1)


def encode(boxes: Tensor, anchors: Tensor) -> Tensor:
    """The network's targets for boxes [..., 4] at their anchors [..., 4]; all center form."""
    center = (boxes[..., :2] - anchors[..., :2]) / anchors[..., 2:] / CENTER_VARIANCE
    size = (boxes[..., 2:] / anchors[..., 2:]).log() / SIZE_VARIANCE
    return torch.cat([center, size], -1)


def decode(offsets: Tensor, anchors: Tensor) -> Tensor:
    """The network's output for anchors [..., 4] as boxes [..., 4]: the inverse of `encode`."""
    center = offsets[..., :2] * CENTER_VARIANCE * anchors[..., 2:] + anchors[..., :2]
    size = (offsets[..., 2:] * SIZE_VARIANCE).exp() * anchors[..., 2:]
    return torch.cat([center, size], -1)


def overlaps(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union [a, n] of corners [a, 4] and [n, 4], with `EPS` in the divisor."""
    low = torch.maximum(first[:, None, :2], second[:, :2])
    high = torch.minimum(first[:, None, 2:], second[:, 2:])
    shared = (high - low).clamp(min=0).prod(-1)  # [a, n]
    areas = [(corners[:, 2:] - corners[:, :2]).prod(-1) for corners in (first, second)]
    return shared / (areas[0][:, None] + areas[1] - shared + EPS)


def match(anchors: Tensor, boxes: Tensor) -> Tensor:
    """The number of the box that each anchor has to find, int64 [a]; `BACKGROUND` for none.

    `anchors` [a, 4] and `boxes` [n, 4] are center and size. An anchor takes the box that it
    overlaps most, if by `MATCHED` or more. Every box also gets the anchor that overlaps it most,
    whatever that is; the last of several boxes with the same best anchor gets it.
    """
    if not len(boxes):
        return torch.full((len(anchors),), BACKGROUND, device=anchors.device)
    overlap = overlaps(to_corners(anchors), to_corners(boxes))
    best, number = overlap.max(1)
    number = number.where(best >= MATCHED, BACKGROUND)
    forced = overlap.argmax(0)  # [n]
    number[forced] = BACKGROUND
    boxes_in_order = torch.arange(len(boxes), device=anchors.device)
    return number.scatter_reduce(0, forced, boxes_in_order, "amax")  # the last, on any device
