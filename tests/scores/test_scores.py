from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchmetrics.classification import MulticlassAccuracy, MulticlassJaccardIndex
from torchmetrics.segmentation import MeanIoU

from mobilevitv2.scores.classification import ClassificationScores
from mobilevitv2.scores.segmentation import SegmentationScores
from mobilevitv2.scores.shares import Growing

CLASSES = 7
Masks = list[tuple[np.ndarray, np.ndarray]]  # predicted and true


class CountsIgnored(SegmentationScores):
    """A mutant: ignored pixels count, as of the last class."""

    def _counts(self, predicted, target):
        return super()._counts(predicted, np.where(self.counted(target), target, self.classes - 1))


class Exchanged(SegmentationScores):
    """A mutant: truth and prediction change places."""

    def _counts(self, predicted, target):
        return super()._counts(predicted, target).T


def random_masks(ignore_index: int = 255, absent: tuple[int, ...] = (), count: int = 5) -> Masks:
    rng = np.random.default_rng(0)
    present = [number for number in range(CLASSES) if number not in absent]
    masks = []
    for _ in range(count):
        target = rng.choice(present, (12, 9)).astype(np.uint8)
        wrong = rng.choice(present, target.shape)
        predicted = np.where(rng.random(target.shape) < 0.6, target, wrong).astype(np.uint8)
        target[rng.random(target.shape) < 0.2] = ignore_index
        masks.append((predicted, target))
    return masks


def street_masks(shared_data: Path) -> Masks:
    """Real masks, each predicted as the next picture of the same drive."""
    paths = sorted((shared_data / "camvid" / "valannot").glob("*.png"))[::6]
    read = [np.array(Image.open(path)) for path in paths]
    return [(np.where(b == 11, 3, b), a) for a, b in pairwise(read)]


def scores_of(
    masks: Masks, classes: int = CLASSES, ignore_index: int = 255, kind=SegmentationScores
):
    scores = kind(classes, ignore_index)
    for predicted, target in masks:
        scores.update(predicted, target)
    return scores


def by_torchmetrics(metric, masks: Masks) -> np.ndarray:
    for predicted, target in masks:
        metric.update(
            torch.from_numpy(predicted).long()[None], torch.from_numpy(target).long()[None]
        )
    return metric.compute().double().numpy()


def by_hand(masks: Masks, counts: Callable[[int], bool], classes: int) -> list[list[int]]:
    """A confusion matrix [true][predicted], counted pixel by pixel."""
    table = [[0] * classes for _ in range(classes)]
    for predicted, target in masks:
        for guess, truth in zip(predicted.ravel().tolist(), target.ravel().tolist(), strict=True):
            if counts(truth):
                table[truth][guess] += 1
    return table


@pytest.mark.parametrize("ignore_index", [255, 7, 3])  # beyond all classes, the next, one of them
@pytest.mark.parametrize("absent", [(), (0, 5)])
def test_iou_is_that_of_torchmetrics(ignore_index, absent):
    masks = random_masks(ignore_index, absent)
    scores = scores_of(masks, ignore_index=ignore_index)
    one_by_one = MulticlassJaccardIndex(CLASSES, average="none", ignore_index=ignore_index)
    mean = MulticlassJaccardIndex(CLASSES, average="macro", ignore_index=ignore_index)
    occurring = ~np.isnan(scores.iou)
    if ignore_index == 3:  # torchmetrics leaves an ignored class out even where it is predicted
        assert scores.iou[3] == 0
        assert scores.miou == pytest.approx(np.nanmean(scores.iou))
        occurring[3] = False
    else:
        assert scores.miou == pytest.approx(by_torchmetrics(mean, masks), abs=1e-6)
    assert set(np.flatnonzero(np.isnan(scores.iou))) == set(absent)
    wanted = by_torchmetrics(one_by_one, masks)
    np.testing.assert_allclose(scores.iou[occurring], wanted[occurring], rtol=0, atol=1e-6)


@pytest.mark.parametrize("mutant", [CountsIgnored, Exchanged])
def test_the_comparison_catches_a_wrong_count(mutant):
    masks = random_masks()
    right, wrong = scores_of(masks), scores_of(masks, kind=mutant)
    accuracy = MulticlassAccuracy(CLASSES, average="none", ignore_index=255)
    wanted = by_torchmetrics(accuracy, masks)
    np.testing.assert_allclose(right.class_accuracy, wanted, rtol=0, atol=1e-6)
    assert abs(wrong.class_accuracy - wanted).max() > 0.01


@pytest.mark.parametrize("average", ["micro", "macro"])
def test_accuracies_are_those_of_torchmetrics(average):
    masks = random_masks()
    scores = scores_of(masks)
    metric = MulticlassAccuracy(CLASSES, average=average, ignore_index=255)
    ours = scores.pixel_accuracy if average == "micro" else scores.mean_class_accuracy
    assert ours == pytest.approx(by_torchmetrics(metric, masks), abs=1e-6)


def test_the_weighted_iou_is_that_of_torchmetrics():
    masks = random_masks(absent=(2,))
    metric = MulticlassJaccardIndex(CLASSES, average="weighted", ignore_index=255)
    wanted = by_torchmetrics(metric, masks)
    assert scores_of(masks).frequency_weighted_iou == pytest.approx(wanted, abs=1e-6)


def test_of_a_single_image_the_mean_is_that_of_torchmetrics_segmentation():
    predicted, target = random_masks()[0]
    target = np.where(target == 255, 0, target)  # MeanIoU knows no ignored pixels
    metric = MeanIoU(CLASSES, input_format="index")
    wanted = by_torchmetrics(metric, [(predicted, target)])
    assert scores_of([(predicted, target)]).miou == pytest.approx(wanted, abs=1e-6)


def test_real_masks_score_as_in_torchmetrics(shared_data):
    masks = street_masks(shared_data)
    scores = scores_of(masks, classes=11)
    assert len(masks) > 5
    assert sum((target == 11).sum() for _, target in masks) > 10_000  # void, which doesn't count
    mean = MulticlassJaccardIndex(11, average="macro", ignore_index=11)
    micro = MulticlassAccuracy(11, average="micro", ignore_index=11)
    assert scores.miou == pytest.approx(by_torchmetrics(mean, masks), abs=1e-6)
    assert scores.pixel_accuracy == pytest.approx(by_torchmetrics(micro, masks), abs=1e-6)
    assert abs(scores_of(masks, 11, kind=CountsIgnored).miou - scores.miou) > 1e-3
    small = [(predicted[::7, ::7], target[::7, ::7]) for predicted, target in masks]
    table = by_hand(small, lambda truth: truth < 11, 11)
    np.testing.assert_array_equal(scores_of(small, classes=11).confusion, table)


@pytest.mark.parametrize("ignore_index", [255, 3])
def test_every_pixel_is_counted_once_or_ignored(ignore_index):
    masks = [(p.astype(np.int64), t.astype(np.int64)) for p, t in random_masks(ignore_index)]
    masks[0][1][0, :4] = (-1, -100, CLASSES, 1 << 40)  # none of them a class
    scores = scores_of(masks, ignore_index=ignore_index)
    table = by_hand(masks, lambda truth: 0 <= truth < CLASSES and truth != ignore_index, CLASSES)
    np.testing.assert_array_equal(scores.confusion, table)
    assert scores.confusion.dtype == np.int64
    assert (scores.images, scores.pixels) == (5, 5 * 12 * 9)
    right = sum(table[i][i] for i in range(CLASSES))
    truths = [sum(row) for row in table]
    assert scores.pixel_accuracy == right / sum(truths)
    np.testing.assert_array_equal(scores.pixel_shares, np.array(truths) / sum(truths))
    taken = [sum(row[i] for row in table) for i in range(CLASSES)]
    iou = [table[i][i] / (truths[i] + taken[i] - table[i][i]) for i in range(CLASSES)]
    np.testing.assert_array_equal(scores.iou, iou)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.uint64])
@pytest.mark.parametrize("make", [np.array, torch.from_numpy])
def test_batches_tensors_and_types_all_count_alike(dtype, make):
    masks = random_masks()
    predicted = np.stack([guess for guess, _ in masks]).astype(dtype)
    target = np.stack([truth for _, truth in masks]).astype(dtype)
    at_once = SegmentationScores(CLASSES)
    at_once.update(make(predicted), make(target))
    np.testing.assert_array_equal(at_once.confusion, scores_of(masks).confusion)
    assert at_once.images == len(masks)


def test_without_a_pixel_that_counts_there_is_no_score():
    scores = SegmentationScores(3)
    scores.update(np.zeros((4, 4), int), np.full((4, 4), 255))
    assert scores.images == 1
    means = (scores.miou, scores.pixel_accuracy, scores.mean_class_accuracy)
    assert np.isnan([*means, scores.frequency_weighted_iou, *scores.iou]).all()


def test_what_is_predicted_where_nothing_counts_is_no_matter():
    scores = SegmentationScores(2)
    scores.update(np.array([[9, 1]]), np.array([[255, 1]]))
    assert scores.confusion.tolist() == [[0, 0], [0, 1]]


@pytest.mark.parametrize(
    ("predicted", "target", "reason"),
    [
        (
            np.zeros((2, 3), int),
            np.zeros((3, 2), int),
            r"shapes, \(2, 3\) and \(3, 2\)",
        ),
        (np.zeros((2, 2)), np.zeros((2, 2), int), "float64 of shape"),
        (np.zeros((1, 5, 2, 2), int), np.zeros((1, 2, 2), int), "Take the argmax"),
        (
            np.array([[[0]], [[5]]]),
            np.array([[[0]], [[1]]]),
            "predicted as class 5, .* are 5 class",
        ),
        (np.array([[-1]]), np.array([[0]]), "predicted as class -1"),
    ],
)
def test_masks_that_can_not_be_compared_are_refused_and_not_half_counted(predicted, target, reason):
    scores = SegmentationScores(5)
    with pytest.raises(ValueError, match=reason):
        scores.update(predicted, target)
    assert scores.confusion.sum() == scores.images == scores.pixels == 0


def test_scores_of_no_classes_are_refused():
    with pytest.raises(ValueError, match="at least one class, not 0"):
        SegmentationScores(0)


def test_reading_scores_between_updates_changes_nothing():
    rng = np.random.default_rng(0)
    logits, classes = rng.normal(size=(20, 4)), rng.integers(0, 4, 20)
    often, once = ClassificationScores(4), ClassificationScores(4)
    once.update(logits, classes)
    for i in range(0, 20, 5):
        often.update(logits[i : i + 5], classes[i : i + 5])
        assert often.confusion.sum() == i + 5
        assert len(often.true) == len(often.predicted) == len(often.right) == i + 5
    np.testing.assert_array_equal(often.confusion, once.confusion)
    assert (often.accuracy, often.macro_f1) == (once.accuracy, once.macro_f1)


def test_an_update_copies_nothing_that_came_before():
    parts = Growing(np.zeros((0, 2), bool))
    for _ in range(3):
        parts.add(np.ones((1, 2), bool))
    assert parts.whole.shape == (3, 2)
    assert parts.whole is parts.whole  # joined once
    assert parts.whole.dtype == bool
