"""Non-maximum suppression (NMS): from a box for each anchor to the few worth showing.

In numpy, so that exported models need no PyTorch for it. Most anchors show background, and most
others show something that a neighbor shows better.
"""

# a anchors, N classes without the background, n candidates or detections, B batch

from dataclasses import dataclass

import numpy as np

from mobilevitv2.errors import DIVERGED

LEAST_SCORE = 0.01  # ml-cvnets drops lower ones before it evaluates
OVERLAP = 0.5  # of two boxes of one class that overlap by more, the better one is kept
CANDIDATES = 400  # of each class that are compared
DETECTIONS = 200  # of an image
FIRST_LOOK = 4  # times `top_k` candidates are mostly enough


@dataclass(frozen=True, eq=False)
class Detections:
    """The objects in one image, best first.

    `scores`, float32 [n], are probabilities in [0, 1], `labels`, int64 [n], class numbers that
    don't count the background, and `boxes`, float32 [n, 4], hold x1, y1, x2, y2.
    """

    scores: np.ndarray
    labels: np.ndarray
    boxes: np.ndarray


def detect(
    logits: np.ndarray,
    boxes: np.ndarray,
    size: tuple[float, float] = (1, 1),
    *,
    threshold: float = LEAST_SCORE,
    nms_threshold: float = OVERLAP,
    top_k: int = DETECTIONS,
) -> Detections:
    """The detections in one image of `size` (height, width), clipped to it.

    `logits` [a, 1 + N] have the background first; `boxes` [a, 4] are center x, center y, width and
    height as parts of the image. Of the best scores above `threshold` in each class, those are
    kept that no better one of the class overlaps by more than `nms_threshold`, and of these the
    `top_k` best. Raises ValueError for NaN.
    """
    _check(logits, boxes)
    logits, boxes = (values.astype(np.float32, copy=False) for values in (logits, boxes))
    anchors, labels, scores = _candidates(logits, threshold)
    corners = to_corners(boxes[anchors])
    return _best(scores, labels, corners, size, nms_threshold=nms_threshold, top_k=top_k)


def detect_scored(
    scores: np.ndarray,
    corners: np.ndarray,
    size: tuple[float, float] = (1, 1),
    *,
    threshold: float = LEAST_SCORE,
) -> Detections:
    """`detect` for probabilities [a, N] and `corners` [a, 4] in parts of the image."""
    anchors, labels = np.nonzero(scores > np.float32(threshold))
    return _best(scores[anchors, labels], labels, corners[anchors], size)


def in_pixels(corners: np.ndarray, size: tuple[float, float]) -> np.ndarray:
    """Boxes [n, 4] in parts of the image to px, cut off at its edges."""
    height, width = size
    return corners.clip(0, 1) * np.array([width, height, width, height], np.float32)


def _best(
    scores: np.ndarray,
    labels: np.ndarray,
    corners: np.ndarray,
    size: tuple[float, float],
    *,
    nms_threshold: float = OVERLAP,
    top_k: int = DETECTIONS,
) -> Detections:
    order = np.argsort(-scores, kind="stable")
    scores, labels, corners = scores[order], labels[order], corners[order]
    first = slice(FIRST_LOOK * top_k)  # later ones don't change which of these are kept
    kept = suppress(corners[first], labels[first], nms_threshold)
    if len(kept) < top_k and len(order) > FIRST_LOOK * top_k:
        kept = suppress(corners, labels, nms_threshold)
    kept = kept[:top_k]
    return Detections(scores[kept], labels[kept], in_pixels(corners[kept], size))


def suppress(corners: np.ndarray, labels: np.ndarray, nms_threshold: float = OVERLAP) -> np.ndarray:
    """Indices of the boxes to keep, best first: non-maximum suppression within each class.

    `corners` [n, 4] and `labels` [n] must be sorted, best first. Of each class the first
    `CANDIDATES` count.
    """
    kept = []
    by_class = np.argsort(labels, kind="stable")
    for members in np.split(by_class, np.flatnonzero(np.diff(labels[by_class])) + 1):
        members = members[:CANDIDATES]
        kept.append(members[_survivors(corners[members], nms_threshold)])
    return np.sort(np.concatenate(kept))


def _survivors(corners: np.ndarray, nms_threshold: float) -> np.ndarray:
    """bool [n]: which boxes [n, 4] of one class, best first, survive.

    A box survives if no survivor before it covers it. This is applied to all boxes until nothing
    changes: each round settles at least one more box, in practice nearly all.
    """
    survives = np.ones(len(corners), bool)
    if len(corners) < 2:
        return survives
    covers = np.triu(overlaps(corners) > nms_threshold, 1).astype(np.float32)  # [better, worse]
    while True:
        covered = survives.astype(np.float32) @ covers > 0
        if np.array_equal(survives, ~covered):
            return survives
        survives = ~covered


def overlaps(corners: np.ndarray) -> np.ndarray:
    """Intersection over union of all pairs of boxes [n, 4], [n, n]; NaN for 0 / 0 and inf / inf."""
    x1, y1, x2, y2 = corners.T
    with np.errstate(invalid="ignore"):
        width = np.minimum(x2[:, None], x2) - np.maximum(x1[:, None], x1)
        height = np.minimum(y2[:, None], y2) - np.maximum(y1[:, None], y1)
        shared = width.clip(0) * height.clip(0)
        area = (x2 - x1) * (y2 - y1)
        return shared / (area[:, None] + area - shared)


def _candidates(logits: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Anchors, labels and scores [n] of all scores above the threshold.

    Only these few are divided, since memory takes most of the time.
    """
    weights = logits - logits.max(-1, keepdims=True)
    np.exp(weights, out=weights)
    totals = weights.sum(-1, keepdims=True)
    above = np.flatnonzero(weights[:, 1:] > np.float32(threshold) * totals)
    anchors, labels = np.divmod(above, logits.shape[1] - 1)
    return anchors, labels, weights[anchors, 1 + labels] / totals[anchors, 0]


def to_corners(boxes: np.ndarray) -> np.ndarray:
    """Center and size [..., 4] to corners [..., 4]."""
    center, half = boxes[..., :2], boxes[..., 2:] / 2
    return np.concatenate([center - half, center + half], -1)


def _check(logits: np.ndarray, boxes: np.ndarray) -> None:
    if logits.ndim != 2 or logits.shape[1] < 2 or boxes.shape != (len(logits), 4):
        raise ValueError(
            f"logits {logits.shape} and boxes {boxes.shape} don't match: expected "
            "[anchors, 1 + classes] and [anchors, 4], for one image."
        )
    if not np.isfinite(logits).all() or np.isnan(boxes).any():
        raise ValueError(f"The logits or boxes {DIVERGED}")
