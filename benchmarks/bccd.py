"""COCO's mAP of our detector and torchvision's SSDLite, trained from scratch for equal times.

    python benchmarks/bccd.py ../shared/data/bccd [--minutes 30] [--width 0.5] [--threads 2]
        [--precision bf16] [--only mobilevitv2 | ssdlite320_mobilenet_v3_large] [--out runs/bccd]

Both have the same trainer, recipe, augmentation, seed, suppression and scores; see `same_time.py`.
The peer keeps its own anchors, matching, loss and scaling of pixels.
"""

from types import SimpleNamespace
from typing import Any

import torch
import torchvision
from same_time import compare
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import box_convert, box_iou

from mobilevitv2.data import open_detection
from mobilevitv2.training import TrainingResult

PEER = "ssdlite320_mobilenet_v3_large"


class Peer(nn.Module):
    """torchvision's SSDLite with the interface of our detector; takes [B, 3, H, W] in [0, 1]."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        build = getattr(torchvision.models.detection, PEER)
        self.ssd = build(weights=None, weights_backbone=None, num_classes=1 + classes)

    def forward(self, images: Tensor, labels: list[dict[str, Tensor]] | None = None) -> Any:
        """Logits with the background first, boxes in center form, and the loss with labels."""
        size = images.shape[-1]
        scaled = (images - 0.5) / 0.5
        features = list(self.ssd.backbone(scaled).values())
        answers = self.ssd.head(features)
        sizes = [(size, size)] * len(images)
        anchors = self.ssd.anchor_generator(ImageList(scaled, sizes), features)
        offsets = answers["bbox_regression"]
        corners = [
            self.ssd.box_coder.decode_single(*pair) for pair in zip(offsets, anchors, strict=True)
        ]
        boxes = box_convert(torch.stack(corners), "xyxy", "cxcywh") / size
        loss = None if labels is None else self._loss(answers, anchors, labels, size)
        return SimpleNamespace(loss=loss, logits=answers["cls_logits"], pred_boxes=boxes)

    def _loss(
        self, answers: Any, anchors: list[Tensor], labels: list[dict[str, Tensor]], size: int
    ) -> Tensor:
        targets, matched = [], []
        for label, places in zip(labels, anchors, strict=True):
            boxes = box_convert(label["boxes"], "cxcywh", "xyxy") * size
            targets.append({"boxes": boxes, "labels": label["class_labels"] + 1})
            nothing = torch.full((len(places),), -1)
            overlap = box_iou(boxes, places)
            matched.append(self.ssd.proposal_matcher(overlap) if len(boxes) else nothing)
        parts = self.ssd.compute_loss(targets, answers, anchors, matched)
        return parts["bbox_regression"] + parts["classification"]


def map_50(result: TrainingResult) -> dict[str, Any]:
    """mAP@0.5 of the best epoch."""
    return {"mAP@0.5": result.history[result.best_epoch - 1]["val_map_50"]}


if __name__ == "__main__":
    compare(
        "bccd",
        PEER,
        Peer,
        open_detection,
        recipe="detection",
        metric="mAP",
        more=map_50,
        description=__doc__,
    )
