"""Scores of classes beside those of scikit-learn and scipy."""

from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn import metrics

from mobilevitv2.scores.classification import ClassificationScores, sign_test

CLASSES = 7


def answers(absent: tuple[int, ...] = (), unseen: tuple[int, ...] = ()) -> tuple[Any, Any]:
    """Logits [60, 7] and targets [60]; no target is of the classes `absent`, no answer `unseen`."""
    rng = np.random.default_rng(0)
    targets = rng.choice([n for n in range(CLASSES) if n not in absent], 60)
    logits = rng.normal(size=(60, CLASSES)).astype(np.float32)
    logits[np.arange(60), targets] += 1
    logits[:, list(unseen)] = -9
    return logits, targets


def scores_of(logits, targets) -> ClassificationScores:
    scores = ClassificationScores(CLASSES)
    for part in np.array_split(np.arange(60), 4):
        scores.update(logits[part], targets[part])
    return scores


@pytest.mark.parametrize("absent", [(), (2,)])
@pytest.mark.parametrize("unseen", [(), (5,), (2, 5)])  # 2 and 2: in neither truth nor answers
def test_scores_are_those_of_scikit_learn(absent, unseen):
    logits, targets = answers(absent, unseen)
    scores, predicted = scores_of(logits, targets), logits.argmax(1)
    numbers = range(CLASSES)
    undefined: Any = np.nan
    wanted: Any = metrics.precision_recall_fscore_support(
        targets, predicted, labels=numbers, zero_division=undefined
    )
    for ours, theirs in zip(
        (scores.precision, scores.recall, scores.f1, scores.support), wanted, strict=True
    ):
        np.testing.assert_allclose(ours, theirs)
    assert (scores.confusion == metrics.confusion_matrix(targets, predicted, labels=numbers)).all()
    assert scores.accuracy == metrics.accuracy_score(targets, predicted)
    assert scores.top5 == metrics.top_k_accuracy_score(targets, logits, k=5, labels=numbers)
    f1 = metrics.f1_score(targets, predicted, average="macro")
    assert scores.macro_f1 == pytest.approx(f1)


def test_counts_read_between_updates_go_on_growing():
    logits, targets = answers()
    scores = ClassificationScores(CLASSES)
    for part in (slice(0, 20), slice(20, 60)):
        scores.update(logits[part], targets[part])
        assert scores.confusion.sum() == part.stop


def test_of_equal_logits_the_first_class_is_the_answer_and_the_first_five_are_the_best():
    scores = ClassificationScores(CLASSES)
    scores.update(np.zeros((CLASSES, CLASSES)), np.arange(CLASSES))
    assert scores.accuracy == 1 / CLASSES
    assert scores.top5 == 5 / CLASSES


def test_what_is_no_number_is_never_right():
    scores = ClassificationScores(CLASSES)
    scores.update(np.full((1, CLASSES), np.nan), np.array([3]))
    assert (scores.accuracy, scores.top5) == (0, 0)


@pytest.mark.parametrize(("right", "count"), [(0, 3), (8, 10), (10, 10), (12345, 50000)])
def test_the_interval_is_that_of_scipy(right, count):
    scores = ClassificationScores(2)
    scores.update(np.tile([1.0, 0.0], (count, 1)), np.arange(count) >= right)
    wanted = binomtest(right, count).proportion_ci(method="wilson")
    assert scores.interval == pytest.approx((wanted.low, wanted.high))


@pytest.mark.parametrize(("first", "second"), [(0, 0), (3, 2), (8, 0), (1, 9), (5, 5), (900, 1000)])
def test_the_sign_test_is_that_of_scipy(first, second):
    wanted = binomtest(first, first + second).pvalue if first + second else 1.0
    assert sign_test(first, second) == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("logits", "targets", "sentence"),
    [
        (np.zeros((2, 3)), [0, 1], r"\[2, 7\], not \(2, 3\)"),
        (np.zeros((2, CLASSES)), [0, CLASSES], "class 7 is out of range"),
        (np.zeros((2, CLASSES)), [0, -1], "class -1 is out of range"),
    ],
)
def test_what_does_not_fit_is_refused_and_not_counted(logits, targets, sentence):
    scores = ClassificationScores(CLASSES)
    with pytest.raises(ValueError, match=sentence):
        scores.update(logits, np.array(targets))
    assert len(scores.true) == 0
