"""The page about a multi-label classifier."""

from pathlib import Path
from typing import Any

import numpy as np
from page import Page
from PIL import Image
from sklearn.metrics import average_precision_score, f1_score, precision_recall_curve

from mobilevitv2.report.multi_label import RECALLS, write
from mobilevitv2.scores.multi_label import MultiLabelScores

NAMES = ["cat", "dog", "emu"]
THRESHOLDS = [0.5, 0.3, 0.7]


def each(score: Any, truth: np.ndarray, found: np.ndarray) -> list[float]:
    return score(truth, found, average=None).tolist()


def page(out: Path, probabilities: np.ndarray, truth: np.ndarray, **changes) -> str:
    scores = MultiLabelScores(3, THRESHOLDS)
    scores.update(probabilities, truth)
    path = write(
        out,
        classes=NAMES,
        scores=scores,
        probabilities=probabilities,
        images=lambda i: Image.new("RGB", (100, 80), (i, 0, 0)),
        names=[f"image-{i}.jpg" for i in range(len(truth))],
        history=[],
        title="a run",
        settings={},
        timing={},
        **changes,
    )
    return path.read_text(encoding="utf-8")


def test_the_page_has_the_figures_of_scikit_learn(tmp_path):
    chance = np.random.default_rng(0)
    truth = chance.random((40, 3)) > 0.6
    probabilities = (truth * 0.3 + 0.7 * chance.random((40, 3))).astype(np.float32)
    html = page(tmp_path, probabilities, truth)
    found = probabilities > THRESHOLDS
    texts = " ".join(Page(html).texts)
    for value in (
        average_precision_score(truth, probabilities, average="macro"),
        f1_score(truth, found, average="macro"),
        f1_score(truth, found, average="micro"),
        *each(average_precision_score, truth, probabilities),
        *each(f1_score, truth, found),
    ):
        assert f"{100 * value:.1f}" in texts
    assert f"{(found == truth).all(1).sum()} of 40" in texts


def test_curves_are_the_envelope_of_scikit_learns():
    chance = np.random.default_rng(1)
    truth = chance.random((50, 3)) > 0.5
    truth[:, 2] = False
    probabilities = np.round(chance.random((50, 3)), 1).astype(np.float32)  # with equal ones
    scores = MultiLabelScores(3)
    scores.update(probabilities, truth)
    curves = scores.precision_at(RECALLS)
    for c in (0, 1):
        precision, recall, _ = precision_recall_curve(truth[:, c], probabilities[:, c])
        expected = [precision[:-1][recall[:-1] >= r].max() for r in RECALLS]
        np.testing.assert_allclose(curves[:, c], expected)
    assert np.isnan(curves[:, 2]).all()


def test_the_worst_mistakes_come_first_with_what_is_wrong_missed_and_right(tmp_path):
    truth = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 1], [0, 0, 0]])
    probabilities = np.array([[0.9, 0.1, 0.1], [0.8, 0.2, 0.75], [0.99, 0.1, 0.01], [0, 0, 0]])
    html = page(tmp_path, probabilities, truth)
    shown = html[html.index("The worst mistakes") :]
    assert shown.index("image-2.jpg") < shown.index("image-1.jpg")
    assert "image-0.jpg" not in shown
    assert "image-3.jpg" not in shown
    second = shown[shown.rindex("<figure>") :]
    assert '<dt class="wrong">emu</dt><dd>75.0 %' in second
    assert '<dt class="missed">dog</dt><dd>20.0 %' in second
    assert '<dt class="right">cat</dt><dd>80.0 %' in second


def test_images_without_labels_and_without_mistakes_make_a_page_too(tmp_path):
    html = page(tmp_path, np.zeros((2, 3)), np.zeros((2, 3), bool))
    assert "every label was found, and no other" in html
    assert "Precision and recall" not in html
