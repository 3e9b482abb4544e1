"""Exported detectors: what a file gives, and when it agrees with its model.

Anchors are constants where the image size is fixed, else made in the graph. Suppression is one
operator here, which becomes ONNX's NonMaxSuppression.
"""

# B batch, a anchors, N classes without the background, n m detections

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mobilevitv2.class_names import ClassFacts
from mobilevitv2.deploy.request import Request
from mobilevitv2.deploy.verify import Agreement, scale_of
from mobilevitv2.errors import require
from mobilevitv2.model.boxes import decode, make_anchors, to_corners
from mobilevitv2.model.detection import BOX, MobileViTV2ForObjectDetection
from mobilevitv2.predict.answers import Answer, FinalBoxes, RawBoxes, ScoredBoxes
from mobilevitv2.predict.detection import detections
from mobilevitv2.results import suppression
from mobilevitv2.results.probabilities import softmax
from mobilevitv2.results.suppression import DETECTIONS, LEAST_SCORE, OVERLAP, Detections

OUTPUT_NAMES = {
    "logits": ["logits", "boxes"],
    "boxes": ["scores", "corners"],
    "detections": ["scores", "labels", "corners"],
}
CLASSIFIES = False
COUNTED = "detections"
SAME = "same detections ({detections} in both)"
# Rounding chooses between equal boxes, in half precision between boxes that are nearly as good. At
# least one detection may differ, with its counterpart.
MAY_DIFFER = {"fp32": (2, 0.01), "half": (2, 0.05)}

SHOWN = 0.3  # the least score of a detection that counts, as in ml-cvnets' demonstrations
SAME_OVERLAP = 0.9  # the least overlap of two boxes that are the same
NEAR = 1e-4  # of the image: closer boxes are the same, however thin what is left of them at an edge
BEST = 10  # that count in any case where a file gives nothing but detections


def stage(
    model: MobileViTV2ForObjectDetection, request: Request
) -> Callable[[Tensor], tuple[Tensor, ...]]:
    """The outputs, see `Record.output`; boxes aren't clipped."""
    fixed = None  # anchors; in a buffer, half precision would round them
    if request.fixed_size:
        with torch.no_grad():
            pixels = torch.zeros(1, model.config.num_channels, *request.fixed_size)
            fixed = make_anchors(answers_of(model, pixels)[1])

    def outputs(pixels: Tensor) -> tuple[Tensor, ...]:
        answers, sizes = answers_of(model, pixels)
        offsets, logits = answers[..., :BOX], answers[..., BOX:]
        boxes = decode(_fp32(offsets), make_anchors(sizes) if fixed is None else fixed)
        if request.output == "logits":
            return logits, boxes
        scores, corners = _fp32(logits).softmax(-1)[..., 1:], to_corners(boxes)
        if request.output == "boxes":
            return scores, corners
        return best(suppressed(scores.transpose(1, 2).contiguous(), corners), corners)

    return outputs


def answers_of(
    model: MobileViTV2ForObjectDetection, pixels: Tensor
) -> tuple[Tensor, list[tuple[int, int]]]:
    """The head's answers for all anchors, [B, a, 4 + 1 + N], and the sizes of its maps."""
    return model.detection_head(*model.mobilevitv2.stages(pixels, [3, 4]))


def _fp32(values: Tensor) -> Tensor:
    """In half precision boxes would be off by more than a pixel."""
    return values if values.dtype == torch.float32 else values.float()


def best(scores: Tensor, corners: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The best scores [B, 200] of [B, N, a], with labels and corners; 0 where there are fewer."""
    batch, anchors = corners.shape[:2]
    flat = scores.flatten(1)
    none = (flat[:, :1] * 0).expand(batch, DETECTIONS)  # zeros that every opset has
    found, place = torch.cat([flat, none], 1).topk(DETECTIONS)
    place = torch.where(found > 0, place, 0)
    labels = place // anchors
    which = (place - labels * anchors).unsqueeze(-1).expand(batch, DETECTIONS, 4)
    return found, labels, corners.gather(1, which)


@torch.library.custom_op("mobilevitv2::suppressed", mutates_args=())
def suppressed(scores: Tensor, corners: Tensor) -> Tensor:
    """Scores [B, N, a] with 0 for all that `detect` drops.

    ONNX keeps at most 200 of a class, of all its candidates; `detect` looks at the best 400, so
    beyond these ONNX may keep more.
    """
    kept = torch.zeros_like(scores)
    for image, places, out in zip(scores.numpy(), corners.numpy(), kept, strict=True):
        labels, anchors = (image > LEAST_SCORE).nonzero()
        order = (-image[labels, anchors]).argsort(kind="stable")
        labels, anchors = labels[order], anchors[order]
        if len(order):
            stay = suppression.suppress(places[anchors], labels)
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


def agreement(
    expected: RawBoxes, found: RawBoxes | ScoredBoxes | FinalBoxes, close: float, facts: ClassFacts
) -> Agreement:
    """Between all anchors, or, if the file gives detections, those that are the same in both."""
    if isinstance(found, FinalBoxes):
        differences = [_differences(*pair) for pair in _pairs(expected, found)]
        scores, boxes = map(max, zip(*differences, strict=True))
        return Agreement(scores, 1.0, same(expected, found, facts, best=BEST), boxes)
    own = scored(expected) if isinstance(found, ScoredBoxes) else expected
    partners = same(own, found, facts)
    (scores, boxes), (others, other_boxes) = own.arrays, found.arrays
    scale = 1.0 if isinstance(found, ScoredBoxes) else scale_of(scores)
    apart = np.abs(boxes - other_boxes) / np.maximum(np.abs(boxes), 1)
    return Agreement(float(np.abs(scores - others).max()), scale, partners, float(apart.max()))


def scored(answer: RawBoxes) -> ScoredBoxes:
    """Probabilities and corners of all anchors."""
    return ScoredBoxes(softmax(answer.logits, -1)[..., 1:], suppression.to_corners(answer.boxes))


def same(first: Answer, second: Answer, _: ClassFacts, *, best: int = 0) -> np.ndarray:
    """bool [n] for the shown and the `best` detections of both: whether the other has them."""
    pairs = _pairs(first, second)
    return np.concatenate([has_partner(*p, best) for a, b in pairs for p in ((a, b), (b, a))])


def _pairs(first: Answer, second: Answer) -> list[tuple[Detections, Detections]]:
    """Both answers' detections in each image, down to the least score."""
    found = partial(detections, size=(1, 1), threshold=suppression.LEAST_SCORE)
    return [(found(first[i]), found(second[i])) for i in range(len(first))]


def has_partner(first: Detections, second: Detections, best: int = 0) -> np.ndarray:
    """Whether the second has each of the first's shown and `best` detections, bool [n]."""
    shown = (first.scores >= SHOWN) | (np.arange(len(first.scores)) < best)
    return np.logical_or.reduce(_same(first, second)[shown], axis=1)


def _same(first: Detections, second: Detections) -> np.ndarray:
    """Which detections are the same thing in the same place, bool [n, m]."""
    count = len(first.boxes)
    overlap = suppression.overlaps(np.concatenate([first.boxes, second.boxes]))[:count, count:]
    beside = np.abs(first.boxes[:, None] - second.boxes).max(-1) <= NEAR
    return (first.labels[:, None] == second.labels) & ((overlap >= SAME_OVERLAP) | beside)


def _differences(first: Detections, second: Detections) -> tuple[float, float]:
    """The largest of scores and corners, between the same detections nearest to each other."""
    scores = np.abs(first.scores[:, None] - second.scores)
    boxes = np.abs(first.boxes[:, None] - second.boxes).max(-1)
    apart = np.where(_same(first, second), scores + boxes, np.inf)
    mine = np.flatnonzero(np.isfinite(apart).any(1))
    if not len(mine):
        return 0.0, 0.0
    theirs = apart[mine].argmin(1)
    return float(scores[mine, theirs].max()), float(boxes[mine, theirs].max())
