import io
import re

import numpy as np
import pytest
from coco_scores import by_pycocotools, moved
from page import Page
from PIL import Image

from mobilevitv2.report import charts
from mobilevitv2.report.detection import BoxedExample, panels, write
from mobilevitv2.report.page import told_of
from mobilevitv2.results.colors import distinct_colors
from mobilevitv2.results.suppression import Detections
from mobilevitv2.scores.detection import RECALLS, DetectionScores
from mobilevitv2.scores.truth import Boxes

NAMES = ["RBC", "WBC", "Platelets"]
GREEN, BLUE = (0, 200, 0), (0, 0, 255)
WRONG, SPARED = (220, 38, 38), (150, 160, 175)
HISTORY = [
    {"epoch": i + 1, "lr": 0.01, "train_loss": 2.0, "val_loss": 1.5}
    | {"val_map": 0.1 * i, "val_map_50": 0.2 * i}
    for i in range(3)
]


def examples_of(count: int, classes: int = 3) -> tuple[list[BoxedExample], DetectionScores]:
    """Images of 12 objects each, found as a fair detector finds them."""
    rng = np.random.default_rng(0)
    scores, examples = DetectionScores([f"class {i}" for i in range(classes)]), []
    for i in range(count):
        low = rng.integers(0, 300, (12, 2))
        corners = np.concatenate([low, low + rng.integers(10, 120, (12, 2))], axis=1)
        truth = Boxes.of(rng.integers(0, classes, 12), corners, ignored=np.arange(12) == 11)
        found = moved(truth, classes, rng)
        f1 = scores.update(found, truth)
        image = Image.new("RGB", (420, 420), (i, 90, 90))
        examples.append(BoxedExample(f"image-{i}.png", image, truth, found, f1))
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


def test_headline_and_table_have_the_figures_of_pycocotools(tmp_path):
    examples, scores = examples_of(8)
    images = [(example.found, example.truth) for example in examples]
    theirs = by_pycocotools(images, 3)
    page = Page(report(tmp_path, examples, scores))
    texts = [text for text in page.texts if text]
    told = ["mAP at IoU 0.5", "mAP at IoU 0.75", "recall (mAR)"]
    wanted = [f"{100 * theirs.stats[i]:.1f} %" for i in (0, 1, 2, 8)]
    assert texts.index(wanted[0]) < texts.index(told[0])
    assert [texts[texts.index(name) + 1] for name in told] == wanted[1:]
    sizes = " / ".join(f"{100 * theirs.stats[i]:.1f}" for i in (3, 4, 5))
    assert texts[texts.index("mAP of small / medium / large") + 1] == sizes
    precision = theirs.eval["precision"][:, :, :, 0, 2]  # [T, R, N]
    ap, ap_50 = precision.mean((0, 1)), precision[0].mean(0)
    for i, name in enumerate(NAMES):
        row = texts[texts.index(name) + 1 :][:6]
        assert row[:2] == [f"{100 * ap[i]:.1f}", f"{100 * ap_50[i]:.1f}"]
        truths = sum(int((t.labels[~t.ignored] == i).sum()) for _, t in images)
        assert row[5] == str(truths)
        assert row[3] == f"{100 * int(row[4]) / truths:.1f}"
    assert sorted(NAMES, key=texts.index) == [NAMES[i] for i in np.argsort(ap)]  # hardest first
    bars = [a["style"] for tag, a in page.tags if tag == "i" and "width" in a.get("style", "")]
    widths = [float(re.findall(r"width:([\d.]+)%", bar)[0]) for bar in bars]
    assert widths == [round(100 * float(value), 1) for value in sorted(ap)]


def test_precision_and_recall_are_of_what_is_shown(tmp_path):
    truth = Boxes.of([0, 0, 0, 0], [(0, 0, 9, 9), (20, 0, 29, 9), (40, 0, 49, 9), (60, 0, 69, 9)])
    boxes = np.concatenate([truth.corners, [(80, 0, 90, 9)]]).astype(np.float32)
    seen = Detections(np.array([0.9, 0.8, 0.1, 0.1, 0.7], np.float32), np.zeros(5, np.int64), boxes)
    scores = DetectionScores(NAMES)
    scores.update(seen, truth)
    texts = [text for text in Page(report(tmp_path, [], scores)).texts if text]
    row = texts[texts.index("RBC") + 1 :][:6]
    assert row[2:] == ["66.7", "50.0", "2", "4"]
    assert texts[texts.index("found above 30 %") + 1] == "2 of 4"
    assert texts[texts.index("wrong above 30 %") + 1] == "1 of 3"


def test_the_worst_the_middle_and_the_best_are_shown_with_their_counts(tmp_path):
    examples, scores = examples_of(9)
    page = Page(report(tmp_path, examples, scores))
    order = told_of({i: example.score for i, example in enumerate(examples)})
    f1 = [examples[i].score for i in order]
    assert f1[0] == min(example.score for example in examples)
    assert max(f1) == max(example.score for example in examples)
    shown = [a["alt"] for tag, a in page.tags if a.get("alt", "").startswith("image-")]
    assert shown == [f"image-{i}.png: {kind}" for i in order for kind in ("truth", "found")]
    texts = [text for text in page.texts if text]
    for i in order:
        start = texts.index(f"image-{i}.png") - 6
        right, missed, wrong = (int(text.split()[0]) for text in texts[start + 3 : start + 6])
        assert texts[start] == f"{100 * examples[i].score:.1f} %"
        assert right + missed == 11
        assert examples[i].score == pytest.approx(2 * right / (11 + right + wrong))


def one_example() -> dict[str, np.ndarray]:
    """Side by side, from left to right: found, missed, not counted; and beneath a false alarm."""
    places = [(20, 40, 100, 120), (140, 40, 220, 120), (260, 40, 340, 120)]
    truth = Boxes.of([0, 1, 1], places, ignored=[False, False, True])
    boxes = [places[0], (260, 42, 340, 122), (140, 200, 220, 280), (20, 200, 100, 280)]
    seen = Detections(
        np.array([0.9, 0.8, 0.7, 0.2], np.float32),
        np.array([0, 1, 1, 1]),
        np.array(boxes, np.float32),
    )
    example = BoxedExample("a", Image.new("RGB", (400, 300), (90, 90, 90)), truth, seen, 0.5)
    drawn, counts = panels(example, NAMES[:2], [GREEN, BLUE], threshold=0.3)
    assert counts == {"right": 1, "missed": 1, "wrong": 1}
    return {caption: np.asarray(picture) for caption, picture in drawn.items()}


def test_found_missed_and_wrong_boxes_look_different():
    drawn = one_example()

    def share(kind: str, color: tuple[int, int, int], place: tuple[int, int, int, int]) -> float:
        """Of the box's right edge, how much has this color."""
        _, top, right, bottom = place
        edge = (drawn[kind][top:bottom, right - 3 : right + 3] == color).all(-1).any(1)
        return edge.mean()

    left, middle, right = (20, 40, 100, 120), (140, 40, 220, 120), (260, 40, 340, 120)
    assert share("truth", GREEN, left) > 0.95
    assert 0.5 < share("truth", WRONG, middle) < 0.8
    assert 0.5 < share("truth", SPARED, right) < 0.8
    assert share("found", GREEN, left) > 0.95
    assert 0.5 < share("found", SPARED, right) < 0.8
    assert 0.5 < share("found", WRONG, (140, 200, 220, 280)) < 0.8
    assert share("found", WRONG, middle) == 0
    assert (drawn["found"][190:, :110] == 90).all()  # below the threshold


def test_large_images_are_shown_small_with_boxes_where_they_are():
    truth = Boxes.of([0], [(500, 500, 1500, 1000)])
    seen = Detections(np.array([0.9], np.float32), np.array([0]), truth.corners.astype(np.float32))
    example = BoxedExample("a", Image.new("RGB", (2000, 1500)), truth, seen, 1.0)
    drawn, _ = panels(example, ["a"], [GREEN], threshold=0.3)
    assert drawn["found"].size == drawn["truth"].size == (560, 420)
    rows, columns = np.nonzero((np.asarray(drawn["truth"]) == GREEN).all(-1))
    assert abs(columns.max() - 420) < 3
    assert abs(rows.max() - 280) < 3


def test_charts_lie_beside_the_page_which_needs_nothing_but_itself(tmp_path):
    html = report(tmp_path, *examples_of(2))
    names = sorted(path.stem for path in (tmp_path / "report").iterdir())
    assert names == ["confusion", "learning_rate", "loss", "map", "precision_recall"]
    page = Page(html)
    addresses = [a[key] for _, a in page.tags for key in ("src", "href") if key in a]
    assert len(addresses) == 5 + 2 * 2
    assert all(address.startswith("data:") for address in addresses)
    assert "http" not in html.replace("http-equiv", "")
    assert "url(" not in html


def test_without_history_or_examples_or_objects_the_page_is_still_written(tmp_path):
    html = report(tmp_path, [], DetectionScores(NAMES), history=[])
    assert len(Page(html).pictures("png")) == 1  # the confusion matrix
    assert "Learning" not in html
    assert "Examples" not in html
    texts = Page(html).texts
    assert texts[texts.index("mAP at IoU 0.5") + 1] == "–"  # noqa: RUF001


def test_a_class_that_is_nowhere_has_no_score_and_stands_last(tmp_path):
    examples, _ = examples_of(2)
    scores = DetectionScores([*NAMES, "ghost"])
    for example in examples:
        scores.update(example.found, example.truth)
    html = report(tmp_path, [], scores, classes=[*NAMES, "ghost"])
    texts = [text for text in Page(html).texts if text]
    assert texts[texts.index("ghost") + 1 :][:6] == ["–", "–", "–", "–", "0", "0"]  # noqa: RUF001
    assert texts.index("ghost") > max(map(texts.index, NAMES))
    assert "mAP of 3 classes on 2 images" in html


def test_many_classes_show_the_most_frequent_mistakes_instead(tmp_path):
    names = [f"class {i}" for i in range(80)]
    scores = DetectionScores(names)
    truth = Boxes.of([7] * 4, [(i, 0, i + 9, 9) for i in range(0, 40, 10)])
    boxes = truth.corners[:3].astype(np.float32)
    scores.update(Detections(np.full(3, 0.9, np.float32), np.array([9, 9, 7]), boxes), truth)
    html = report(tmp_path, [], scores, classes=names)
    assert not (tmp_path / "report" / "confusion.png").exists()
    texts = [text for text in Page(html).texts if text]
    start = texts.index("of the true class") + 1
    assert texts[start : start + 8] == [
        *["class 7", "class 9", "2", "50 %"],
        *["class 7", "background", "1", "25 %"],
    ]


def test_names_and_colors_of_other_classes_than_the_scores_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"2 class names and 2 colors, .* 3 classes"):
        report(tmp_path, [], examples_of(1)[1], classes=NAMES[:2])


def test_class_and_file_names_are_text_and_never_markup(tmp_path):
    evil = "<script>alert(1)</script>"
    examples, scores = examples_of(1)
    example = BoxedExample('"><img src=x>', *list(vars(examples[0]).values())[1:])
    html = report(tmp_path, [example], scores, classes=[evil, "$x_$", "b"], title=evil)
    page = Page(html)
    assert not [tag for tag, _ in page.tags if tag in ("script", "b", "link", "iframe")]
    assert page.texts.count(evil) >= 2
    assert any("<img src=x>" in text for text in page.texts)


def colors_in(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def is_near(chart: np.ndarray, color: tuple[int, int, int]) -> np.ndarray:
    return abs(chart - color).max(-1) < 40


def test_the_epoch_of_the_best_map_is_marked_and_map_50_is_another_curve():
    history = [{"epoch": i + 1, "val_map": 0.5, "val_map_50": 0.7} for i in range(5)]
    chart = colors_in(charts.learning_curves(history)["map"])
    heights = is_near(chart, (37, 99, 235)).sum(axis=0)
    assert heights.max() > 2 * np.median(heights[heights > 0])  # a dot on a level line
    assert is_near(chart, (13, 148, 136)).any()
    alone = charts.learning_curves([{"epoch": i + 1, "val_map": 0.5} for i in range(5)])["map"]
    assert not is_near(colors_in(alone), (13, 148, 136)).any()


def test_each_class_has_a_curve_as_far_as_it_gets_and_absent_ones_have_none():
    precision = np.full((101, 3), 1.0)
    precision[50:, 1] = 0
    precision[:, 2] = np.nan
    red = (255, 0, 0)
    chart = colors_in(charts.precision_recall(RECALLS, precision, NAMES, [GREEN, red, BLUE]))
    green, half, none = (is_near(chart, color) for color in (GREEN, red, BLUE))
    assert not none.any()
    row = int(np.argmax(half.sum(1)))
    assert half[row].sum() < 0.6 * (green | half | is_near(chart, (29, 36, 48)))[row].sum()


def test_of_many_classes_the_mean_alone_stands_out():
    names = [f"class {i}" for i in range(80)]
    precision = np.random.default_rng(0).random((101, 80))
    chart = charts.precision_recall(RECALLS, precision, names, [(255, 0, 0)] * 80)
    assert not is_near(colors_in(chart), (255, 0, 0)).any()
    other = charts.precision_recall(RECALLS, precision * 0.9, names, [(255, 0, 0)] * 80)
    assert other != chart
