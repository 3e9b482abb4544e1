import io
import re

import numpy as np
import pytest
import torch
from page import Page
from PIL import Image
from torchmetrics.classification import MulticlassJaccardIndex

from mobilevitv2.report import charts
from mobilevitv2.report.page import telling_examples
from mobilevitv2.report.segmentation import Example, panels, write
from mobilevitv2.results.colors import distinct_colors
from mobilevitv2.scores.segmentation import SegmentationScores

NAMES = ["sky", "road", "tree", "car"]
RED, BLUE = (255, 0, 0), (0, 0, 255)
HISTORY = [
    {"epoch": i + 1, "lr": 0.01, "train_loss": 2.0, "val_loss": 1.5, "val_miou": 0.1 * i}
    for i in range(3)
]


def examples_of(count: int, classes: int = 4) -> tuple[list[Example], SegmentationScores]:
    """Example i is the wronger, the larger i is; a corner of each does not count."""
    rng = np.random.default_rng(0)
    scores, examples = SegmentationScores(classes), []
    for i in range(count):
        truth = rng.integers(0, classes, (90, 120)).astype(np.uint8)
        wrong = rng.random(truth.shape) < (i + 1) / (count + 1)
        predicted = np.where(wrong, (truth + 1) % classes, truth)
        truth[:20, :20] = 255
        own = SegmentationScores(classes)
        own.update(predicted, truth)
        scores.update(predicted, truth)
        image = Image.new("RGB", (120, 90), (i, 90, 90))
        examples.append(
            Example(f"image-{i}.png", image, truth, predicted, own.miou, 1 - 0.5 * wrong)
        )
    return examples, scores


def report(out, examples, scores, **changes) -> str:
    options = {
        "history": HISTORY,
        "classes": NAMES,
        "title": "a run",
        "settings": {"epochs": 3},
        "timing": {"training seconds": 75.0},
        **changes,
    }
    options.setdefault("colors", distinct_colors(len(options["classes"])))
    path = write(out, scores=scores, examples=examples, **options)
    return path.read_text(encoding="utf-8")


def test_headline_and_table_have_the_figures_of_torchmetrics(tmp_path):
    examples, scores = examples_of(3)
    metric = MulticlassJaccardIndex(4, average="none", ignore_index=255)
    for example in examples:
        metric.update(torch.from_numpy(example.predicted), torch.from_numpy(example.truth))
    iou = metric.compute().numpy()
    page = Page(report(tmp_path, examples, scores))
    texts = [text for text in page.texts if text]
    assert texts.index(f"{100 * iou.mean():.1f} %") < texts.index("pixel accuracy")
    truths = np.concatenate([example.truth.ravel() for example in examples])
    for i, name in enumerate(NAMES):
        share = (truths == i).sum() / (truths != 255).sum()
        row = texts[texts.index(name) + 1 :][:3]
        assert (row[0], row[2]) == (f"{100 * iou[i]:.1f}", f"{100 * share:.1f}")
    assert sorted(NAMES, key=texts.index) == [NAMES[i] for i in np.argsort(iou)]  # hardest first
    assert texts[texts.index("ignored pixels") + 1] == f"{100 * 400 / 10800:.1f} %"
    bars = [a["style"] for tag, a in page.tags if tag == "i" and "width" in a.get("style", "")]
    widths = [float(re.findall(r"width:([\d.]+)%", bar)[0]) for bar in bars]
    assert widths == [round(100 * float(value), 1) for value in sorted(iou)]


def test_the_worst_the_middle_and_the_best_are_shown(tmp_path):
    examples, scores = examples_of(9)
    page = Page(report(tmp_path, examples, scores))
    shown = [a["alt"] for tag, a in page.tags if a.get("alt", "").startswith("image-")]
    named = list(dict.fromkeys(alt.split(":")[0] for alt in shown))
    assert named == [f"image-{i}.png" for i in (8, 7, 5, 4, 0, 1)]
    assert shown[:5] == [
        f"image-8.png: {caption}" for caption in ("image", "truth", "prediction", "wrong", "unsure")
    ]
    miou = [f"{100 * examples[i].score:.1f} %" for i in (8, 7, 5, 4, 0, 1)]
    places = [page.texts.index(text) for text in miou]
    assert places == sorted(places)
    assert page.texts.count("(median)") == 2


@pytest.mark.parametrize(
    ("mious", "worst", "median", "best"),
    [
        ([], [], [], []),
        ([0.5], [0], [], []),
        ([0.5, 0.1, 0.9], [1, 0], [], [2]),
        ([0.5, 0.1, 0.9, float("nan"), 0.6], [1, 0], [], [2, 4]),
        ([0.1 * i for i in range(5)], [0, 1], [2], [4, 3]),
        ([1.0] * 11, [0, 1], [4, 5], [10, 9]),
    ],
)
def test_no_example_is_shown_twice_and_few_begin_with_the_worst(mious, worst, median, best):
    assert telling_examples(mious) == {"worst": worst, "median": median, "best": best}


def one_example() -> dict[str, np.ndarray]:
    """Panels as int arrays: left half right, right half wrong, the upper quarter not counted."""
    truth = np.zeros((80, 120), np.uint8)
    truth[:20] = 255
    predicted = np.zeros_like(truth)
    predicted[:, 60:] = 1
    certainty = np.linspace(0.5, 1, 80, dtype=np.float16)[:, None].repeat(120, axis=1)
    image = Image.new("RGB", (120, 80), (128, 128, 128))
    example = Example("a", image, truth, predicted, 0.25, certainty)
    found = panels(example, [RED, BLUE], SegmentationScores(2))
    return {name: np.asarray(picture).astype(int) for name, picture in found.items()}


def test_truth_and_prediction_are_tinted_with_the_classes():
    found = one_example()
    assert (found["image"] == 128).all()
    below, left, right = slice(25, 75), slice(5, 55), slice(65, 115)
    red, blue = (found[name][..., 0] - found[name][..., 2] for name in ("truth", "prediction"))
    assert (red[below] > 50).all()
    assert (blue[below, left] > 50).all()
    assert (blue[below, right] < -50).all()


def test_what_is_wrong_is_red_and_what_does_not_count_is_dark():
    found = one_example()
    redness = found["wrong"][..., 0] - found["wrong"][..., 1]
    assert (redness[20:, :60] == 0).all()
    assert (redness[20:, 60:] > 100).all()
    for name in ("truth", "wrong"):
        assert found[name][:20].max() < 100  # though half of it would be wrong
        assert len(np.unique(found[name][:20])) > 3  # striped
        assert found[name][20:].max() > 100


def test_the_more_unsure_the_brighter():
    brightness = one_example()["unsure"].sum(-1)
    assert (np.diff(brightness[:, 0]) <= 0).all()
    assert brightness[0, 0] > 600  # a guess between two
    assert brightness[-1, 0] < 30


def test_without_certainty_its_panel_is_left_away():
    mask = np.zeros((80, 120), np.uint8)
    example = Example("a", Image.new("RGB", (120, 80)), mask, mask, 1.0)
    found = panels(example, [RED, BLUE], SegmentationScores(2))
    assert list(found) == ["image", "truth", "prediction", "wrong"]


def test_large_images_are_shown_small_without_classes_between_classes():
    truth = np.random.default_rng(0).choice([0, 2], (1500, 2000)).astype(np.uint8)
    example = Example("a", Image.new("RGB", (2000, 1500)), truth, truth, 1.0)
    green = panels(example, [RED, (0, 255, 0), BLUE], SegmentationScores(3))["truth"]
    assert green.size == (480, 360)
    assert not np.asarray(green)[..., 1].any()


def test_masks_of_another_size_than_the_image_are_refused():
    mask = np.zeros((80, 120), np.uint8)
    with pytest.raises(ValueError, match=r"cat\.png is \(120, 80\) px, .* mask of \(80, 120\)"):
        Example("cat.png", Image.new("RGB", (80, 120)), mask, mask, 1.0)


def test_names_and_colors_of_other_classes_than_the_scores_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"3 class names and 3 colors, .* 4 classes"):
        report(tmp_path, [], examples_of(1)[1], classes=NAMES[:3])


def test_charts_lie_beside_the_page_which_needs_nothing_but_itself(tmp_path):
    html = report(tmp_path, *examples_of(2))
    names = sorted(path.name for path in (tmp_path / "report").iterdir())
    assert names == ["confusion.png", "learning_rate.png", "loss.png", "miou.png"]
    page = Page(html)
    addresses = [a[key] for _, a in page.tags for key in ("src", "href") if key in a]
    assert len(addresses) >= 4 + 2 * 5
    assert all(address.startswith("data:") for address in addresses)
    assert "http" not in html.replace("http-equiv", "")
    assert "url(" not in html


def test_without_history_or_examples_the_scores_are_still_told(tmp_path):
    html = report(tmp_path, [], examples_of(1)[1], history=[])
    assert len(Page(html).pictures("png")) == 1  # the confusion matrix
    assert "Learning" not in html
    assert "Examples" not in html


def test_a_class_that_is_nowhere_has_no_score_and_stands_last(tmp_path):
    _, scores = examples_of(2, classes=5)
    nowhere = SegmentationScores(6)
    nowhere.confusion[:5, :5] = scores.confusion
    html = report(tmp_path, [], nowhere, classes=[*NAMES[:2], "boat", *NAMES[2:], "ghost"])
    texts = [text for text in Page(html).texts if text]
    assert texts[texts.index("ghost") + 1] == "–"  # noqa: RUF001
    assert texts.index("ghost") > max(map(texts.index, [*NAMES, "boat"]))
    assert "of 5 classes" in html


def test_many_classes_show_the_most_confused_pairs_instead(tmp_path):
    scores = SegmentationScores(150)
    scores.confusion[:] = np.diag(np.full(150, 100))
    scores.confusion[7, 9] = 300
    html = report(tmp_path, [], scores, classes=[f"class {i}" for i in range(150)])
    assert not (tmp_path / "report" / "confusion.png").exists()
    texts = [text for text in Page(html).texts if text]
    start = texts.index("of the true class") + 1
    assert texts[start - 2] == "pixels"
    assert texts[start : start + 4] == ["class 7", "class 9", "300", "75 %"]


def test_class_and_file_names_are_text_and_never_markup(tmp_path):
    evil = "<script>alert(1)</script>"
    mask = np.zeros((80, 120), np.uint8)
    example = Example('"><img src=x>', Image.new("RGB", (120, 80)), mask, mask, 1.0)
    scores = SegmentationScores(2)
    scores.update(mask, mask)
    html = report(tmp_path, [example], scores, classes=[evil, "$x_$"], title=evil)
    page = Page(html)
    assert not [tag for tag, _ in page.tags if tag in ("script", "b", "link", "iframe")]
    assert page.texts.count(evil) >= 2
    assert any("<img src=x>" in text for text in page.texts)


def test_each_example_names_its_hardest_classes(tmp_path):
    truth = np.arange(4).repeat(30)[None].repeat(90, axis=0).astype(np.uint8)
    predicted = truth.copy()
    predicted[:60, 30:60] = 0  # road, taken for sky
    predicted[:80, 60:90] = 0  # tree, taken for sky
    scores = SegmentationScores(5)
    scores.update(predicted, truth)
    example = Example("a", Image.new("RGB", (120, 90)), truth, predicted, scores.miou)
    texts = Page(report(tmp_path, [example], scores, classes=[*NAMES, "ghost"])).texts
    told = [text for text in texts[texts.index("mIoU") :] if text]
    wanted = ["tree", "11.1 %", "road", "33.3 %", "sky", "39.1 %", "car", "100.0 %"]  # 90 of 230
    start = told.index("tree")
    assert told[start : start + 8] == wanted
    assert "ghost" not in told


def colors_in(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def test_the_confusion_chart_shows_shares_of_the_true_class():
    counts = np.array([[90, 10], [0, 5]])
    chart = charts.confusion_shares(counts, ["a", "b"])
    assert charts.confusion_shares(counts * [[1000], [1]], ["a", "b"]) == chart
    assert charts.confusion_shares(counts * [[1, 1000]], ["a", "b"]) != chart
    blue = (colors_in(chart) == (8, 48, 107)).all(-1)  # the darkest: all of a class
    assert blue.sum() > 1000
    assert not blue[: blue.shape[0] // 3].any()  # of b, which is below, and not of a


def test_the_epoch_of_the_best_miou_is_marked():
    history = [{"epoch": i + 1, "val_miou": 0.5} for i in range(5)]
    chart = colors_in(charts.learning_curves(history)["miou"])
    heights = (abs(chart - (37, 99, 235)).max(-1) < 40).sum(axis=0)  # px of blue in each column
    assert heights.max() > 2 * np.median(heights[heights > 0])  # a dot on a level line
