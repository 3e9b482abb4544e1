"""Scores of multi-label classification beside those of scikit-learn."""

from typing import Any

import numpy as np
import pytest
from sklearn import metrics

from mobilevitv2.scores.multi_label import MultiLabelScores, best_thresholds

CLASSES = 6
THRESHOLDS = [0.5, 0.3, 0.9, 0.5, 0.2, 0.5]
UNDEFINED: Any = np.nan
ZERO: Any = 0
EACH_CLASS: Any = None


def answers(seed: int = 0, *, digits: int = 6, absent: tuple[int, ...] = ()) -> tuple[Any, Any]:
    """Probabilities [80, 6] and truth; few `digits` make many ties."""
    rng = np.random.default_rng(seed)
    truth = rng.random((80, CLASSES)) < np.linspace(0.05, 0.9, CLASSES)
    truth[:, list(absent)] = False
    scores = 1 / (1 + np.exp(-rng.normal(size=truth.shape) - 2 * truth + 1))
    return scores.round(digits), truth


def scores_of(scores, truth, thresholds=THRESHOLDS) -> MultiLabelScores:
    ours = MultiLabelScores(truth.shape[1], thresholds)
    for part in np.array_split(np.arange(len(truth)), 4):
        ours.update(scores[part], truth[part])
    return ours


@pytest.mark.parametrize("digits", [6, 1, 0])
@pytest.mark.parametrize("seed", range(4))
def test_average_precision_is_that_of_scikit_learn_with_and_without_ties(seed, digits):
    scores, truth = answers(seed, digits=digits)
    theirs = metrics.average_precision_score(truth, scores, average=EACH_CLASS)
    np.testing.assert_allclose(scores_of(scores, truth).average_precision, theirs, rtol=1e-12)
    assert scores_of(scores, truth).map == pytest.approx(
        metrics.average_precision_score(truth, scores, average="macro")
    )


@pytest.mark.parametrize("absent", [(), (2,), (0, 5)])
def test_precision_recall_and_f1_are_those_of_scikit_learn(absent):
    scores, truth = answers(digits=1, absent=absent)
    scores[:, 2] = 0  # never found, and in the second case never there
    ours, found = scores_of(scores, truth), scores > THRESHOLDS
    theirs: Any = metrics.precision_recall_fscore_support(truth, found, zero_division=UNDEFINED)
    for one, other in zip(
        (ours.precision, ours.recall, ours.f1, ours.support), theirs, strict=True
    ):
        np.testing.assert_allclose(one, other)
    for average, value in (("micro", ours.micro_f1), ("macro", ours.macro_f1)):
        f1 = metrics.f1_score(truth, found, average=average, zero_division=UNDEFINED)
        assert value == pytest.approx(f1)


def test_a_class_in_no_image_has_no_average_precision_and_leaves_the_mean():
    scores, truth = answers(absent=(1, 3))
    ours, there = scores_of(scores, truth), [0, 2, 4, 5]
    assert np.isnan(ours.average_precision).tolist() == [n not in there for n in range(CLASSES)]
    theirs = metrics.average_precision_score(truth[:, there], scores[:, there], average="macro")
    assert ours.map == pytest.approx(theirs)


@pytest.mark.filterwarnings("error")
def test_before_any_image_nothing_is_defined():
    ours = MultiLabelScores(3)
    assert np.isnan([ours.map, ours.micro_f1, ours.macro_f1, *ours.f1]).all()
    assert ours.support.tolist() == [0, 0, 0]


def test_scores_that_are_no_numbers_rank_last_and_find_nothing():
    scores, truth = answers()
    lost = np.where(truth, np.nan, scores)
    ours = scores_of(lost, truth, 0.0)
    assert ours.recall.tolist() == [0.0] * CLASSES
    assert ours.map < scores_of(scores, truth).map


def f1_at(threshold: float, scores: np.ndarray, truth: np.ndarray) -> float:
    return float(metrics.f1_score(truth, scores > threshold, zero_division=ZERO))


@pytest.mark.parametrize("digits", [6, 1])
@pytest.mark.parametrize("seed", range(3))
def test_the_best_thresholds_are_no_worse_than_any_other(seed, digits):
    scores, truth = answers(seed, digits=digits)
    for threshold, *column in zip(best_thresholds(scores, truth), scores.T, truth.T, strict=True):
        tried = np.unique([*column[0], *np.linspace(0, 1, 21)])
        best = max(f1_at(other, *column) for other in tried)
        assert f1_at(threshold, *column) == pytest.approx(best)
        assert 0 <= threshold <= 1


def test_of_equally_good_thresholds_the_closest_to_a_half_is_chosen():
    truth = np.array([[1, 1, 1, 0], [1, 1, 1, 0], [0, 0, 0, 0]])
    scores = np.array([[0.9, 0.9, 0.4, 0.9], [0.6, 0.8, 0.3, 0.8], [0.2, 0.7, 0.1, 0.7]])
    np.testing.assert_allclose(best_thresholds(scores, truth), [0.5, 0.75, 0.2, 0.5])


def test_a_threshold_halfway_separates_scores_of_single_precision():
    truth = np.array([[1], [0]])
    scores = np.array([[0.7000001], [0.7]], np.float32)
    ours = scores_of(scores, truth, best_thresholds(scores, truth))
    assert ours.f1.tolist() == [1.0]


@pytest.mark.parametrize(
    ("scores", "truth", "reason"),
    [
        (np.zeros((2, 3)), np.zeros((2, 2)), r"\(2, 3\) and truth \(2, 2\) don't match"),
        (np.zeros(3), np.zeros(3), "don't match"),
        (np.zeros((2, 3)), np.full((2, 3), 2), "a truth of 0 and 1"),
        (np.zeros((2, 4)), np.zeros((2, 4)), "Expected 3 classes, got 4"),
    ],
)
def test_what_does_not_match_is_refused_and_not_counted(scores, truth, reason):
    ours = MultiLabelScores(3)
    with pytest.raises(ValueError, match=reason):
        ours.update(scores, truth)
    assert len(ours.truth) == 0
