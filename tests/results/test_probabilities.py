"""Logits to probabilities, compared with scipy's."""

import numpy as np
import pytest

from mobilevitv2.results.probabilities import sigmoid, softmax

special = pytest.importorskip("scipy.special")
LOGITS = np.array([[-800.0, -3, 0, 2.5], [1, 1, 800, 700]])


@pytest.mark.filterwarnings("error")
def test_probabilities_agree_with_scipys_and_nothing_overflows():
    np.testing.assert_allclose(softmax(LOGITS), special.softmax(LOGITS, -1))
    np.testing.assert_allclose(softmax(LOGITS, 0), special.softmax(LOGITS, 0))
    np.testing.assert_allclose(sigmoid(LOGITS), special.expit(LOGITS))
