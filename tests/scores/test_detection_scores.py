import tracemalloc
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from coco_scores import Images, by_pycocotools, defined, moved, random_images

from mobilevitv2.results.suppression import Detections
from mobilevitv2.scores import matching
from mobilevitv2.scores.detection import RECALLS, DetectionScores
from mobilevitv2.scores.matching import RANGES, overlaps
from mobilevitv2.scores.truth import Boxes

SEEDS = range(80)
CELLS = ["RBC", "WBC", "Platelets"]


def scores_of(images: Images, classes: int, **options) -> DetectionScores:
    scores = DetectionScores([f"class {i}" for i in range(classes)], **options)
    for found, truth in images:
        scores.update(found, truth)
    return scores


def found(*rows: tuple[float, int, tuple[float, float, float, float]]) -> Detections:
    scores, labels, boxes = ([row[i] for row in rows] for i in range(3))
    return Detections(
        np.array(scores, np.float32),
        np.array(labels, np.int64),
        np.array(boxes, np.float32).reshape(-1, 4),
    )


def real_images(shared_data: Path) -> Images:
    """Blood smears, their cells found fairly well."""
    rng, images = np.random.default_rng(0), []
    for path in sorted((shared_data / "bccd" / "Annotations").glob("*.xml"))[:80]:
        objects = [
            (
                CELLS.index(item.findtext("name", "")),
                [
                    float(item.findtext(f"bndbox/{side}", ""))
                    for side in ("xmin", "ymin", "xmax", "ymax")
                ],
            )
            for item in ElementTree.parse(path).iter("object")
        ]
        truth = Boxes.of([label for label, _ in objects], [box for _, box in objects])
        truth = truth.some(np.flatnonzero((truth.corners[:, :2] < truth.corners[:, 2:]).all(1)))
        truth = truth._replace(ignored=rng.random(len(truth.labels)) < 0.05)
        images.append((moved(truth, 3, rng), truth))
    return images


def assert_same(images: Images, classes: int) -> None:
    """All that pycocotools says."""
    scores, theirs = scores_of(images, classes), by_pycocotools(images, classes)
    np.testing.assert_allclose(list(scores.summary.values()), defined(theirs.stats), atol=1e-9)
    precision = defined(theirs.eval["precision"])[:, :, :, 0, 2]  # [T, R, N]
    np.testing.assert_allclose(scores.ap, precision.mean((0, 1)), atol=1e-9)
    np.testing.assert_allclose(scores.ap_50, precision[0].mean(0), atol=1e-9)
    np.testing.assert_allclose(scores.precision, precision[0], atol=1e-9)
    recall = defined(theirs.eval["recall"])[:, :, 0, 2]
    np.testing.assert_allclose(scores.recall, recall.mean(0), atol=1e-9)
    np.testing.assert_array_equal(RECALLS, theirs.params.recThrs)


@pytest.mark.parametrize("first", SEEDS[::20])
def test_random_boxes_score_as_in_pycocotools(first):
    for seed in range(first, first + 20):
        assert_same(*random_images(seed))


def test_the_random_boxes_have_all_that_makes_it_hard():
    images = [image for seed in SEEDS for image in random_images(seed)[0]]
    assert any(len(f.scores) == 0 < len(t.labels) for f, t in images)
    assert any(len(t.labels) == 0 < len(f.scores) for f, t in images)
    assert any(np.bincount(f.labels).max(initial=0) > 100 for f, _ in images)
    assert sum(int(t.ignored.sum()) for _, t in images) > 50
    assert sum(len(f.scores) - len(np.unique(f.scores)) for f, _ in images) > 1000  # ties
    assert sum(len(f.boxes) - len(np.unique(f.boxes, axis=0)) for f, _ in images) > 500
    areas = np.concatenate([t.areas for _, t in images])
    assert all(((low < areas) & (areas < high)).sum() > 20 for low, high in RANGES.values())
    assert {32**2, 96**2} <= set(areas)  # which belong to two ranges
    sums = [scores_of(*random_images(seed)).summary["map"] for seed in SEEDS]
    assert np.isnan(sums).any()
    assert 0.1 < np.nanmean(sums) < 0.6


def test_real_boxes_score_as_in_pycocotools(shared_data):
    images = real_images(shared_data)
    assert_same(images, 3)
    assert 0.2 < scores_of(images, 3).summary["map"] < 0.8


Change = Callable[[Detections, Boxes], tuple[Detections, Boxes]]
MUTANTS: dict[str, Change] = {
    "ignored ones count": lambda f, t: (f, t._replace(ignored=np.zeros_like(t.ignored))),
    "areas of the boxes": lambda f, t: (f, Boxes.of(t.labels, t.corners, ignored=t.ignored)),
    "of equal scores the last first": lambda f, t: (
        Detections(f.scores[::-1], f.labels[::-1], f.boxes[::-1]),
        t,
    ),
    "of equal overlaps the first": lambda f, t: (f, t.some(np.arange(len(t.labels))[::-1])),
}
choose = matching._choose
CHANGED = {
    "more than, not at least": ("IOUS", np.nextafter(matching.IOUS, 1)),
    "overlap with a crowd is as with others": (
        "overlaps",
        lambda boxes, truth: overlaps(boxes, truth._replace(ignored=np.zeros_like(truth.ignored))),
    ),
    "a crowd is used up": ("_choose", lambda a, b, c: choose(a, b, np.zeros_like(c))),
    "more than 100 of a class": ("MOST", 200),
    "ends of ranges do not belong to them": (
        "RANGES",
        {name: (low + 1, high - 1) for name, (low, high) in RANGES.items()},
    ),
}


@pytest.mark.parametrize("name", [*MUTANTS, *CHANGED])
def test_the_comparison_catches_other_rules(monkeypatch, name):
    if name in CHANGED:
        monkeypatch.setattr(matching, *CHANGED[name])
    change = MUTANTS.get(name, lambda f, t: (f, t))
    for seed in SEEDS:
        images, classes = random_images(seed)
        theirs = defined(by_pycocotools(images, classes).stats)
        mutated = scores_of([change(*image) for image in images], classes).summary
        if not np.allclose(list(mutated.values()), theirs, atol=1e-6, equal_nan=True):
            return
    pytest.fail(f"nothing notices: {name}")


def test_before_any_image_and_for_absent_classes_nothing_is_defined():
    scores = DetectionScores(["a", "b"])
    assert np.isnan([*scores.summary.values(), *scores.ap]).all()
    scores.update(found((0.9, 1, (0, 0, 9, 9))), Boxes.of([0], [(0, 0, 9, 9)]))
    assert scores.ap[0] == 0
    assert np.isnan([scores.ap[1], scores.ap_50[1], scores.recall[1]]).all()
    assert np.isnan(scores.precision[:, 1]).all()
    assert np.isnan(scores.summary["map_large"])
    assert scores.summary["map"] == 0


def test_f1_of_an_image_counts_what_is_shown_of_it():
    truth = Boxes.of([0, 0, 1], [(0, 0, 10, 10), (20, 0, 30, 10), (40, 0, 50, 10)])
    right, wrong, faint = (
        (0.9, 0, (0, 0, 10, 9)),
        (0.8, 0, (40, 0, 50, 10)),
        (0.2, 1, (40, 0, 50, 10)),
    )
    assert DetectionScores(["a", "b"]).update(found(right, wrong, faint), truth) == 2 / 5
    lower = DetectionScores(["a", "b"], threshold=0.1)
    assert lower.update(found(right, wrong, faint), truth) == 4 / 6
    some = truth._replace(ignored=np.array([False, True, False]))
    assert lower.update(found(right, (0.7, 0, (20, 0, 30, 9))), some) == 2 / 3


def test_an_image_of_nothing_in_which_nothing_is_found_has_no_f1():
    scores = DetectionScores(["a"])
    assert np.isnan(scores.update(found(), Boxes.of([], [])))
    assert scores.update(found((0.5, 0, (0, 0, 1, 1))), Boxes.of([], [])) == 0
    assert scores.images == 2


def test_confusion_of_a_few_boxes_by_hand():
    places = [(0, 0, 10, 10), (20, 0, 30, 10), (40, 0, 50, 10), (60, 0, 70, 10), (80, 0, 90, 10)]
    truth = Boxes.of([0, 0, 1, 1, 1], places, ignored=[False] * 4 + [True])
    seen = found(
        (0.95, 1, places[0]),  # of another class, but the object is found by the next as well
        (0.9, 0, places[0]),
        (0.85, 0, places[0]),  # once more
        (0.8, 1, places[1]),  # b for a
        (0.7, 1, places[1]),  # and once more
        (0.6, 0, (40, 2, 50, 12)),  # a for b, until that is found as well
        (0.5, 1, places[4]),  # does not count
        (0.45, 1, (60, 6, 70, 16)),  # beside
        (0.4, 1, places[2]),
    )
    scores = DetectionScores(["a", "b"])
    scores.update(found(), Boxes.of([1], [places[0]]))
    scores.update(seen, truth)
    assert scores.confusion(0.41).tolist() == [[1, 1, 0], [1, 0, 2], [1, 3, 0]]
    assert scores.confusion().tolist() == [[1, 1, 0], [0, 1, 2], [2, 3, 0]]
    assert scores.confusion(0.9).tolist() == [[0, 1, 1], [0, 0, 3], [0, 0, 0]]
    assert scores.confusion(1).tolist() == [[0, 0, 2], [0, 0, 3], [0, 0, 0]]


def test_confusion_adds_up_and_its_diagonal_is_what_pycocotools_finds():
    for seed in SEEDS[::2]:
        images, classes = random_images(seed)
        scores = scores_of(images, classes)
        confusion = scores.confusion(-1)
        objects = scores.objects[0]
        np.testing.assert_array_equal(confusion[:-1].sum(1), objects)
        recall = by_pycocotools(images, classes).eval["recall"][0, :, 0, 2]
        np.testing.assert_allclose(np.diagonal(confusion)[:-1], (recall * objects).clip(0))
        shown = [np.bincount(f.labels[f.scores > 0.4], minlength=classes) for f, _ in images]
        if max(map(np.max, shown)) <= 100 and not any(t.ignored.any() for _, t in images):
            np.testing.assert_array_equal(scores.confusion(0.4)[:, :-1].sum(0), sum(shown))


def test_memory_grows_by_a_few_dozen_bytes_for_a_detection():
    rng = np.random.default_rng(0)
    truth = Boxes.of([0, 1], [(0, 0, 50, 50), (60, 60, 90, 90)])
    low = rng.random((200, 2), np.float32) * 100
    labels = np.arange(200) % 4
    scores = DetectionScores(list("abcd"))
    tracemalloc.start()
    for _ in range(200):
        boxes = np.concatenate([low, low + 40], axis=1)
        scores.update(Detections(rng.random(200, np.float32), labels, boxes), truth)
    grown = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert grown < 36 * 200 * 200


@pytest.mark.parametrize(
    ("seen", "truth", "reason"),
    [
        (found((0.5, 2, (0, 0, 1, 1))), None, "detections of cat.jpg hold class 2, .* 2 classes"),
        (found((0.5, 0, (0, 0, np.nan, 1))), None, "detections of cat.jpg hold NaN"),
        (found((np.nan, 0, (0, 0, 1, 1))), None, "detections of cat.jpg hold NaN"),
        (found((0.5, 0, (2, 0, 1, 1))), None, "ends before it begins"),
        (
            Detections(np.ones(2), np.zeros(1, int), np.ones((1, 4))),
            None,
            r"\(1, 4\), \(1,\), \(2,\)",
        ),
        (found(), Boxes.of([-1], [(0, 0, 1, 1)]), "objects of cat.jpg hold class -1"),
        (found(), Boxes.of([0], [(0, 0, 1, np.inf)]), "objects of cat.jpg hold NaN or infinity"),
        (found(), Boxes.of([0], [(0, 0, 1, 1)], areas=[1, 2]), r"\(1, 4\), \(1,\), \(2,\), \(1,\)"),
        (found(), Boxes.of([0], [(0, 0, 1, 1)])._replace(labels=np.array([0.5])), "class 0.5"),
    ],
)
def test_what_can_not_be_counted_is_refused_in_one_sentence(seen, truth, reason):
    scores = DetectionScores(["a", "b"])
    with pytest.raises(ValueError, match=reason):
        scores.update(seen, truth or Boxes.of([0], [(0, 0, 1, 1)]), image="cat.jpg")
    assert scores.images == scores.confusion(0).sum() == scores.objects.sum() == 0


def test_scores_of_no_classes_are_refused():
    with pytest.raises(ValueError, match="at least one class"):
        DetectionScores([])
