import re
from typing import Any

import numpy as np
from page import Page
from PIL import Image
from sklearn.metrics import classification_report

from mobilevitv2.report.classification import write
from mobilevitv2.scores.classification import ClassificationScores

HISTORY = [
    {"epoch": i + 1, "step": i, "lr": 0.01, "train_loss": 2.0, "val_loss": 1.5, "val_accuracy": 0.5}
    for i in range(3)
]


def probabilities_for(predicted: list[int], classes: int, sure: list[float]) -> np.ndarray:
    rest = (1 - np.array(sure)) / (classes - 1)
    found = np.repeat(rest[:, None], classes, axis=1)
    found[np.arange(len(predicted)), predicted] = sure
    return found


def report(out, *, classes, targets, probabilities, **changes) -> str:
    scores = ClassificationScores(len(classes))
    scores.update(probabilities, targets)
    options = {
        "history": HISTORY,
        "images": lambda i: Image.new("RGB", (100, 80), (i, 0, 0)),
        "names": [f"image-{i}.jpg" for i in range(len(targets))],
        "title": "a run",
        "settings": {"epochs": 3, "lr": 0.01, "freeze": None, "crop_scale": (0.25, 1.0)},
        "timing": {"training seconds": 75.0, "images per second": 12.5},
    }
    path = write(
        out,
        classes=classes,
        scores=scores,
        probabilities=probabilities,
        **{**options, **changes},
    )
    return path.read_text(encoding="utf-8")


def test_the_headline_has_the_accuracy_and_its_textbook_interval(tmp_path):
    targets = [0] * 10
    probabilities = probabilities_for([0] * 8 + [1] * 2, 2, [0.9] * 10)
    html = report(tmp_path, classes=["a", "b"], targets=targets, probabilities=probabilities)
    assert "80.0 %" in html
    assert "49.0 to 94.3 %" in html  # Wilson's interval of 8 of 10
    assert "1 min 15 s" in html


def test_the_table_has_the_figures_of_scikit_learn(tmp_path):
    rng = np.random.default_rng(0)
    names = ["ant", "bee", "cow", "dog"]
    targets = rng.integers(0, 4, 60)
    predicted = np.where(rng.random(60) < 0.7, targets, rng.integers(0, 4, 60))
    html = report(
        tmp_path,
        classes=names,
        targets=targets,
        probabilities=probabilities_for(list(predicted), 4, [0.8] * 60),
    )
    wanted: Any = classification_report(targets, predicted, target_names=names, output_dict=True)
    texts = [text for text in Page(html).texts if text]
    for name in names:
        row = texts[texts.index(name) + 1 :][:4] if name in texts else []
        figures = [f"{100 * wanted[name][key]:.1f}" for key in ("precision", "recall", "f1-score")]
        assert row == [*figures, str(int(wanted[name]["support"]))]
    f1 = [wanted[name]["f1-score"] for name in names]
    assert sorted(names, key=texts.index) == [names[i] for i in np.argsort(f1)]  # hardest first


def test_class_and_file_names_are_text_and_never_markup(tmp_path):
    evil = "<script>alert(1)</script>"
    html = report(
        tmp_path,
        classes=[evil, '"onload="x', "$x_$ \\frac{"],  # nor formulas of matplotlib's
        targets=[0, 1, 2],
        probabilities=probabilities_for([1, 2, 0], 3, [0.9] * 3),
        names=["<img src=x>", "'>", "&amp;"],
        title=evil,
        settings={evil: evil},
    )
    page = Page(html)
    assert not [tag for tag, _ in page.tags if tag in ("script", "b", "link", "iframe")]
    assert not [attrs for _, attrs in page.tags if any(name.startswith("on") for name in attrs)]
    assert page.texts.count(evil) >= 3
    assert any(text.endswith("<img src=x>") for text in page.texts)


def test_names_in_any_script_are_fine(tmp_path):
    names = ["\u72ac", "\u0643\u0644\u0628", "line\nbreak \U0001f415", ""]
    html = report(
        tmp_path,
        classes=names,
        targets=[0, 1, 2, 3],
        probabilities=probabilities_for([1, 1, 2, 3], 4, [0.9] * 4),
    )
    assert names[0] in Page(html).texts


def test_the_page_needs_nothing_but_itself(tmp_path):
    html = report(
        tmp_path,
        classes=["a", "b"],
        targets=[0, 1],
        probabilities=probabilities_for([1, 1], 2, [0.9] * 2),
    )
    page = Page(html)
    addresses = [a[key] for _, a in page.tags for key in ("src", "href") if key in a]
    assert addresses
    assert all(address.startswith("data:") for address in addresses)
    assert "http" not in re.sub(r"http-equiv", "", html)
    assert "url(" not in html


def test_charts_lie_beside_the_page(tmp_path):
    report(
        tmp_path,
        classes=["a", "b"],
        targets=[0, 1],
        probabilities=probabilities_for([0, 1], 2, [0.9] * 2),
    )
    names = sorted(path.name for path in (tmp_path / "report").iterdir())
    assert names == ["accuracy.png", "confusion.png", "learning_rate.png", "loss.png"]
    for name in names:
        with Image.open(tmp_path / "report" / name) as chart:
            assert min(chart.size) > 300


def test_without_a_history_there_are_no_curves(tmp_path):
    html = report(
        tmp_path,
        classes=["a", "b"],
        targets=[0, 1],
        probabilities=probabilities_for([0, 1], 2, [0.9] * 2),
        history=[],
    )
    assert len(Page(html).pictures("png")) == 1  # the confusion matrix
    assert "every image was named correctly" in html


def test_the_worst_mistakes_come_first_with_their_pictures(tmp_path):
    sure = [0.6, 0.99, 0.7, 0.95]
    html = report(
        tmp_path,
        classes=["a", "b"],
        targets=[0, 0, 0, 1],
        probabilities=probabilities_for([1, 1, 0, 0], 2, sure),  # the third is right
    )
    shown = [a["alt"] for tag, a in Page(html).tags if a.get("alt", "").startswith("image-")]
    assert shown == ["image-1.jpg", "image-3.jpg", "image-0.jpg"]
    reds = [np.asarray(picture)[..., 0].mean() for picture in Page(html).pictures("jpeg")]
    assert np.allclose(reds, [1, 3, 0], atol=1)
    assert "99.0 %" in html


def test_a_picture_that_has_gone_does_not_stop_the_report(tmp_path):
    def images(index):
        raise FileNotFoundError(f"{index}.jpg")

    html = report(
        tmp_path,
        classes=["a", "b"],
        targets=[0, 1],
        probabilities=probabilities_for([1, 1], 2, [0.9] * 2),
        images=images,
    )
    assert "no picture" in html


def test_many_classes_show_the_most_confused_pairs_instead(tmp_path):
    classes = [f"class {i}" for i in range(1000)]
    targets = list(range(1000)) + [7] * 3
    predicted = list(range(1000)) + [9] * 3
    html = report(
        tmp_path,
        classes=classes,
        targets=targets,
        probabilities=probabilities_for(predicted, 1000, [0.9] * 1003),
    )
    assert not (tmp_path / "report" / "confusion.png").exists()
    texts = [text for text in Page(html).texts if text]
    start = texts.index("of the true class") + 1
    assert texts[start : start + 4] == ["class 7", "class 9", "3", "75 %"]
    assert "among the first five" in html
