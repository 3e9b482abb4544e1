"""A detector's loss: each anchor should predict the class and box it belongs to, or background.

Nearly all anchors are background, so only the hardest of those count: SSD's hard negatives.
"""

# B batch, a anchors, N classes without the background, n boxes of an image; boxes are center x,
# center y, width, height as fractions of the image

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from mobilevitv2.model.boxes import encode, match

NEGATIVES = 3  # for each positive

Label = Mapping[str, Tensor]  # the objects in an image: `class_labels` int64 [n], `boxes` [n, 4]


def detection_losses(
    logits: Tensor, offsets: Tensor, anchors: Tensor, labels: Sequence[Label]
) -> dict[str, Tensor]:
    """The two parts of the loss, to be added, under their names in transformers.

    `logits` [B, a, 1 + N], background first; `offsets` [B, a, 4] as `encode` gives them; `anchors`
    [a, 4]. "loss_bbox" is the smooth L1 distance of the positives, which are the anchors with a
    box; "loss_ce" the cross-entropy of those and of an image's hardest negatives. Both are summed
    and divided by the batch's positives, or by 1 without any. An image without boxes counts as
    many negatives as one with a positive; ml-cvnets doesn't train on such images. Raises ValueError
    for labels that don't fit.
    """
    logits, offsets, anchors = logits.float(), offsets.float(), anchors.float()
    check_labels(labels, len(logits), logits.shape[-1] - 1)
    targets = [targets_of(anchors, label) for label in labels]
    classes = torch.stack([classes for classes, _ in targets])  # [B, a], 0 is the background
    boxes = torch.stack([boxes for _, boxes in targets])  # [B, a, 4]
    positive = classes > 0
    counted = positive | hard_negatives(logits.detach(), positive)
    distance = F.smooth_l1_loss(offsets[positive], boxes[positive], reduction="sum")
    entropy = F.cross_entropy(logits[counted], classes[counted], reduction="sum")
    number = positive.sum().clamp(min=1)
    return {"loss_ce": entropy / number, "loss_bbox": distance / number}


def hard_negatives(logits: Tensor, positive: Tensor) -> Tensor:
    """The hardest anchors without a box, `NEGATIVES` for each positive or for one, bool [B, a]."""
    hardness = -logits.log_softmax(-1)[..., 0]
    hardness = hardness.masked_fill(positive, -torch.inf)
    order = hardness.argsort(stable=True, dim=-1, descending=True)
    rank = order.argsort(-1)  # 0 for the hardest
    number = NEGATIVES * positive.sum(-1, keepdim=True).clamp(min=1)
    return (rank < number) & ~positive


def targets_of(anchors: Tensor, label: Label) -> tuple[Tensor, Tensor]:
    """Each anchor's class, int64 [a] with the background as 0, and encoded box [a, 4]."""
    boxes = label["boxes"].to(anchors)
    classes = torch.zeros(len(anchors), dtype=torch.int64, device=anchors.device)
    coded = torch.zeros_like(anchors)
    number = match(anchors, boxes)
    found = number >= 0
    classes[found] = label["class_labels"].to(classes)[number[found]] + 1
    coded[found] = encode(boxes[number[found]], anchors[found])
    return classes, coded


def check_labels(labels: Sequence[Label], images: int, classes: int) -> None:
    """Raises ValueError, which names the image, for labels that can't be trained on."""
    if len(labels) != images:
        raise ValueError(
            f"got {images} images and {len(labels)} labels; expected a dict for each image, even "
            "without boxes."
        )
    for index, label in enumerate(labels):
        if wrong := _wrong_with(label, classes):
            raise ValueError(f"the labels of image {index} of the batch: {wrong}")


def _wrong_with(label: Label, classes: int) -> str | None:
    if missing := {"class_labels", "boxes"} - label.keys():
        return f"missing {' and '.join(sorted(missing))}; got {', '.join(label) or 'nothing'}."
    numbers, boxes = label["class_labels"], label["boxes"]
    if numbers.ndim != 1 or boxes.shape != (len(numbers), 4):
        return (
            f"class_labels is {list(numbers.shape)} and boxes {list(boxes.shape)}; expected [n] "
            "and [n, 4]."
        )
    if len(numbers) and (numbers.min() < 0 or numbers.max() >= classes):
        return (
            f"class_labels has {numbers.min()} to {numbers.max()}; {classes} classes are 0 to "
            f"{classes - 1}, without the background."
        )
    inside = (boxes[:, :2] >= 0) & (boxes[:, :2] <= 1)
    if not (inside.all() and (boxes[:, 2:] > 0).all() and boxes.isfinite().all()):
        return (
            "a box is empty, not finite or outside the image; expected center x, center y, width "
            "and height as fractions of the image."
        )
    return None
