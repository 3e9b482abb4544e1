"""When two detectors give the same answer, and when a file passes."""

from typing import Any

import numpy as np
import pytest

from mobilevitv2.deploy.detection import agreement, has_partner, scored
from mobilevitv2.deploy.verify import Verification
from mobilevitv2.predict.answers import Answer, FinalBoxes, RawBoxes
from mobilevitv2.results.suppression import Detections

onnx = pytest.importorskip("onnx", reason="the extra onnx is not installed")
pytest.importorskip("onnxscript", reason="the extra onnx is not installed")
pytestmark = pytest.mark.filterwarnings("ignore")  # what the exporters' own code warns of
slow = pytest.mark.slow


def found(*things: tuple[float, int, tuple[float, ...]]) -> Detections:
    scores, labels, boxes = zip(*things, strict=True) if things else ((), (), ())
    return Detections(
        np.array(scores, np.float32),
        np.array(labels, np.int64),
        np.array(boxes, np.float32).reshape(-1, 4),
    )


BOX = (0.1, 0.1, 0.5, 0.5)


@pytest.mark.parametrize(
    ("other", "has"),
    [
        ([(0.2, 0, BOX)], [True]),
        ([(0.9, 0, (0.1, 0.1, 0.5, 0.53))], [True]),
        ([(0.9, 0, (0.1, 0.1, 0.5, 0.55))], [False]),  # overlaps by 0.89
        ([(0.9, 1, BOX)], [False]),
        ([], [False]),
    ],
)
def test_a_partner_is_the_same_class_in_the_same_place(other, has):
    assert has_partner(found((0.8, 0, BOX)), found(*other)).tolist() == has
    assert has_partner(found((0.2, 0, BOX)), found(*other)).tolist() == []
    assert has_partner(found((0.2, 0, BOX)), found(*other), best=1).tolist() == has


def test_what_is_left_of_a_box_at_the_edge_has_its_partner():
    edge = (0.0, 0.2, 0.0, 0.6)  # its overlap with itself is nothing of nothing
    assert has_partner(found((0.8, 0, edge)), found((0.8, 0, edge))).tolist() == [True]


def in_file(answer: RawBoxes, output: str) -> Answer:
    """What a file with this output gives; no boxes overlap."""
    if output == "logits":
        return answer
    boxes = scored(answer)
    if output == "boxes":
        return boxes
    anchors, classes = boxes.scores.shape[1:]
    scores = boxes.scores.reshape(1, -1)
    order = np.argsort(-scores[0])
    labels = np.tile(np.arange(classes), anchors)[None]
    return FinalBoxes(scores[:, order], labels[:, order], boxes.corners[:, order // classes])


@pytest.mark.parametrize("output", ["logits", "boxes", "detections"])
def test_differences_are_those_of_what_the_file_gives(output):
    places = np.stack(np.meshgrid(np.arange(0.1, 1, 0.2), np.arange(0.1, 1, 0.2)), -1)
    boxes = np.concatenate([places.reshape(25, 2), np.full((25, 2), 0.1)], -1)[None]
    boxes = boxes.astype(np.float32)
    logits = np.random.default_rng(0).normal(0, 3, (1, 25, 6)).astype(np.float32)
    expected = RawBoxes(logits, boxes)

    def compared(right: float) -> Any:  # and lower logits, which leaves the scores as they are
        moved = RawBoxes(logits - 2, boxes + np.array([right, 0, 0, 0], np.float32))
        return agreement(expected, in_file(moved, output), 0, None)  # pyright: ignore[reportArgumentType]

    same = compared(0)
    assert same.same.all()
    assert len(same.same) > 20
    assert same.difference == pytest.approx(2 if output == "logits" else 0, abs=1e-6)
    assert same.box_difference == pytest.approx(0, abs=1e-7)
    moved = compared(0.002)
    assert moved.same.all()
    assert moved.box_difference == pytest.approx(0.002, rel=1e-3)
    assert not compared(0.022).same.any()


@pytest.mark.parametrize(
    ("precision", "difference", "box", "agree", "passes"),
    [
        ("fp32", 1e-5, 1e-5, 1.0, True),
        ("fp32", 1e-5, 1e-5, 0.995, True),
        ("fp32", 1e-5, 1e-5, 0.98, False),
        ("fp32", 1e-3, 1e-5, 1.0, False),
        ("fp32", 1e-5, 1e-3, 1.0, False),
        ("bf16", 1e-1, 1e-1, 0.96, True),
        ("bf16", 1e-1, 1e-1, 0.94, False),
        ("int8", 1.0, 1.0, 0.5, True),
    ],
)
def test_what_passes(precision, difference, box, agree, passes):
    check = Verification(
        images=10, size=(64, 64), precision=precision, difference=difference, scale=1.0,
        agreement=agree, box_difference=box, detections=1000, task="detection",
    )  # fmt: skip
    assert check.passed == passes
    assert "same detections (1000 in both)" in str(check)
