"""Which detections of an image are right, by the rules of COCO's evaluation.

Within a class the best detection chooses first: it takes the truth that it overlaps most, among
those that count and are free; failing that, one that doesn't count, and then the detection doesn't
count either. COCO's ten overlaps in its four area ranges are 40 cases, settled at once as the bits
of a number. The rules are pycocotools' (`cocoeval.py`); the code isn't.
"""

# d detections, g truths, A area ranges, T required overlaps

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mobilevitv2.results.suppression import Detections
from mobilevitv2.scores.truth import Boxes

IOUS = np.linspace(0.5, 0.95, 10)  # required overlaps, T
RANGES = {  # px² of what counts, A; both ends included
    "all": (0, 1e5**2),
    "small": (0, 32**2),
    "medium": (32**2, 96**2),
    "large": (96**2, 1e5**2),
}
MOST = 100  # detections of a class in an image; the best ones count

# The case of range a and overlap t is bit a * len(IOUS) + t.
OF_RANGE = ((1 << len(IOUS)) - 1) << len(IOUS) * np.arange(len(RANGES))  # int64 [A]
IN_EACH_RANGE = int(sum(1 << len(IOUS) * a for a in range(len(RANGES))))
FIRST = 1  # the first overlap, whatever the area

FOUND = np.dtype(  # a detection's record, 29 bytes
    [
        ("score", np.float32),
        ("label", np.int32),
        ("rank", np.uint8),  # among those of its class in the image, from 0
        ("right", np.int64),  # cases; where it is neither, it doesn't count
        ("wrong", np.int64),
        ("nearest", np.int32),  # the truth of any class that it overlaps by IOUS[0] and most, or -1
    ]
)
TRUE = np.dtype(  # the record of a truth that counts, 8 bytes
    [
        ("label", np.int32),
        ("score", np.float32),  # with which it is found in the FIRST case, or -inf
    ]
)


class Matched(NamedTuple):
    """One image."""

    found: np.ndarray  # `FOUND` [d], class by class and best first; `nearest` are places in `true`
    true: np.ndarray  # `TRUE` [g], without the ignored ones
    counted: np.ndarray  # int64 [A, classes], truths in each area range
    places: np.ndarray  # int64 [d], the place of each of `found` among the detections


def match(found: Detections, truth: Boxes, classes: int) -> Matched:
    """The detections of one image, judged by the truth."""
    labels, ranks, order = _best_of_each_class(found)
    boxes = found.boxes[order].astype(np.float64)
    shared = overlaps(boxes, truth)  # [d, g]
    within = _within(truth.areas) & ~truth.ignored  # [A, g]
    same = labels[:, None] == truth.labels
    right, spared, taken_by = _choose(np.where(same, shared, 0), within, truth.ignored)

    records = np.zeros(len(order), FOUND)
    records["score"], records["label"], records["rank"] = found.scores[order], labels, ranks
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    records["right"], records["wrong"] = right, (OF_RANGE @ _within(areas)) & ~right & ~spared
    records["nearest"] = _nearest(shared[:, ~truth.ignored])

    true = np.zeros(len(truth.labels), TRUE)
    true["label"] = truth.labels
    true["score"] = np.append(records["score"], -np.inf)[taken_by]
    counted = [np.bincount(truth.labels[some], minlength=classes) for some in within]
    return Matched(records, true[~truth.ignored], np.array(counted), order)


def check_boxes(
    what: str, classes: Sequence[str], corners: np.ndarray, labels: np.ndarray, *others: np.ndarray
) -> None:
    """Raise ValueError if corners [n, 4], labels and others [n] can't be boxes of `classes`."""
    shapes = [values.shape for values in (corners, labels, *others)]
    count = len(labels)
    if shapes != [(count, 4), *[(count,)] * (1 + len(others))]:
        raise ValueError(
            f"The {what} have corners, labels and other values of shapes "
            f"{', '.join(map(str, shapes))}: expected [n, 4] and [n]."
        )
    if not all(np.isfinite(values).all() for values in (corners, *others)):
        raise ValueError(f"The {what} hold NaN or infinity, so they can't be compared.")
    if (corners[:, :2] > corners[:, 2:]).any():
        raise ValueError(
            f"The {what} hold a box that ends before it begins: expected x1, y1, x2, y2 with "
            "x1 <= x2 and y1 <= y2."
        )
    strange = labels[(labels < 0) | (labels >= len(classes)) | (labels % 1 != 0)]
    if strange.size:
        raise ValueError(
            f"The {what} hold class {strange[0]}, but there are {len(classes)} classes: expected "
            f"numbers from 0 to {len(classes) - 1}."
        )


def overlaps(boxes: np.ndarray, truth: Boxes) -> np.ndarray:
    """Intersection over union, [d, g]; for an ignored truth, the share of the box inside it.

    Corners go through width and height, as in COCO's files, so that the last digit agrees.
    """
    x, y, width, height = _with_sides(boxes)[..., None]
    true_x, true_y, true_width, true_height = _with_sides(truth.corners)
    across = np.minimum(x + width, true_x + true_width) - np.maximum(x, true_x)
    down = np.minimum(y + height, true_y + true_height) - np.maximum(y, true_y)
    shared = across.clip(0) * down.clip(0)
    area = np.broadcast_to(width * height, shared.shape)
    union = np.where(truth.ignored, area, area + true_width * true_height - shared)
    return np.divide(shared, union, out=np.zeros_like(shared), where=shared > 0)


def _with_sides(corners: np.ndarray) -> np.ndarray:
    """Corners [n, 4] to [4, n] of x, y, width, height."""
    return np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1).T


def _best_of_each_class(found: Detections) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, ranks and places of each class's best `MOST`; equal scores keep their order."""
    order = np.lexsort((-found.scores, found.labels))
    labels = found.labels[order]
    ranks = np.arange(len(order)) - np.searchsorted(labels, labels)
    kept = ranks < MOST
    return labels[kept], ranks[kept], order[kept]


def _within(areas: np.ndarray) -> np.ndarray:
    """bool [A, n]"""
    low, high = np.array(list(RANGES.values())).T[..., None]
    return (areas >= low) & (areas <= high)


def _choose(
    shared: np.ndarray, within: np.ndarray, ignored: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Let each row of overlaps [d, g] choose in turn; `within` [A, g] says which truths count.

    Returns the cases [d] in which a row got a truth that counts, those in which it got one that
    doesn't, and [g] which row took each truth in the `FIRST` case, -1 for none.
    """
    right, spared = np.zeros((2, len(shared)), np.int64)
    taken_by = np.full(len(ignored), -1)
    rows, truths = np.nonzero(shared >= IOUS[0])  # few: most detections are near to nothing
    overlap = shared[rows, truths]
    order = np.lexsort((-truths, -overlap, rows))  # of equal overlaps the last truth is taken
    rows, truths = rows[order], truths[order]
    met = (1 << np.searchsorted(IOUS, overlap[order], side="right")) - 1
    reached = (met * IN_EACH_RANGE).tolist()
    counts = (OF_RANGE @ within).tolist()  # cases in these ranges
    free = [-1] * len(ignored)  # all bits
    chosen: dict[int, list[tuple[int, int]]] = {}
    for row, truth, cases in zip(rows.tolist(), truths.tolist(), reached, strict=True):
        chosen.setdefault(row, []).append((truth, cases))
    for row, candidates in chosen.items():
        unmet, got = -1, 0
        for truth, cases in candidates:
            taken = cases & counts[truth] & free[truth] & unmet
            free[truth] &= ~taken
            unmet &= ~taken
            got |= taken
            if taken & FIRST:
                taken_by[truth] = row
        right[row] = got
        for truth, cases in candidates:
            taken = cases & ~counts[truth] & free[truth] & unmet
            if not ignored[truth]:  # those are never used up
                free[truth] &= ~taken
            unmet &= ~taken
        spared[row] = ~unmet & ~got
    return right, spared, taken_by


def _nearest(shared: np.ndarray) -> np.ndarray:
    """The place of the largest overlap in each row of [d, g], or -1 below IOUS[0]."""
    if shared.shape[1] == 0:
        return np.full(len(shared), -1)
    return np.where(shared.max(axis=1) >= IOUS[0], shared.argmax(axis=1), -1)
