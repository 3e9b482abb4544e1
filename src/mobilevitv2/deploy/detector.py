"""What a detector's file gives: logits and boxes of all anchors, scores and corners, or detections.

Anchors are constants where the image size is fixed, and made in the graph where it is not. What is
kept of overlapping boxes is one operator here, which ONNX says with its NonMaxSuppression.
"""

# B batch, a anchors, N classes without the background, n detections

from typing import Any

import torch
from torch import Tensor

from mobilevitv2.deploy.request import Request
from mobilevitv2.errors import require
from mobilevitv2.model.anchors import make_anchors
from mobilevitv2.model.boxes import decode, to_corners
from mobilevitv2.model.detection import BOX, MobileViTV2ForObjectDetection
from mobilevitv2.results.suppression import DETECTIONS, LEAST_SCORE, OVERLAP, suppress


class DetectorAnswers:
    """A detector's forward pass, to what is asked of its file.

    logits: [B, a, 1 + N], and boxes [B, a, 4] of center x, center y, width, height. boxes: scores
    [B, a, N] and corners [B, a, 4] of x1, y1, x2, y2. detections: scores [B, n], best first,
    int64 labels [B, n] and corners [B, n, 4]; n is 200, and what there is less has a score of 0.
    All in parts of the image, not cut off at its edges.
    """

    def __init__(self, model: MobileViTV2ForObjectDetection, request: Request) -> None:
        self.model = model
        self.output = request.output
        self.anchors: Tensor | None = None  # no buffer: in half precision it would be rounded
        if request.sizes and len(request.sizes) == 1:
            with torch.no_grad():
                pixels = torch.zeros(1, model.config.num_channels, *request.sizes[0])
                _, sizes = answers_of(model, pixels)
            self.anchors = make_anchors(sizes)

    def __call__(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Prepared pixels [B, 3, H, W] to the outputs."""
        answers, sizes = answers_of(self.model, pixels)
        offsets, logits = answers[..., :BOX], answers[..., BOX:]
        anchors = make_anchors(sizes) if self.anchors is None else self.anchors
        boxes = decode(_fp32(offsets), anchors)
        if self.output == "logits":
            return logits, boxes
        scores, corners = _fp32(logits).softmax(-1)[..., 1:], to_corners(boxes)
        if self.output == "boxes":
            return scores, corners
        return best(suppressed(scores.transpose(1, 2).contiguous(), corners), corners)


def answers_of(
    model: MobileViTV2ForObjectDetection, pixels: Tensor
) -> tuple[Tensor, list[tuple[int, int]]]:
    """What the head says of all anchors, [B, a, 4 + 1 + N], and the sizes of its maps."""
    return model.detection_head(*model.mobilevitv2.stages(pixels, [3, 4]))


def _fp32(values: Tensor) -> Tensor:
    """In half precision a box would be off by more than a pixel."""
    return values if values.dtype == torch.float32 else values.float()


def best(scores: Tensor, corners: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The best scores [B, 200] of [B, N, a], with labels and corners; 0 where there are fewer."""
    batch, anchors = corners.shape[:2]
    flat = scores.flatten(1)
    none = (flat[:, :1] * 0).expand(batch, DETECTIONS)  # zeros that every opset can say
    found, place = torch.cat([flat, none], 1).topk(DETECTIONS)
    place = torch.where(found > 0, place, 0)
    labels = place // anchors
    which = (place - labels * anchors).unsqueeze(-1).expand(batch, DETECTIONS, 4)
    return found, labels, corners.gather(1, which)


@torch.library.custom_op("mobilevitv2::suppressed", mutates_args=())
def suppressed(scores: Tensor, corners: Tensor) -> Tensor:
    """Scores [B, N, a] with 0 for all that `detect` drops.

    In ONNX at most 200 of a class stay, and all its candidates are looked at, where `detect` looks
    at the best 400: beyond these it may keep more.
    """
    kept = torch.zeros_like(scores)
    for image, places, out in zip(scores.numpy(), corners.numpy(), kept, strict=True):
        labels, anchors = (image > LEAST_SCORE).nonzero()
        order = (-image[labels, anchors]).argsort(kind="stable")
        labels, anchors = labels[order], anchors[order]
        if len(order):
            stay = suppress(places[anchors], labels)
            at = torch.from_numpy(labels[stay]), torch.from_numpy(anchors[stay])
            out[at] = torch.from_numpy(image)[at]
    return kept


@suppressed.register_fake
def _(scores: Tensor, corners: Tensor) -> Tensor:
    return torch.empty_like(scores)


def translations() -> dict[Any, Any]:
    """`suppressed` in ONNX, for torch.onnx.export."""
    op: Any = require("onnxscript", extra="onnx").opset20

    def in_onnx(scores: Any, corners: Any) -> Any:
        of_a_class = op.Constant(value_ints=[DETECTIONS])
        overlap = op.Constant(value_floats=[OVERLAP])
        least = op.Constant(value_floats=[LEAST_SCORE])
        chosen = op.NonMaxSuppression(corners, scores, of_a_class, overlap, least)  # [kept, 3]
        nothing = op.Mul(scores, op.Constant(value_floats=[0.0]))
        return op.ScatterND(nothing, chosen, op.GatherND(scores, chosen))

    return {torch.ops.mobilevitv2.suppressed.default: in_onnx}
