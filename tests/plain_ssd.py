"""What our SSD must equal: each number in plain Python, and ml-cvnets' head by its own names.

Boxes are lists of center x, center y, width, height, or of corners where it says so.
"""

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

Box = Sequence[float]


def corners_of(box: Box) -> list[float]:
    x, y, width, height = box
    return [x - width / 2, y - height / 2, x + width / 2, y + height / 2]


def overlap(first: Box, second: Box, eps: float = 0.0) -> float:
    """Of two boxes in corners."""
    width = max(0.0, min(first[2], second[2]) - max(first[0], second[0]))
    height = max(0.0, min(first[3], second[3]) - max(first[1], second[1]))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
    return width * height / (sum(areas) - width * height + eps)


def anchors(sizes: Sequence[tuple[int, int]]) -> list[list[float]]:
    """With the scales as published: 0.1 to 1.05 in six equal steps."""
    scales = [0.1 + 0.95 * step / 6 for step in range(7)]
    found = []
    for number, (height, width) in enumerate(sizes):
        small, large = scales[number], math.sqrt(scales[number] * scales[number + 1])
        for row in range(height):
            for column in range(width):
                center = [(column + 0.5) / width, (row + 0.5) / height]
                shapes = [(small, small), (large, large)]
                for ratio in (2, 3) if number < 5 else (2,):
                    root = math.sqrt(ratio)
                    shapes += [(small * root, small / root), (small / root, small * root)]
                found += [[*center, min(1.0, w), min(1.0, h)] for w, h in shapes]
    return found


def matches(all_anchors: Sequence[Box], boxes: Sequence[Box]) -> list[int]:
    """The number of each anchor's box, -1 without one."""
    table = [[overlap(corners_of(a), corners_of(b), 1e-5) for b in boxes] for a in all_anchors]
    found = []
    for row in table:
        best = max(range(len(boxes)), key=row.__getitem__, default=-1)
        found.append(best if best >= 0 and row[best] >= 0.5 else -1)
    for number in range(len(boxes)):
        column = [row[number] for row in table]
        found[column.index(max(column))] = number
    return found


def survivors(corners: Sequence[Box], labels: Sequence[int], threshold: float) -> list[int]:
    """Greedy suppression, best first, one box after the other."""
    kept: list[int] = []
    for i, box in enumerate(corners):
        rivals = [corners[j] for j in kept if labels[j] == labels[i]]
        if all(overlap(rival, box) <= threshold for rival in rivals):
            kept.append(i)
    return kept


def losses(logits, offsets, all_anchors, labels) -> tuple[float, float]:
    """Cross-entropy and smooth L1 of a batch of nested lists; labels are (class, box) pairs."""
    entropy = distance = 0.0
    positives = 0
    for scores, said, things in zip(logits, offsets, labels, strict=True):
        found = matches(all_anchors, [box for _, box in things])
        negatives = []
        count = 0
        for i, number in enumerate(found):
            log_sum = math.log(sum(math.exp(score) for score in scores[i]))
            if number < 0:
                negatives.append(log_sum - scores[i][0])
                continue
            count += 1
            kind, box = things[number]
            entropy += log_sum - scores[i][kind + 1]
            ax, ay, aw, ah = all_anchors[i]
            wanted = [
                (box[0] - ax) / aw / 0.1,
                (box[1] - ay) / ah / 0.1,
                math.log(box[2] / aw) / 0.2,
                math.log(box[3] / ah) / 0.2,
            ]
            for a, b in zip(said[i], wanted, strict=True):
                d = abs(a - b)
                distance += d * d / 2 if d < 1 else d - 0.5
        entropy += sum(sorted(negatives, reverse=True)[: 3 * max(count, 1)])
        positives += count
    return entropy / max(1, positives), distance / max(1, positives)


def head(
    state: Mapping[str, Tensor], fine: Tensor, coarse: Tensor, *, after_depthwise=lambda x: x
) -> Tensor:
    """ml-cvnets' SSDLite head on two feature maps: [B, anchors, 4 + 1 + classes].

    `state` has its names. `after_depthwise` is what follows a depthwise convolution: nothing.
    """

    def conv(x: Tensor, name: str, stride: int = 1) -> Tensor:
        weight = state[f"{name}.block.conv.weight"]
        groups = x.shape[1] // weight.shape[1]
        padding = weight.shape[2] // 2
        bias = state.get(f"{name}.block.conv.bias")
        x = F.conv2d(x, weight, bias, stride, padding, groups=groups)
        norm = f"{name}.block.norm."
        if f"{norm}weight" in state:
            mean, variance = state[f"{norm}running_mean"], state[f"{norm}running_var"]
            x = F.batch_norm(x, mean, variance, state[f"{norm}weight"], state[f"{norm}bias"])
        return x

    maps = [fine, coarse]
    for layer in ("os_64", "os_128", "os_256"):
        x = after_depthwise(conv(maps[-1], f"extra_layers.{layer}.dw_conv", 2))
        maps.append(F.relu(conv(x, f"extra_layers.{layer}.pw_conv")))
    pooled = F.adaptive_avg_pool2d(maps[-1], 1)
    maps.append(F.relu(conv(pooled, "extra_layers.os_-1.1")))
    answers = []
    for number, x in enumerate(maps):
        name = f"ssd_heads.{number}"
        if f"{name}.proj_layer.block.conv.weight" in state:
            x = F.relu(conv(x, f"{name}.proj_layer"))
        if number < 5:
            x = after_depthwise(conv(x, f"{name}.loc_cls_layer.dw_conv"))
            x = conv(x, f"{name}.loc_cls_layer.pw_conv")
        else:
            x = conv(x, f"{name}.loc_cls_layer")
        cells = x.permute(0, 2, 3, 1)
        answers.append(cells.reshape(len(x), -1, x.shape[1] // (4 if number == 5 else 6)))
    return torch.cat(answers, 1)
