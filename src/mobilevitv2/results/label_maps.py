"""From class scores on a coarse grid to the class of every pixel.

The scores of 150 classes for a photo of 4,000x3,000 px would take 7 GB, so they are resized a few
rows at a time.
"""

import numpy as np

BAND = 1 << 22  # scores that are resized at a time


def label_map(
    logits: np.ndarray, size: tuple[int, int], *, certainty: bool = False
) -> tuple[np.ndarray, np.ndarray | None]:
    """float32 [N, h, w] to class numbers uint8 [H, W] of `size` (height, width).

    uint16 beyond 256 classes. Bilinear, align_corners=False, then argmax, as in
    `post_process_semantic_segmentation`. `certainty` adds the softmax probability of the chosen
    class, float16 [H, W].
    """
    height, width = size
    if min(size) < 1 or logits.ndim != 3 or not logits.size:
        raise ValueError(f"logits {logits.shape} can't become a map of {height}x{width} px.")
    classes = len(logits)
    before, after, weight = _between(logits.shape[1], height)
    kind = np.uint8 if classes <= 256 else np.uint16
    found = np.empty(size, kind)
    sure = np.empty(size, np.float16) if certainty else None
    rows = max(1, BAND // (classes * width))
    for start in range(0, height, rows):
        band = slice(start, start + rows)
        above, below, w = before[band], after[band], weight[band, None].astype(np.float32)
        columns = resize_axis(logits[:, above[0] : below[-1] + 1], 2, width)  # [N, a few, W]
        scores = columns[:, above - above[0]] * (1 - w) + columns[:, below - above[0]] * w
        best = scores[0].copy()
        chosen = np.zeros(best.shape, kind)
        for number in range(1, classes):  # argmax(0), but several times as fast
            higher = scores[number] > best
            chosen[higher] = number
            np.maximum(best, scores[number], out=best)
        found[band] = chosen
        if sure is not None:
            sure[band] = 1 / np.exp(scores - best).sum(0)
    return found, sure


def nearest(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Class numbers [h, w] to [H, W] of `size` (height, width), each from the nearest pixel."""
    for axis, length in enumerate(size):
        centers = (np.arange(length) + 0.5) * (mask.shape[axis] / length)
        mask = mask.take(centers.astype(int), axis)
    return mask


def _between(given: int, length: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each of `length` new samples, the two given ones around it, and the second's weight."""
    centers = ((np.arange(length) + 0.5) * (given / length) - 0.5).clip(0)
    before = centers.astype(int)
    after = (before + 1).clip(max=given - 1)
    return before, after, (centers - before)


def resize_axis(scores: np.ndarray, axis: int, length: int) -> np.ndarray:
    """Linear along one axis of [N, h, w], with align_corners=False and no antialiasing."""
    before, after, weight = _between(scores.shape[axis], length)
    weight = weight.astype(scores.dtype).reshape(-1, *[1] * (scores.ndim - 1 - axis))
    return scores.take(before, axis) * (1 - weight) + scores.take(after, axis) * weight
