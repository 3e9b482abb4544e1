import json
from pathlib import Path

import numpy as np
import pytest
from coco_scores import by_pycocotools, defined, moved, random_images
from PIL import Image

from mobilevitv2.images.finding import Found
from mobilevitv2.predict.sinks import Outputs
from mobilevitv2.results.boxed import with_boxes
from mobilevitv2.results.colors import distinct_colors
from mobilevitv2.results.detection import DetectedObject, Detection
from mobilevitv2.results.suppression import Detections
from mobilevitv2.scores.detection import DetectionScores
from mobilevitv2.scores.truth import Boxes

NAMES = ["RBC", "WBC", "Blutplättchen"]
RED, BLUE, BLACK, YELLOW = (255, 0, 0), (0, 0, 255), (0, 0, 0), (255, 255, 0)
BOXES = [(10, 20, 110, 70), (200, 100, 240, 300), (0, 0, 400, 300), (150.5, 20, 190, 50.25)]


def detection(labels=(0, 0, 1, 0), scores=(0.93, 0.5, 0.25, 0.125), boxes=BOXES, **changes):
    count = len(labels)
    values = {"classes": NAMES, "size": (300, 400), **changes}
    return Detection(
        np.array(scores[:count], np.float32),
        np.array(labels, np.int64),
        np.array(boxes[:count], np.float32).reshape(-1, 4),
        **values,
    )


def test_objects_have_names_and_plain_values():
    found = detection()
    assert found.objects[1] == DetectedObject("RBC", 0.5, (200.0, 100.0, 240.0, 300.0))
    assert [item.label for item in found.objects] == ["RBC", "RBC", "WBC", "RBC"]
    assert len(found) == 4
    assert found.counts == {"RBC": 3, "WBC": 1}
    assert found.label == "RBC"


def test_it_reads_as_what_is_there_most_first():
    assert str(detection(labels=(1, 0, 0, 2))) == "2 RBC, 1 WBC, 1 Blutplättchen"
    assert str(detection(labels=())) == "nothing"
    assert detection(labels=()).label == ""
    eight = Detection(
        np.ones(9), np.array([*range(8), 0]), np.zeros((9, 4)), list("abcdefgh"), (9, 9)
    )
    assert str(eight) == "2 a, 1 b, 1 c, 1 d, 1 e, 1 f and 2 more"


def test_json_and_dict_hold_plain_values():
    found = detection(labels=(2, 1), scores=(0.5, 0.25), source="a.jpg")
    objects = [
        {"label": "Blutplättchen", "score": 0.5, "box": [10, 20, 110, 70]},
        {"label": "WBC", "score": 0.25, "box": [200, 100, 240, 300]},
    ]
    assert found.to_dict() == {"source": "a.jpg", "width": 400, "height": 300, "objects": objects}
    assert json.loads(found.to_json()) == found.to_dict()
    assert "Blutplättchen" in found.to_json()


def test_only_the_objects_above_a_threshold_are_kept():
    found = detection(source="a.jpg", colors=[RED, BLUE, BLACK])
    kept = found.above(0.25)
    assert [item.score for item in kept.objects] == pytest.approx([0.93, 0.5])
    assert (kept.source, kept.colors, kept.size) == ("a.jpg", [RED, BLUE, BLACK], (300, 400))
    assert len(found) == 4


def test_a_yolo_file_holds_places_as_parts_of_the_image(tmp_path):
    found = detection(labels=(2, 0), boxes=[(100, 75, 300, 225), (0, 0, 40, 30)])
    path = found.save_yolo(tmp_path / "new" / "a.txt")
    assert path.read_bytes() == (
        b"2 0.500000 0.500000 0.500000 0.500000 0.930000\n"
        b"0 0.050000 0.050000 0.100000 0.100000 0.500000\n"
    )
    assert detection(labels=()).save_yolo(path).read_bytes() == b""


def test_coco_results_are_read_by_pycocotools_and_score_the_same():
    images = [image for seed in range(8) for image in random_images(seed)[0]]
    names = list("abcd")
    scores, results = DetectionScores(names), []
    for i, (found, truth) in enumerate(images):
        scores.update(found, truth)
        results += Detection.of(found, names, (500, 500)).to_coco(i)
    results = json.loads(json.dumps(results))
    theirs = by_pycocotools(images, 4, results)
    np.testing.assert_allclose(list(scores.summary.values()), defined(theirs.stats), atol=1e-9)
    results[0]["bbox"][2] += 1e6  # the mutant: a box that ends elsewhere
    assert not np.allclose(by_pycocotools(images, 4, results).stats, theirs.stats, atol=1e-9)


def test_coco_categories_are_those_of_the_data_set():
    found = detection(labels=(1, 2), scores=(0.5, 0.25))
    assert found.to_coco(139, [7, 11, 90]) == [
        {"image_id": 139, "category_id": 11, "bbox": [10, 20, 100, 50], "score": 0.5},
        {"image_id": 139, "category_id": 90, "bbox": [200, 100, 40, 200], "score": 0.25},
    ]
    assert [item["category_id"] for item in found.to_coco(1)] == [2, 3]
    with pytest.raises(ValueError, match="3 classes and 2 category ids"):
        found.to_coco(1, [7, 11])


@pytest.mark.parametrize(
    ("files", "ids"),
    [
        (["0012.jpg", "7.png"], [12, 7]),
        (["2.jpg", "a.jpg"], [1, 2]),
        (["a/1.jpg", "b/1.jpg"], [1, 2]),
    ],
)
def test_coco_counts_images_by_their_names_where_those_are_numbers(tmp_path, files, ids):
    found = [Found(name, name, Path(name)) for name in files]
    outputs = Outputs(found, task="detection", classes=["a"], coco=tmp_path / "c.json")
    one = Detection(np.array([0.5]), np.array([0]), np.array([[1, 2, 3, 4]]), ["a"], (9, 9))
    for index in range(len(found)):
        outputs.add(index, one)
    outputs.close()
    rows = json.loads((tmp_path / "c.json").read_text())
    assert [(row["image_id"], row["file_name"]) for row in rows] == list(
        zip(ids, files, strict=True)
    )


def test_it_is_made_of_what_detect_gives(tmp_path):
    parts = Detections(
        np.array([0.5], np.float32), np.array([1]), np.array([[1, 2, 3, 4]], np.float32)
    )
    found = Detection.of(parts, NAMES, (10, 20), source=tmp_path / "a.jpg", colors=[RED] * 3)
    assert found.to_dict()["objects"] == [{"label": "WBC", "score": 0.5, "box": [1, 2, 3, 4]}]
    assert found.source == str(tmp_path / "a.jpg")
    assert found.colors == [RED] * 3
    assert detection().colors == distinct_colors(3)


SHAPES = [(8, 8), (32, 24), (128, 96), (640, 480), (40, 900), (1500, 60), (2000, 1500)]


@pytest.mark.parametrize("size", SHAPES)
def test_boxes_are_drawn_where_they_are_at_every_size(size):
    image = Image.new("RGB", size, (90, 90, 90))
    width, height = size
    box = (width // 4, height // 4, width * 3 // 4, height * 3 // 4)
    drawn = np.asarray(with_boxes(image, np.array([box]), [""], [RED])).astype(int)
    assert (np.asarray(image) == 90).all()  # the given one is not drawn on
    scale = max(1, -(-320 // max(size)))
    assert drawn.shape == (scale * height, scale * width, 3)
    red = (drawn == RED).all(-1)
    line = max(2, round(min(drawn.shape[:2]) / 170))
    rows, columns = np.flatnonzero(red.any(1)), np.flatnonzero(red.any(0))
    edges = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
    assert abs(edges - scale * np.array(box)).max() <= line
    assert red[rows[0], columns[0] : columns[-1] + 1].all()
    middle = red[len(red) // 2]
    assert middle.sum() == 2 * line
    assert not red[rows[0] + line : rows[-1] + 1 - line, columns[0] + line].any()


@pytest.mark.parametrize("size", SHAPES)
def test_captions_are_whole_wherever_the_box_is(size):
    width, height = size
    places = [(0, 0), (width - 1, 0), (0, height - 1), (width - 1, height - 1), (width / 2, 0)]
    letters = []
    for x, y in places:
        box = np.array([[x, y, x + 1, y + 1]])
        drawn = with_boxes(Image.new("RGB", size, (90, 90, 90)), box, ["WBC"], [YELLOW])
        letters.append(int((np.asarray(drawn) == BLACK).all(-1).sum()))
    assert min(letters) > 10
    assert len(set(letters)) == 1


def patches(drawn: Image.Image, color: tuple[int, int, int]) -> np.ndarray:
    """Where 4 x 3 px are of a color, as in a caption but in no line of a picture of 640 px."""
    same = np.asarray((np.asarray(drawn) == color).all(-1))
    return np.asarray(np.lib.stride_tricks.sliding_window_view(same, (4, 3)).all((-1, -2)))


def test_a_caption_stands_on_its_box_or_else_beneath_or_in_it():
    image = Image.new("RGB", (640, 480), (90, 90, 90))
    above = patches(with_boxes(image, np.array([[200, 200, 400, 400]]), ["RBC"], [RED]), RED)
    rows, columns = np.nonzero(above[:, 204:390])
    assert 170 < rows.min() < rows.max() < 202
    assert columns.max() < 60
    top = patches(with_boxes(image, np.array([[200, 0, 400, 400]]), ["RBC"], [RED]), RED)
    assert np.flatnonzero(top.any(1))[0] == 0
    both = np.array([[200, 200, 400, 400], [200, 200, 400, 400]])
    drawn = with_boxes(image, both, ["RBC", "WBC"], [RED, BLUE])
    red, blue = patches(drawn, RED), patches(drawn, BLUE)
    assert red.sum() > 50
    assert blue.sum() > 50
    assert not (red & blue).any()


def test_in_a_crowd_the_first_have_captions_and_all_have_boxes():
    image = Image.new("RGB", (640, 480), (90, 90, 90))
    corners = np.tile([[300, 200, 330, 230]], (40, 1))
    colors = [RED, *[BLUE] * 39]
    drawn = with_boxes(image, corners, ["RBC"] * 40, colors)
    assert patches(drawn, RED).any()
    columns = np.arange(40) % 8 * 80
    tiny = np.stack([columns, np.arange(40) // 8 * 90, columns + 5, np.arange(40) // 8 * 90 + 5], 1)
    crowded = np.concatenate([tiny + np.tile([7 * i, 0], 2) for i in range(11)])
    drawn = np.asarray(
        with_boxes(image, crowded, ["thrombocyte"] * len(crowded), [RED] * len(crowded))
    )
    seen = [(drawn[y : y + 8, x : x + 8] == RED).all(-1).any() for x, y, *_ in crowded.astype(int)]
    assert all(seen)


def test_a_name_too_long_is_cut_and_its_score_is_not():
    image, box = Image.new("RGB", (640, 480), (90, 90, 90)), np.array([[50, 50, 90, 90]])
    long = "a very long name of a class " * 4
    cut = [with_boxes(image, box, [long], [RED], percents=[score]) for score in ("93 %", "12 %")]
    assert cut[0] != cut[1]
    for drawn in cut:
        columns = np.flatnonzero((np.asarray(drawn) == RED).all(-1).any(0))
        assert columns[-1] - columns[0] <= 0.4 * 640 + 10
    assert cut[0] == with_boxes(image, box, [long + "x"], [RED], percents=["93 %"])


def test_letters_are_black_on_light_colors_and_white_on_dark_ones():
    image = Image.new("RGB", (640, 480), (90, 90, 90))
    for color, letters in ((YELLOW, BLACK), ((0, 0, 120), (255, 255, 255))):
        drawn = np.asarray(with_boxes(image, np.array([[50, 50, 400, 400]]), ["WBC"], [color]))
        assert (drawn[:49] == letters).all(-1).sum() > 5


def test_dashed_boxes_have_gaps():
    image, box = Image.new("RGB", (640, 480), (90, 90, 90)), np.array([[50, 50, 400, 400]])
    drawn = [np.asarray(with_boxes(image, box, [""], [RED], dashed=[d])) for d in (False, True)]
    solid, dashed = ((row[50] == RED).all(-1).sum() for row in drawn)
    assert 0.5 * solid < dashed < 0.8 * solid


def test_boxes_without_a_caption_for_each_are_refused():
    with pytest.raises(ValueError, match=r"1 boxes need as many captions, .* got 2, 1, 1 and 1"):
        with_boxes(Image.new("RGB", (9, 9)), np.array([[0, 0, 1, 1]]), ["a", "b"], [RED])


def test_the_drawing_has_all_objects_or_those_above_a_threshold():
    image = Image.new("RGB", (400, 300), (90, 90, 90))
    found = detection(labels=(0, 1), colors=[RED, BLUE, BLACK])
    both, first = found.draw(image), found.draw(image, threshold=0.6)
    assert both.size == first.size == (400, 300)
    assert patches(both, BLUE).any()
    assert not patches(first, BLUE).any()
    assert patches(first, RED).any()
    assert first == found.above(0.6).draw(image)
    assert detection(labels=()).draw(image) == image


def test_captions_say_the_class_and_a_probability_that_is_no_certainty():
    image = Image.new("RGB", (400, 300))
    sure = detection(labels=(0,), scores=(0.999,)).draw(image)
    assert sure != detection(labels=(0,), scores=(1.0,)).draw(image)
    assert sure != detection(labels=(1,), scores=(0.999,), colors=distinct_colors(3)).draw(image)
    assert sure == detection(labels=(0,), scores=(0.996,)).draw(image)


def test_saving_and_showing_draw_on_the_file_predicted_from(tmp_path, monkeypatch):
    path = tmp_path / "photo.png"
    Image.new("RGB", (400, 300), "green").save(path)
    found = detection(source=str(path))
    drawn = found.draw(Image.new("RGB", (400, 300), "green"))
    with Image.open(found.save(tmp_path / "new" / "drawn.png")) as saved:
        np.testing.assert_array_equal(saved, drawn)
    shown = []
    monkeypatch.setattr(Image.Image, "show", lambda image, title: shown.append((image, title)))
    found.show()
    assert shown == [(drawn, "3 RBC, 1 WBC")]
    with pytest.raises(ValueError, match=r"draw\(image\)"):
        detection().draw()


def test_an_image_of_another_size_is_refused_in_one_sentence():
    with pytest.raises(ValueError, match="300x400 px, but the prediction is for one of 400x300"):
        detection().draw(Image.new("RGB", (300, 400)))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"labels": (0, 3)}, "no class 3: 3 classes"),
        ({"labels": (-1,)}, "no class -1"),
        ({"labels": (0,), "scores": (np.nan,)}, "NaN or infinity"),
        ({"labels": (0,), "boxes": [(0, 0, np.inf, 1)]}, "NaN or infinity"),
        ({"labels": (0, 0), "scores": (0.5,)}, r"Scores \(1,\), labels \(2,\) and boxes \(2, 4\)"),
        ({"colors": [RED]}, "3 classes and 1 colors"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_sentence(changes, reason):
    with pytest.raises(ValueError, match=reason):
        detection(**changes)


def test_real_cells_are_drawn_in_the_colors_of_their_classes(shared_data):
    image = Image.open(shared_data / "bccd" / "JPEGImages" / "BloodImage_00000.jpg")
    rng = np.random.default_rng(0)
    truth = Boxes.of([0, 1, 2], [(10, 10, 110, 120), (260, 177, 491, 376), (400, 20, 440, 60)])
    found = Detection.of(moved(truth, 3, rng), NAMES, (480, 640))
    drawn = found.draw(image)
    assert drawn.size == (640, 480)
    for label in set(found.labels.tolist()):
        assert patches(drawn, found.colors[label]).any()
