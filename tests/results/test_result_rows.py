"""What every kind of result says of itself on the terminal and in CSV."""

import numpy as np
import pytest

from mobilevitv2 import Classification, Detection, MultiLabel, Segmentation

CLASSES = ["cat", "dog", "sofa"]
BOXES = np.array([[10.4, 20.0, 1110.6, 70.0], [0, 0, 4, 3]])
OBJECTS = Detection(
    np.array([0.5, 0.25]), np.array([1, 0]), BOXES, CLASSES, (99, 2000), source="a.jpg"
)
RESULTS = {
    "classification": Classification(["dog", "cat"], [0.5, 0.25], "a.jpg"),
    "multi-label": MultiLabel(CLASSES, [0.25, 0.75, 0.5], [0.3] * 3, "a.jpg"),
    "segmentation": Segmentation(np.array([[0, 2], [2, 2]]), CLASSES, source="a.jpg"),
    "detection": OBJECTS,
}
CSV = {
    "classification": (
        ["image", "label", "score", "label_2", "score_2"],
        [["a.jpg", "dog", 0.5, "cat", 0.25]],
    ),
    "multi-label": (
        ["image", "labels", "cat", "dog", "sofa"],
        [["a.jpg", "dog;sofa", 0.25, 0.75, 0.5]],
    ),
    "segmentation": (["image", "cat", "dog", "sofa"], [["a.jpg", 0.25, 0.0, 0.75]]),
    "detection": (
        ["image", "label", "score", "x1", "y1", "x2", "y2"],
        [["a.jpg", "dog", 0.5, *BOXES[0]], ["a.jpg", "cat", 0.25, *BOXES[1]]],
    ),
}
PAIRS = {
    "classification": [("dog", 0.5), ("cat", 0.25)],
    "multi-label": [("dog", 0.75), ("sofa", 0.5)],
    "segmentation": [("sofa", 0.75), ("cat", 0.25)],
    "detection": [("1 dog, 1 cat", 0.5)],
}


@pytest.mark.parametrize("kind", RESULTS)
def test_a_csv_row_has_a_cell_for_each_column(kind):
    result, (header, rows) = RESULTS[kind], CSV[kind]
    assert type(result).csv_header(CLASSES, 2) == header
    assert result.csv_rows() == rows


def test_the_columns_of_a_classifier_are_no_more_than_its_classes():
    assert len(Classification.csv_header(CLASSES, 100)) == 1 + 2 * 3


@pytest.mark.parametrize("kind", RESULTS)
def test_a_line_names_the_best_first(kind):
    assert RESULTS[kind].pairs() == PAIRS[kind]


def test_bars_say_all_of_an_image_but_not_where_objects_are():
    assert RESULTS["segmentation"].bars() == [("sofa", 0.75, True), ("cat", 0.25, False)]
    assert [kind for kind, result in RESULTS.items() if result.table()] == ["detection"]
    assert OBJECTS.table() == [
        ["object", "score", "left", "top", "right", "bottom"],
        ["dog", "50.0 %", "10", "20", "1,111", "70"],
        ["cat", "25.0 %", "0", "0", "4", "3"],
    ]


def test_without_objects_there_is_nothing_to_list():
    empty = OBJECTS.above(0.5)
    assert (empty.pairs(), empty.csv_rows(), len(empty.table())) == ([], [], 1)
