import dataclasses
import json
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mobilevitv2 import MultiLabel

NAMES = {0: "cat", 1: "dog", 2: "sofa", 3: "Gänseblümchen", 4: "bus", 5: "person"}
LOGITS = np.array([2.6, -3.0, 0.45, -1.0, -2.0, 0.1], np.float32)
THRESHOLDS = [0.5, 0.01, 0.6, 0.5, 0.5, 0.9]
STRONG, FAINT = (0x25, 0x63, 0xEB), (0x47, 0x55, 0x69)


def found(logits: np.ndarray = LOGITS, thresholds: Any = THRESHOLDS, **options) -> MultiLabel:
    return MultiLabel.from_logits(logits, NAMES, thresholds, **options)


def test_scores_are_the_sigmoid_of_each_class_by_itself():
    theirs = torch.from_numpy(LOGITS).double().sigmoid()
    np.testing.assert_allclose(found().all_scores, theirs, rtol=1e-14)
    assert found().classes == list(NAMES.values())


@pytest.mark.filterwarnings("error")
def test_huge_logits_do_not_overflow():
    theirs = torch.tensor([1e4, -1e4, 700, -700, 0, 40]).double()
    np.testing.assert_allclose(found(theirs.numpy()).all_scores, theirs.sigmoid(), rtol=1e-14)


def test_labels_are_those_above_their_own_thresholds_best_first():
    result = found()
    assert result.labels == ["cat", "sofa", "dog"]
    assert result.scores == [result.all_scores[number] for number in (0, 2, 1)]
    assert (result.label, result.score) == ("cat", result.scores[0])
    assert found(thresholds=0.5).labels == ["cat", "sofa", "person"]
    assert found(np.zeros(6), thresholds=0.5).labels == []
    assert found(np.zeros(6), thresholds=0.4).labels == list(NAMES.values())


def test_it_reads_as_what_is_there():
    assert str(found()) == "cat 93 %, sofa 61 %, dog 5 %"
    nothing = found(thresholds=1.0)
    assert (str(nothing), nothing.label, nothing.score) == ("nothing", "", 0.0)


def test_json_and_dict_hold_plain_values(tmp_path):
    result = found(source=tmp_path / "a.jpg")
    read = json.loads(result.to_json())
    assert read == result.to_dict()
    assert read["source"] == str(tmp_path / "a.jpg")
    assert (read["labels"], read["scores"]) == (result.labels, result.scores)
    assert list(read["all"].items()) == list(zip(result.classes, result.all_scores, strict=True))
    assert "Gänseblümchen" in result.to_json()


@pytest.mark.parametrize(
    ("logits", "thresholds", "reason"),
    [
        (np.full(6, np.nan), 0.5, "NaN or infinity"),
        (np.zeros((1, 6)), 0.5, r"shape \[classes\], not \(1, 6\)"),
        (np.zeros(7), 0.5, "7 logits, but id2label names 6"),
        (LOGITS, [0.5] * 5, "6 classes, 6 scores and 5 thresholds"),
        (LOGITS, [0.5] * 5 + [np.nan], "thresholds hold NaN"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_sentence(logits, thresholds, reason):
    with pytest.raises(ValueError, match=reason):
        found(logits, thresholds)


def test_the_classes_above_are_drawn_and_the_best_few_below_in_faint():
    bars = found().bars()
    assert [bar.label for bar in bars] == ["cat", "sofa", "dog", "person", "Gänseblümchen", "bus"]
    assert [bar.strong for bar in bars] == [True] * 3 + [False] * 3
    assert len(found(thresholds=1.0).bars()) == 3
    drawn = found().draw(Image.new("RGB", (640, 480)))
    lengths = [(np.asarray(drawn) == color).all(-1).sum(1).max() for color in (STRONG, FAINT)]
    assert lengths[0] / lengths[1] == pytest.approx(bars[0].score / bars[3].score, rel=0.05)


def test_saving_draws_on_the_image_predicted_from(tmp_path):
    image = Image.new("RGB", (400, 300), "green")
    result = found(image=image)
    with Image.open(result.save(tmp_path / "new" / "drawn.png")) as saved:
        np.testing.assert_array_equal(saved, result.draw(image))
    with pytest.raises(ValueError, match=r"draw\(image\)"):
        found().draw()


def test_another_source_leaves_the_labels():
    changed = dataclasses.replace(found(), source="b.jpg")
    assert (changed.source, changed.labels) == ("b.jpg", found().labels)
    assert changed != found()
