"""How well detected boxes agree with true ones: COCO's average precision and recall, in numpy.

The figures equal pycocotools'; `tests/scores/test_detection_scores.py` checks that.
"""

# A area ranges, T required overlaps, R recalls, N classes

from typing import Any

import numpy as np

from mobilevitv2.results.suppression import Detections
from mobilevitv2.scores.matching import FIRST, FOUND, IOUS, MOST, RANGES, TRUE, check_boxes, match
from mobilevitv2.scores.shares import Growing, mean_of_known
from mobilevitv2.scores.truth import Boxes

RECALLS = np.linspace(0, 1, 101)  # where precision is read off, R
SHOWN = 0.3  # score above which a detection is shown to people
FEW = (1, 10, MOST)  # detections of a class in an image, for recall


class DetectionScores:
    """Detections and truths that grow with `update`; all scores come from them, in [0, 1].

    An ignored object can be found any number of times, which is neither right nor wrong. Scores
    are nan if they aren't defined (pycocotools' -1), and means are over the classes that have
    one. Confusion and F1 count detections with a score above `threshold`. Takes 29 bytes per
    detection and 8 per object. Between equal scores the order of updates decides.
    """

    def __init__(self, classes: list[str], *, threshold: float = SHOWN) -> None:
        if not classes:
            raise ValueError("Boxes need at least one class.")
        self.classes = list(classes)
        self.threshold = threshold
        self.images = 0
        self.objects = np.zeros((len(RANGES), len(classes)), np.int64)  # [A, N], not ignored
        self._found, self._true = Growing(np.zeros(0, FOUND)), Growing(np.zeros(0, TRUE))
        self._true_count = 0
        self._curves: dict[str, np.ndarray] = {}

    def update(self, found: Detections, truth: Boxes, *, image: Any = None) -> float:
        """Count one image, and return its F1 at an overlap of 0.5 above the threshold.

        That is nan if there is nothing to find and nothing was found. Boxes are in px of the
        same image, which messages call `image`. Raises ValueError, with nothing counted, for
        values that can't be boxes.
        """
        name = "the image" if image is None else str(image)
        check_boxes(f"detections of {name}", self.classes, found.boxes, found.labels, found.scores)
        of_truth = (truth.corners, truth.labels, truth.areas, truth.ignored)
        check_boxes(f"objects of {name}", self.classes, *of_truth)
        records, true, counted, _ = match(found, truth, len(self.classes))
        right, wrong = (int(flags.sum()) for flags in above(records, self.threshold))
        records["nearest"][records["nearest"] >= 0] += self._true_count
        self._found.add(records)
        self._true.add(true)
        self._true_count += len(true)
        self.objects += counted
        self.images += 1
        self._curves.clear()
        total = right + wrong + len(true)
        return 2 * right / total if total else float("nan")

    @property
    def summary(self) -> dict[str, float]:
        """COCO's twelve numbers: mean average precision, and mean average recall."""
        curves, sizes = self._precisions("all"), ("small", "medium", "large")
        middle = curves[np.searchsorted(IOUS, 0.75 - 1e-9)]
        rows = {"map": curves, "map_50": curves[0], "map_75": middle}
        rows |= {f"map_{area}": self._precisions(area) for area in sizes}
        rows |= {f"mar_{most}": self._recalls("all", most) for most in FEW}
        rows |= {f"mar_{area}": self._recalls(area, MOST) for area in sizes}
        return {name: mean_of_known(values) for name, values in rows.items()}

    @property
    def ap(self) -> np.ndarray:
        """float64 [N]: average precision of each class, the mean over overlaps of 0.5 to 0.95."""
        return self._precisions("all").mean(axis=(0, 1))

    @property
    def ap_50(self) -> np.ndarray:
        """float64 [N]: average precision of each class at an overlap of 0.5."""
        return self.precision.mean(axis=0)

    @property
    def recall(self) -> np.ndarray:
        """float64 [N]: the share found of each class, the mean over overlaps of 0.5 to 0.95."""
        return self._recalls("all", MOST).mean(axis=0)

    @property
    def precision(self) -> np.ndarray:
        """float64 [R, N]: the best precision with at least each of `RECALLS`, at overlap 0.5."""
        return self._precisions("all")[0]

    def confusion(self, threshold: float | None = None) -> np.ndarray:
        """int64 [N + 1, N + 1] of [true, found] at overlap 0.5; the last is the background.

        Detections with a score above `threshold` count. A wrong one counts for the object that it
        overlaps most, if nothing else found that object; otherwise it is a false alarm.
        """
        threshold = self.threshold if threshold is None else threshold
        background = len(self.classes)
        counts = np.zeros((background + 1, background + 1), np.int64)
        records, true = self._found.whole, self._true.whole
        right, wrong = above(records, threshold)
        np.add.at(counts, (records["label"][right], records["label"][right]), 1)
        missed = ~(true["score"] > threshold)

        wrong = np.flatnonzero(wrong)
        wrong = wrong[np.argsort(-records["score"][wrong], kind="stable")]
        nearest = records["nearest"][wrong]
        mistaken = (nearest >= 0) & np.append(missed, False)[nearest]
        _, first = np.unique(nearest[mistaken], return_index=True)  # the best one of each object
        chosen = np.flatnonzero(mistaken)[first]
        np.add.at(counts, (true["label"][nearest[chosen]], records["label"][wrong[chosen]]), 1)
        missed[nearest[chosen]] = False
        counts[background] += np.bincount(
            np.delete(records["label"][wrong], chosen), minlength=background + 1
        )
        counts[:, background] += np.bincount(true["label"][missed], minlength=background + 1)
        return counts

    def _precisions(self, area: str) -> np.ndarray:
        """float64 [T, R, N] for objects of this range of area"""
        if area not in self._curves:
            place = list(RANGES).index(area)
            records = self._found.whole
            records = records[np.lexsort((-records["score"], records["label"]))]
            ends = np.searchsorted(records["label"], np.arange(len(self.classes) + 1))
            curves = np.full((len(self.classes), len(IOUS), len(RECALLS)), np.nan)
            for label in np.flatnonzero(self.objects[place]):
                of_class = records[ends[label] : ends[label + 1]]
                for iou in range(len(IOUS)):
                    case = place * len(IOUS) + iou
                    right, wrong = (of_class[kind] >> case & 1 for kind in ("right", "wrong"))
                    count = int(self.objects[place, label])
                    curves[label, iou] = _precision_at_recalls(right, wrong, count)
            self._curves[area] = curves.transpose(1, 2, 0)
        return self._curves[area]

    def _recalls(self, area: str, most: int) -> np.ndarray:
        """float64 [T, N]: what the best `most` detections of each image find"""
        place = list(RANGES).index(area)
        records = self._found.whole
        records = records[records["rank"] < most]
        cases = place * len(IOUS) + np.arange(len(IOUS))
        labels = [records["label"][records["right"] >> case & 1 == 1] for case in cases]
        found = [np.bincount(some, minlength=len(self.classes)) for some in labels]
        objects = self.objects[place].astype(np.float64)
        return np.array(found) / np.where(objects > 0, objects, np.nan)


def above(records: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """bool [d] each: which of `FOUND` [d] have a score above `threshold` and are right, or wrong.

    Right means at an overlap of 0.5; what doesn't count is neither.
    """
    right, wrong = (records[kind] & FIRST == FIRST for kind in ("right", "wrong"))
    shown = records["score"] > threshold
    return shown & right, shown & wrong


def _precision_at_recalls(right: np.ndarray, wrong: np.ndarray, objects: int) -> np.ndarray:
    """float64 [R] from flags [d] of one class, best first: the best precision with that recall."""
    hits = np.flatnonzero(right)
    many = np.arange(1, len(hits) + 1, dtype=np.float64)  # right ones up to each hit
    precision = many / (many + np.cumsum(wrong)[hits] + np.spacing(1))
    best = np.maximum.accumulate(precision[::-1])[::-1]
    return np.append(best, 0)[np.searchsorted(many / objects, RECALLS).clip(max=len(hits))]
