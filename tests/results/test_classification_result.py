import json

import numpy as np
import pytest
import torch
from PIL import Image

from mobilevitv2 import Classification
from mobilevitv2.results.drawing import percent

NAMES = {0: "daisy", 1: "dandelion", 2: "roses", 3: "sunflowers", 4: "tulips", 5: "thistle"}
LOGITS = np.array([3.0, -1.0, 0.5, 0.5, 2.0, -4.0], np.float32)


def test_scores_are_the_softmax_over_all_classes_best_first():
    found = Classification.from_logits(LOGITS, NAMES)
    probabilities = torch.from_numpy(LOGITS).double().softmax(0)
    scores, order = probabilities.topk(5)
    np.testing.assert_allclose(found.scores, scores, rtol=1e-12)
    assert found.labels == [NAMES[int(index)] for index in order]
    assert (found.label, found.score) == ("daisy", found.scores[0])
    kept_only = scores.softmax(0)  # the mutant: probabilities among the kept classes
    assert not np.allclose(found.scores, kept_only)


def test_equal_scores_stand_in_the_order_of_their_classes():
    found = Classification.from_logits(np.zeros(6), NAMES, top_k=6)
    assert found.labels == list(NAMES.values())


def test_huge_logits_do_not_overflow():
    found = Classification.from_logits(LOGITS * 1e4, NAMES)
    assert found.scores[0] == pytest.approx(1)
    assert np.isfinite(found.scores).all()
    with np.errstate(over="ignore", invalid="ignore"):  # the mutant: an unshifted softmax
        assert np.isnan(np.exp(LOGITS * 1e4) / np.exp(LOGITS * 1e4).sum()).any()


@pytest.mark.parametrize(("top_k", "kept"), [(1, 1), (3, 3), (100, 6)])
def test_top_k_keeps_as_many_as_there_are(top_k, kept):
    found = Classification.from_logits(LOGITS, NAMES, top_k)
    assert len(found.labels) == len(found.scores) == kept


@pytest.mark.parametrize(
    ("logits", "names", "top_k", "reason"),
    [
        (np.array([0, np.nan]), {0: "a", 1: "b"}, 5, "NaN or infinity"),
        (np.array([0, np.inf]), {0: "a", 1: "b"}, 5, "NaN or infinity"),
        (np.zeros((1, 2)), {0: "a", 1: "b"}, 5, r"shape \[classes\], not \(1, 2\)"),
        (np.zeros(0), {}, 5, r"not \(0,\)"),
        (np.zeros(3), {0: "a", 1: "b"}, 5, "3 logits, but id2label names 2"),
        (np.zeros(2), {1: "a", 2: "b"}, 5, "number from 0 to 1"),
        (np.zeros(2), {0: "a", 1: "b"}, 0, "top_k must be at least 1"),
    ],
)
def test_what_gives_no_prediction_is_refused(logits, names, top_k, reason):
    with pytest.raises(ValueError, match=reason):
        Classification.from_logits(logits, names, top_k)


def test_it_reads_as_a_name_and_a_percentage():
    assert str(Classification(["daisy", "roses"], [0.9312, 0.05])) == "daisy 93.1 %"


@pytest.mark.parametrize(
    ("score", "text"),
    [(1.0, "100.0 %"), (0.99996, "> 99.9 %"), (0.5, "50.0 %"), (1e-9, "< 0.1 %"), (0.0, "0.0 %")],
)
def test_a_percentage_is_never_rounded_to_certainty(score, text):
    assert percent(score) == text


def test_json_and_dict_hold_plain_values(tmp_path):
    names = NAMES | {0: "Gänseblümchen"}
    found = Classification.from_logits(LOGITS, names, 2, source=tmp_path / "a.jpg")
    read = json.loads(found.to_json())
    assert read == found.to_dict()
    assert read["source"] == str(tmp_path / "a.jpg")
    assert read["label"] == read["labels"][0] == "Gänseblümchen"
    assert read["score"] == read["scores"][0] == found.score
    assert "Gänseblümchen" in found.to_json()
    assert "\n" not in found.to_json()


SHAPES = [(8, 8), (128, 128), (640, 480), (3000, 2000), (40, 900), (1500, 60)]


@pytest.mark.parametrize("size", SHAPES)
def test_the_drawing_keeps_the_picture_whole_and_readable(size):
    image = Image.new("RGB", size, "orange")
    names = {
        i: f"class {i}, of a long name that goes on and on for a narrow picture" for i in NAMES
    }
    found = Classification.from_logits(LOGITS, names)
    drawn = found.draw(image)
    assert image.size == size  # the given one is not drawn on
    assert drawn.width >= 320
    scale = max(1, -(-320 // max(size)))
    picture_height = size[1] * scale
    orange = (np.asarray(drawn) == (255, 165, 0)).all(-1)
    assert orange[:picture_height].sum() == size[0] * scale * picture_height
    assert not orange[picture_height:].any()
    rows = np.asarray(drawn)[picture_height:]
    assert len(rows) >= 5 * 14  # a line of readable text for each of the five classes
    assert (rows == 255).all(-1).any(axis=1).sum() >= 5 * 8


def bar_lengths(drawn: Image.Image, colors: tuple[str, ...]) -> list[int]:
    """For each color, how many columns of the drawing hold it."""
    pixels = np.asarray(drawn)
    expected = [tuple(int(c[i : i + 2], 16) for i in (1, 3, 5)) for c in colors]
    return [int((pixels == rgb).all(-1).any(axis=0).sum()) for rgb in expected]


def test_bars_are_as_long_as_their_scores():
    image = Image.new("RGB", (640, 480), "black")
    half, rest = bar_lengths(
        Classification(["a", "b"], [0.5, 0.25]).draw(image), ("#2563eb", "#475569")
    )
    assert half == pytest.approx(2 * rest, abs=3)
    (whole,) = bar_lengths(Classification(["a"], [1.0]).draw(image), ("#2563eb",))
    assert whole == pytest.approx(2 * half, abs=3)


def test_different_predictions_give_different_drawings():
    image = Image.new("RGB", (320, 240), "black")
    drawings = [
        Classification([label], [0.5]).draw(image).tobytes() for label in ("daisy", "roses")
    ]
    assert drawings[0] != drawings[1]


def test_a_name_with_a_line_break_or_none_at_all_is_drawn():
    image = Image.new("RGB", (320, 240))
    drawn = Classification(["two\nlines", ""], [0.6, 0.4]).draw(image)
    assert drawn.size == Classification(["two lines", "x"], [0.6, 0.4]).draw(image).size


def test_saving_draws_the_file_predicted_from(shared_data, tmp_path):
    path = next((shared_data / "flowers" / "val" / "daisy").glob("*.jpg"))
    found = Classification.from_logits(LOGITS, NAMES, source=path)
    saved = found.save(tmp_path / "new" / "drawn.png")
    drawn = Image.open(saved)
    np.testing.assert_array_equal(drawn, found.draw(Image.open(path)))
    enlarged = Image.open(path).resize((384, 384), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(np.asarray(drawn)[:384], enlarged)


def test_the_image_predicted_from_goes_before_the_file_of_its_name():
    image = Image.new("RGB", (320, 240), "green")
    found = Classification.from_logits(LOGITS, NAMES, source="gone.jpg", image=image)
    np.testing.assert_array_equal(found.draw(), found.draw(image))
    assert found == Classification.from_logits(LOGITS, NAMES, source="gone.jpg")


def test_drawing_without_any_image_says_what_to_do():
    with pytest.raises(ValueError, match=r"draw\(image\)"):
        Classification(["daisy"], [1.0]).draw()


def test_showing_opens_the_drawing(monkeypatch):
    shown = []
    monkeypatch.setattr(Image.Image, "show", lambda image, title: shown.append((image, title)))
    image = Image.new("RGB", (320, 240))
    Classification(["daisy"], [1.0]).show(image)
    assert shown[0][0].height > 240
    assert shown[0][1] == "daisy 100.0 %"
