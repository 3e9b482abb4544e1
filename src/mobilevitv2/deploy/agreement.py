"""How far two answers of detectors agree: on what is where, and by how much they differ."""

# B batch, a anchors, N classes without the background, n m detections

from dataclasses import dataclass

import numpy as np

from mobilevitv2.results.suppression import OVERLAP, Detections, detect, overlaps

SHOWN = 0.3  # the least score of a detection that counts, as in ml-cvnets' demonstrations
SAME = 0.9  # the least overlap of two boxes that are the same
NEAR = 1e-4  # of the image: closer boxes are the same, however thin what is left of them at an edge
BEST = 10  # that count in any case where a file gives nothing but detections
BOX = 4  # numbers that say where a box is


@dataclass(frozen=True)
class BoxAgreement:
    """Two answers to the same images."""

    partners: np.ndarray
    """bool [n], of the detections in both answers: whether the other answer has the same"""
    difference: float
    """Largest difference of logits; of scores, where an answer has no logits."""
    scale: float
    """The largest logit, or 1."""
    box_difference: float
    """Largest difference of a box's number, in parts of the image."""


def box_agreement(wanted: np.ndarray, found: np.ndarray, output: str) -> BoxAgreement:
    """Answers [B, a, 4 + 1 + N] of a model and of a file with this output.

    Where the file gives detections, these are compared instead of anchors, those that are the same.
    """
    partners, apart, box_apart, scale = [], 0.0, 0.0, 1.0
    for one, other in zip(wanted, found, strict=True):
        # The file's own suppression is judged, so nothing more is suppressed of what it gives.
        overlap = 1.0 if output == "detections" else OVERLAP
        pair = detections_of(one), detections_of(other, overlap)
        best = BEST if output == "detections" else 0
        partners += [has_partner(a, b, best) for a, b in (pair, pair[::-1])]
        if output == "detections":
            scores, boxes = _differences(*pair)
            apart, box_apart = max(apart, scores), max(box_apart, boxes)
    if output != "detections":
        both = [answers[..., BOX:] for answers in (wanted, found)]
        if output == "boxes":
            both = [_probabilities(logits) for logits in both]
        else:
            scale = max(float(np.abs(both[0]).max()), 1e-12)
        apart = float(np.abs(both[0] - both[1]).max())
        box_apart = _apart(wanted[..., :BOX], found[..., :BOX])
    return BoxAgreement(np.concatenate(partners), apart, scale, box_apart)


def detections_of(answers: np.ndarray, overlap: float = OVERLAP) -> Detections:
    """Answers [a, 4 + 1 + N] of one image to what is in it."""
    return detect(answers[:, BOX:], answers[:, :BOX], nms_threshold=overlap)


def has_partner(first: Detections, second: Detections, best: int = 0) -> np.ndarray:
    """Of the first's detections that are shown, and the `best`, whether the second has the same."""
    shown = (first.scores >= SHOWN) | (np.arange(len(first.scores)) < best)
    return np.logical_or.reduce(_same(first, second)[shown], axis=1)


def _same(first: Detections, second: Detections) -> np.ndarray:
    """Which detections are the same thing in the same place, bool [n, m]."""
    count = len(first.boxes)
    overlap = overlaps(np.concatenate([first.boxes, second.boxes]))[:count, count:]
    beside = np.abs(first.boxes[:, None] - second.boxes).max(-1) <= NEAR
    return (first.labels[:, None] == second.labels) & ((overlap >= SAME) | beside)


def _differences(first: Detections, second: Detections) -> tuple[float, float]:
    """Of scores and of corners, between those that are the same and nearest to each other."""
    scores = np.abs(first.scores[:, None] - second.scores)
    boxes = np.abs(first.boxes[:, None] - second.boxes).max(-1)
    apart = np.where(_same(first, second), scores + boxes, np.inf)
    mine = np.flatnonzero(np.isfinite(apart).any(1))
    if not len(mine):
        return 0.0, 0.0
    theirs = apart[mine].argmin(1)
    return float(scores[mine, theirs].max()), float(boxes[mine, theirs].max())


def _apart(wanted: np.ndarray, found: np.ndarray) -> float:
    """Largest difference of two arrays, of values beyond 1 relative to them."""
    return float((np.abs(wanted - found) / np.maximum(np.abs(wanted), 1)).max())


def _probabilities(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)
