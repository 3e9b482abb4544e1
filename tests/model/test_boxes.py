"""Coding, matching and suppression of boxes against torchvision and plain Python."""

from collections.abc import Callable
from typing import Any

import numpy as np
import plain_ssd
import pytest
import torch
from torchvision.models.detection._utils import BoxCoder
from torchvision.ops import batched_nms, box_convert, box_iou

from mobilevitv2 import MobileViTImageProcessor
from mobilevitv2.model import boxes
from mobilevitv2.model.boxes import decode, encode, match, overlaps, to_corners
from mobilevitv2.model.outputs import ObjectDetectionOutput
from mobilevitv2.results.suppression import CANDIDATES, detect, suppress

CASES = 1000


def random_boxes(count: int, generator: torch.Generator, least: float = 0.02) -> torch.Tensor:
    """Center and size, float64 [n, 4]."""
    center = torch.rand(count, 2, generator=generator, dtype=torch.float64)
    size = torch.rand(count, 2, generator=generator, dtype=torch.float64) * 0.6 + least
    return torch.cat([center, size], 1)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# Coding


def test_corners_are_torchvisions():
    given = random_boxes(500, seeded())
    corners = to_corners(given)
    torch.testing.assert_close(corners, box_convert(given, "cxcywh", "xyxy"))


def difference_from_torchvision() -> float:
    generator = seeded(1)
    given, anchors = random_boxes(500, generator), random_boxes(500, generator)
    coder = BoxCoder(weights=(1 / 0.1, 1 / 0.1, 1 / 0.2, 1 / 0.2), bbox_xform_clip=100.0)
    wanted = coder.encode_single(to_corners(given), to_corners(anchors))
    back = coder.decode_single(wanted, to_corners(anchors))
    coded = (encode(given, anchors) - wanted).abs().max()
    decoded = (to_corners(decode(wanted, anchors)) - back).abs().max()
    return max(coded.item(), decoded.item())


def test_coding_is_torchvisions_with_variances_of_a_tenth_and_a_fifth():
    assert difference_from_torchvision() < 1e-9


@pytest.mark.parametrize("variance", ["CENTER_VARIANCE", "SIZE_VARIANCE"])
def test_another_variance_would_be_noticed(monkeypatch, variance):
    monkeypatch.setattr(boxes, variance, 0.15)
    assert difference_from_torchvision() > 1e-3


def test_what_is_coded_is_decoded():
    generator = seeded(2)
    given, anchors = random_boxes(1000, generator), random_boxes(1000, generator)
    torch.testing.assert_close(decode(encode(given, anchors), anchors), given)
    assert torch.equal(decode(torch.zeros_like(anchors), anchors), anchors)


# Overlap and matching


def test_overlaps_are_torchvisions_but_for_the_constant_below_the_line(monkeypatch):
    generator = seeded(3)
    first, second = (to_corners(random_boxes(n, generator)) for n in (70, 50))
    with monkeypatch.context() as without:
        without.setattr(boxes, "EPS", 0.0)
        torch.testing.assert_close(overlaps(first, second), box_iou(first, second))
    small = torch.tensor([[0.5, 0.5, 0.505, 0.505]], dtype=torch.float64)
    assert overlaps(small, small).item() == pytest.approx(2.5e-5 / 3.5e-5)


def check_matching(match: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> None:
    generator = seeded(4)
    for case in range(CASES):
        anchors, given = random_boxes(14, generator), random_boxes(case % 7, generator)
        found = match(anchors, given)
        assert found.tolist() == plain_ssd.matches(anchors.tolist(), given.tolist())


def test_matching_is_that_of_plain_loops():
    check_matching(match)


def first_gets_it(anchors, given):
    """A mutant: of several boxes with one best anchor the first gets it."""
    back = match(anchors, given.flip(0))
    return torch.where(back >= 0, len(given) - 1 - back, back)


def unforced(anchors, given):
    """A mutant: no box claims its best anchor."""
    if not len(given):
        return match(anchors, given)
    best, number = overlaps(to_corners(anchors), to_corners(given)).max(1)
    return number.where(best >= 0.5, -1)


@pytest.mark.parametrize("mutant", [first_gets_it, unforced])
def test_another_matching_would_be_noticed(mutant):
    with pytest.raises(AssertionError):
        check_matching(mutant)


@pytest.mark.parametrize(("name", "value"), [("MATCHED", 0.45), ("EPS", 0.01)])
def test_another_constant_of_the_matching_would_be_noticed(monkeypatch, name, value):
    monkeypatch.setattr(boxes, name, value)
    with pytest.raises(AssertionError):
        check_matching(match)


# Suppression


def candidates(case: int) -> tuple[np.ndarray, np.ndarray]:
    """Corners float32 [n, 4], best first, in groups that overlap; and their classes."""
    rng = np.random.default_rng(case)
    count = case % 40
    center = rng.random((max(1, count // 6), 2))[rng.integers(max(1, count // 6), size=count)]
    center = center + rng.normal(0, 0.04, (count, 2))
    size = rng.uniform(0.1, 0.4, (count, 2))
    corners = np.concatenate([center - size / 2, center + size / 2], 1).astype(np.float32)
    return corners, rng.integers(3, size=count)


def check_suppression(suppress: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> None:
    for case in range(CASES):
        corners, labels = candidates(case)
        kept = suppress(corners, labels).tolist()
        assert kept == plain_ssd.survivors(corners.tolist(), labels.tolist(), 0.5)
        falling = torch.arange(len(labels), 0, -1, dtype=torch.float64)
        exact, classes = torch.from_numpy(corners).double(), torch.from_numpy(labels)
        assert kept == batched_nms(exact, falling, classes, 0.5).tolist()


def test_suppression_is_that_of_plain_loops_and_of_torchvision():
    check_suppression(suppress)


def blind(corners, labels):
    """A mutant: a box suppresses those of other classes too."""
    return suppress(corners, np.zeros_like(labels))


def hasty(corners, labels):
    """A mutant: a box that is itself suppressed still suppresses others."""
    given = torch.from_numpy(corners)
    table = box_iou(given, given).numpy() > 0.5
    covered = np.triu(table & (labels[:, None] == labels), 1).any(0)
    return np.flatnonzero(~covered)


@pytest.mark.parametrize("mutant", [blind, hasty])
def test_another_suppression_would_be_noticed(mutant):
    with pytest.raises(AssertionError):
        check_suppression(mutant)


def test_empty_and_endless_boxes_neither_suppress_nor_warn():
    corners = np.array([[0.5, 0.5, 0.5, 0.5]] * 2 + [[-np.inf, 0, np.inf, 1]] * 2, np.float32)
    assert suppress(corners, np.zeros(4, int)).tolist() == [0, 1, 2, 3]


def test_of_each_class_the_best_count():
    column = np.arange(CANDIDATES + 100, dtype=np.float32)
    corners = np.stack([column, 0 * column, column + 1, 0 * column + 1], 1)
    labels = np.arange(len(column)) % 500 // 450  # 450 of the first class, 50 of the second
    kept = suppress(corners, labels)
    assert np.bincount(labels[kept]).tolist() == [CANDIDATES, 50]


# Detections


def wanted(logits, given, threshold, top_k, nms_threshold=0.5) -> dict[str, torch.Tensor]:
    """With torch and torchvision, class by class."""
    scores = torch.from_numpy(logits).softmax(-1)[:, 1:]
    corners = box_convert(torch.from_numpy(given), "cxcywh", "xyxy")
    found = []
    for label, column in enumerate(scores.T):
        ranked = column.sort(descending=True, stable=True)
        best = ranked.indices[ranked.values > threshold][:400]
        found += [(column[i], torch.tensor(label), corners[i]) for i in best]
    if not found:
        return {"scores": torch.empty(0), "labels": torch.empty(0), "boxes": torch.empty(0, 4)}
    values, labels, places = (torch.stack(column) for column in zip(*found, strict=True))
    kept = batched_nms(places.double(), values.double(), labels, nms_threshold)[:top_k]
    return {"scores": values[kept], "labels": labels[kept], "boxes": places[kept].clamp(0, 1)}


def answers(case: int, anchors: int = 300, classes: int = 5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(case)
    logits = rng.normal(0, 2, (anchors, 1 + classes)).astype(np.float32)
    given = np.concatenate([rng.random((anchors, 2)), rng.uniform(0.05, 0.5, (anchors, 2))], 1)
    return logits, given.astype(np.float32)


@pytest.mark.parametrize("threshold", [0.01, 0.3, 0.999])
@pytest.mark.parametrize("top_k", [5, 200])
def test_detections_are_those_of_torchvision(threshold, top_k):
    for case in range(12):
        logits, given = answers(case)
        found = detect(logits, given, threshold=threshold, top_k=top_k)
        for name, value in wanted(logits, given, threshold, top_k).items():
            ours = torch.from_numpy(getattr(found, name))
            torch.testing.assert_close(ours, value, check_dtype=False, rtol=1e-5, atol=1e-6)


def test_what_a_crowd_of_equal_boxes_leaves_room_for_is_found():
    """The crowd alone is more than is looked at first."""
    given = np.array([[0.2, 0.2, 0.1, 0.1]] * 60 + [[0.6, 0.6, 0.1, 0.1], [0.8, 0.8, 0.1, 0.1]])
    logits = np.stack([np.zeros(62), np.linspace(9, 5, 62)], 1)
    assert len(detect(logits, given, top_k=3).scores) == 3


def test_boxes_are_in_pixels_of_the_target_and_end_at_its_edges():
    logits = np.array([[0, 9, 0], [0, 0, 8]], np.float32)
    given = np.array([[0.5, 0.5, 0.25, 0.5], [0.0, 1.0, 0.5, 0.5]], np.float32)
    found = detect(logits, given, (100, 400))
    assert found.labels.tolist() == [0, 1]
    assert found.boxes.tolist() == [[150, 25, 250, 75], [0, 75, 100, 100]]


def test_the_processor_answers_tensors_with_tensors_and_arrays_with_arrays():
    pairs = [answers(case) for case in range(2)]
    logits, given = (np.stack(column) for column in zip(*pairs, strict=True))
    processor = MobileViTImageProcessor()
    arrays = processor.post_process_object_detection((logits, given), 0.4, [(10, 20), (30, 40)])
    sizes: Any = torch.tensor([[10, 20], [30, 40]])
    outputs = ObjectDetectionOutput(
        logits=torch.from_numpy(logits), pred_boxes=torch.from_numpy(given)
    )
    tensors = processor.post_process_object_detection(outputs, 0.4, sizes)
    assert [list(result) for result in tensors] == [["scores", "labels", "boxes"]] * 2
    for array, tensor in zip(arrays, tensors, strict=True):
        assert len(array.scores) > 0
        assert (array.scores > 0.4).all()
        for name in array:
            assert torch.equal(torch.from_numpy(array[name]), tensor[name])
    within = processor.post_process_object_detection((logits, given), 0.4)
    np.testing.assert_allclose(within[1].boxes * [40, 30, 40, 30], arrays[1].boxes, rtol=1e-6)


def test_answers_that_can_not_be_used():
    logits, given = answers(0)
    with pytest.raises(ValueError, match=r"don't match: expected \[anchors, 1 \+ classes\]"):
        detect(logits, given[:-1])
    logits[7, 2] = np.nan
    with pytest.raises(ValueError, match="hold NaN or infinity"):
        detect(logits, given)
    processor = MobileViTImageProcessor()
    with pytest.raises(ValueError, match="Got 1 images and 2 target sizes"):
        processor.post_process_object_detection((logits[None], given[None]), 0.5, [(1, 1)] * 2)
