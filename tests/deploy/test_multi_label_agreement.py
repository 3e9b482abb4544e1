"""When a multi-label file gives the same labels as its model."""

import numpy as np
import pytest

from mobilevitv2.deploy.multi_label import agreement, same
from mobilevitv2.predict.answers import Logits, Scores

LOGITS = np.array([[2.0, -1.0, 1e-6], [-4.0, 0.5, 3.0]], np.float32)


def in_file(logits: np.ndarray, output: str) -> Logits | Scores:
    return Logits(logits) if output == "logits" else Scores(1 / (1 + np.exp(-logits)))


@pytest.mark.parametrize("output", ["logits", "scores"])
def test_labels_agree_unless_one_changes_by_more_than_rounding(output):
    rounded = LOGITS - np.float32(2e-6)  # which changes a label that is neither likely nor not
    close = agreement(Logits(LOGITS), in_file(rounded, output), 1e-4, None)
    assert close.same.tolist() == [True, True]
    assert close.difference / close.scale < 1e-5
    assert same(in_file(LOGITS, output), in_file(rounded, output), None).tolist() == [False, True]
    other = LOGITS * np.array([[1, 1, 1], [1, -1, 1]], np.float32)
    apart = agreement(Logits(LOGITS), in_file(other, output), 1e-4, None)
    assert apart.same.tolist() == [True, False]
    assert apart.difference == pytest.approx(1.0 if output == "logits" else 0.2449, rel=1e-3)


@pytest.mark.parametrize("output", ["logits", "scores"])
def test_labels_are_those_above_the_models_own_thresholds(output):
    other = LOGITS * np.array([[0.4, 1, 1], [1, -1, 1]], np.float32)  # 0.88 to 0.69, 0.62 to 0.38
    for thresholds, alike in (
        ([0.8, 0.3, 0.5], [False, True]),
        ([0.6, 0.5, 0.5], [True, False]),
        ([0.0, 1.0, 0.0], [True, True]),
    ):
        found = agreement(Logits(LOGITS), in_file(other, output), 1e-4, thresholds)
        assert found.same.tolist() == alike
        assert same(Logits(LOGITS), in_file(other, output), thresholds).tolist() == alike
