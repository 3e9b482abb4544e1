"""What the command line takes from the package's tables, and the tables that it shows."""

import io
from types import SimpleNamespace

import pytest
import surface
from rich.console import Console

from mobilevitv2.cli.tables import MOST_CLASSES, evaluation
from mobilevitv2.evaluation import (
    BoxScore,
    ClassScore,
    DetectionEvaluation,
    Evaluation,
    SegmentationEvaluation,
)
from mobilevitv2.evaluation.segmentation import MaskScore
from mobilevitv2.runtime.targets import TARGETS
from mobilevitv2.tasks import TASKS

FACTS = {"model": "m", "data": "beach", "split": "val", "count": 1234, "images_per_second": 56.78}
NAN = float("nan")
TWELVE = ("map", "map_50", "map_75", "map_small", "map_medium", "map_large", "mar_1", "mar_10")
TWELVE += ("mar_100", "mar_small", "mar_medium", "mar_large")


def lines_of(result) -> list[list[str]]:
    """The words of each line that isn't empty."""
    Console(file=(file := io.StringIO()), width=100).print(evaluation(result))
    return [line.split() for line in file.getvalue().splitlines() if line.strip(" ─")]


def multi_label(*classes: tuple) -> SimpleNamespace:
    fields = ("name", "average_precision", "precision", "recall", "f1", "threshold", "support")
    rows = [SimpleNamespace(**dict(zip(fields, row, strict=True))) for row in classes]
    scores = {"map": 0.8123, "micro_f1": 0.7, "macro_f1": NAN}
    return SimpleNamespace(task="multi-label classification", **FACTS, **scores, classes=rows)


@pytest.mark.parametrize(
    ("command", "option", "expected"),
    [
        ("export", "to", list(TARGETS)),
        ("export", "output", ["logits", "top_k", "scores", "mask", "boxes", "detections"]),
        ("train", "task", ["auto", "classify", "multi-label", "segment", "detect"]),
        ("inspect", "task", ["auto", "classify", "multi-label", "segment", "detect"]),
    ],
)
def test_an_options_choices_are_the_tables(command, option, expected):
    assert surface.commands()[command][option]["choices"] == expected
    assert {output for task in TASKS.values() for output in task.outputs} <= {
        *surface.commands()["export"]["output"]["choices"]
    }


def test_labels_are_shown_hardest_first_and_what_is_undefined_as_a_dash():
    result = multi_label(
        ("sea", 0.95, 0.9, 0.85, 0.874, 0.5, 1200),
        ("ghost", NAN, NAN, NAN, NAN, 0.25, 0),
        ("crab", 0.4, 0.5, 0.25, 0.333, 0.31, 7),
    )
    first, facts, headings, *rows = lines_of(result)
    assert " ".join(first) == "mAP 81.2 % on 1,234 images (beach, val)"
    assert " ".join(facts) == "micro F1 70.0 %, macro F1 undefined, 56.8 images/s"
    assert headings[3:] == ["AP", "precision", "recall", "F1", "threshold", "images"]
    assert rows == [
        ["crab", "40.0", "50.0", "25.0", "33.3", "31.0", "7"],
        ["sea", "95.0", "90.0", "85.0", "87.4", "50.0", "1,200"],
        ["ghost", "-", "-", "-", "-", "25.0", "0"],
    ]


def test_a_long_list_of_classes_says_how_many_are_left_out():
    many = [(f"c{i}", i / 100, 0.5, 0.5, 0.5, 0.5, 1) for i in range(MOST_CLASSES + 5)]
    *_, last_class, left_out = lines_of(multi_label(*many))
    assert last_class[0] == f"c{MOST_CLASSES - 1}"
    assert left_out == ["and", "5", "more", "classes"]


def test_classes_masks_and_boxes_have_tables_too():
    classes = [ClassScore("a", 0.9, 0.8, 0.85, 10), ClassScore("b", 0.5, 0.6, 0.55, 2)]
    scores = {"accuracy": 0.75, "interval": (0.5, 0.9), "top5": None, "macro_f1": 0.7}
    result = Evaluation(
        **FACTS, **scores, classes=classes, confusion=[[8, 2], [1, 1]], channel_order="rgb"
    )
    shown = lines_of(result)
    assert " ".join(shown[0]) == "75.0 % of 1,234 images right (beach, val)"
    assert shown[3:5] == [["b", "50.0", "60.0", "55.0", "2"], ["a", "90.0", "80.0", "85.0", "10"]]
    assert " ".join(shown[5]) == "most often confused: a taken for b (2), b taken for a (1)"

    masks = [MaskScore("road", 0.9, 0.95, 0.6), MaskScore("sky", NAN, NAN, 0.0)]
    scores = {"miou": 0.9, "pixel_accuracy": 0.95, "mean_class_accuracy": 0.9, "confusion": []}
    shown = lines_of(SegmentationEvaluation(**FACTS, **scores, classes=masks))
    assert " ".join(shown[0]) == "mIoU 90.0 % on 1,234 images (beach, val)"
    assert shown[3] == ["road", "90.0", "95.0", "60.0"]
    assert " ".join(shown[4]) == "classes in no image and never predicted: 1"

    summary = {name: i / 20 for i, name in enumerate(TWELVE)} | {"map_large": NAN}
    summary["mar_1"] = NAN
    boxes = [BoxScore("cell", 0.3, 0.6, 1500)]
    shown = lines_of(DetectionEvaluation(**FACTS, summary=summary, classes=boxes, confusion=[]))
    assert shown[0][:6] == ["mAP", "0.0", "%,", "mAP@0.5", "5.0", "%"]
    assert "recall of 1 boxes per image undefined, recall of 10" in " ".join(shown[1])
    assert ["mAP", "0.0", "15.0", "20.0", "-"] in shown
    assert shown[-1] == ["cell", "30.0", "60.0", "1,500"]
