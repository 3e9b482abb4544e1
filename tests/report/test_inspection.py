"""A data set is told and shown before it is trained on, with what is odd about it."""

import shutil

import numpy as np
import pytest
from box_files import BOXES, picture, put_voc, put_xml, write
from mask_files import flat
from PIL import Image

from mobilevitv2.data import (
    ClassificationData,
    DetectionData,
    open_classification,
    open_data,
    open_detection,
)
from mobilevitv2.errors import DataError
from mobilevitv2.images.reading import load_image
from mobilevitv2.report.inspection import inspect


def boxed(folder):
    for split, chosen in (("train", range(6)), ("val", range(6, 9))):
        put_voc(folder / split, folder / split, chosen)
    return folder


def names(found) -> list[str]:
    return [path.name for path in found.odd]


def test_what_is_fine_is_said_to_be(tmp_path):
    found = inspect(open_detection(boxed(tmp_path)))
    assert found.text.endswith("nothing odd was found")
    assert open_detection(tmp_path).report() in found.text
    assert (found.odd, found.sheets) == ({}, [])


ODD = {
    "1 images have boxes that were cut off or dropped: train/2.jpg": [("cat", -9, 3, 20, 20)],
    "1 boxes (5.9%) in 1 images are there twice, of one class and place: train/2.jpg": [
        ("cat", 5, 5, 20, 20),
        ("dog", 5, 5, 20, 20),
        ("cat", 5, 5, 20, 20),
    ],
    "1 boxes (5.9%) in 1 images are more than 10 times as long as wide: train/2.jpg": [
        ("cat", 2, 2, 38, 5)
    ],
    "1 boxes (5.9%) in 1 images are narrower than 8 px at 320 px, hard to find: train/2.jpg": [
        ("cat", 2, 2, 2.9, 7)
    ],
}


@pytest.mark.parametrize("sentence", ODD)
def test_odd_boxes_are_counted_and_their_images_named(tmp_path, sentence):
    boxed(tmp_path)
    put_xml(tmp_path / "train" / "2.xml", ODD[sentence])
    found = inspect(open_detection(tmp_path))
    share = f"({1 / (16 + len(ODD[sentence])):.1%})"
    assert f"odd: {sentence.replace('(5.9%)', share)}\n" in found.text + "\n"
    assert found.text.count("odd: ") == 1
    assert names(found) == ["2.jpg"]


def test_boxes_at_the_limits_are_not_odd(tmp_path):
    boxed(tmp_path)
    limits = [
        ("cat", 2, 2, 3, 8),
        ("cat", 4, 4, 34, 7),
        ("dog", 5, 5, 20, 20),
        ("dog", 5, 5, 20, 21),
    ]
    put_xml(tmp_path / "train" / "2.xml", limits)
    assert inspect(open_detection(tmp_path)).odd == {}


def test_one_image_in_two_splits_is_found_by_its_content(tmp_path):
    boxed(tmp_path)
    shutil.copy(tmp_path / "train" / "3.jpg", tmp_path / "val" / "7.jpg")
    shutil.copy(tmp_path / "train" / "3.jpg", tmp_path / "train" / "0.jpg")
    found = inspect(open_detection(tmp_path))
    assert "3 images are in more than one split, so that scores on them are too good" in found.text
    assert sorted(names(found)) == ["0.jpg", "3.jpg", "7.jpg"]
    assert set(map(tuple, found.odd.values())) == {("in train and val",)}


def test_rare_and_absent_classes_are_told(tmp_path):
    boxed(tmp_path)
    crowd = [("cat", i / 4, 5, 20 + i / 4, 20) for i in range(80)]
    for i in range(6):
        put_xml(tmp_path / "train" / f"{i}.xml", crowd[: 80 if i else 79] + BOXES[:1] * (not i))
    text = inspect(open_detection(tmp_path)).text
    assert "odd: train shows cat 479 times as often as dog; rare classes are learned badly" in text
    text = inspect(open_detection(tmp_path, classes=["cat", "dog", "emu"])).text
    assert "odd: val does not show 1 (emu) of the 3 classes" in text


def test_one_image_in_two_classes_or_twice_in_one_is_found(tmp_path):
    for label in ("rose", "tulip"):
        for i in range(5):
            color = np.random.default_rng(i + 10 * (label == "rose")).integers(0, 255, (9, 9, 3))
            (tmp_path / label).mkdir(exist_ok=True)
            Image.fromarray(color.astype(np.uint8)).save(tmp_path / label / f"{i}.png")
    shutil.copy(tmp_path / "rose" / "1.png", tmp_path / "tulip" / "1.png")
    shutil.copy(tmp_path / "rose" / "2.png", tmp_path / "rose" / "3.png")
    data = open_classification(tmp_path)
    data.train, data.val = data.train + data.val, []
    data.val = [data.train.pop(0)]
    found = inspect(data)
    assert "odd: 2 images have the content of one of another class: " in found.text
    assert "odd: 2 images have the content of another one in their split: rose/2.png" in found.text
    said = {frozenset(found.odd[tmp_path / label / "1.png"][-1].split()) for label in data.classes}
    assert said == {frozenset(["as", "rose", "and", "tulip"])}
    assert found.odd[tmp_path / "rose" / "2.png"] == ["2 times in train"]


# Pictures


def test_each_split_and_what_is_odd_get_a_picture(tmp_path):
    boxed(tmp_path)
    put_xml(
        tmp_path / "train" / "2.xml",
        ODD["1 boxes (5.9%) in 1 images are more than 10 times as long as wide: train/2.jpg"],
    )
    data = open_detection(tmp_path)
    found = inspect(data, tmp_path / "out" / "sheets")
    assert [path.name for path in found.sheets] == ["train.png", "val.png", "odd.png"]
    assert all(str(path) in found.text for path in found.sheets)
    sizes = {path.stem: load_image(path).size for path in found.sheets}
    areas = [width * height for width, height in sizes.values()]
    assert areas[0] > areas[1] > areas[2]
    again = inspect(data, tmp_path / "again")
    other = inspect(data, tmp_path / "other", seed=1, count=3)
    same = inspect(data, tmp_path / "same", seed=2, count=3)
    assert again.sheets[0].read_bytes() == found.sheets[0].read_bytes()
    assert other.sheets[0].read_bytes() != same.sheets[0].read_bytes()
    with pytest.raises(DataError, match="count is 0"):
        inspect(data, tmp_path, count=0)


def test_boxes_are_drawn_about_what_they_mark(tmp_path):
    for i in range(2):
        image = Image.new("RGB", (800, 400), "black")
        image.paste("white", (400, 100, 720, 340))
        image.save(tmp_path / f"{i}.png")
        put_xml(tmp_path / f"{i}.xml", [("cell", 400, 100, 720, 340)], (800, 400))
    found = inspect(open_detection(tmp_path), tmp_path / "out")
    sheet = np.asarray(load_image(found.sheets[0])).astype(int)[90:320]  # without the words
    white, line = (sheet > 250).all(2), np.ptp(sheet, axis=2) > 100
    inside, drawn = (
        [places.min() for places in np.nonzero(seen)]
        + [places.max() for places in np.nonzero(seen)]
        for seen in (white, line)
    )
    off = np.array(drawn) - inside  # top, left, bottom, right
    assert np.abs(off[1:]).max() <= 3
    assert -30 < off[0] <= -10  # the caption


@pytest.mark.parametrize("kind", ["masks", "classes", "arrays"])
def test_other_data_are_shown_as_well(tmp_path, kind):
    if kind == "masks":
        flat(tmp_path / "data")
    for label in ("rose", "tulip") if kind == "classes" else ():
        for i in range(3):
            picture(tmp_path / "data" / label / f"{i}.png", brightness=100 * (label == "rose") + i)
    if kind == "arrays":
        digit = np.eye(8, dtype=np.uint8) * 255
        data = ClassificationData("digits", ["0", "1"], [(digit, 0)], [(digit, 0), (digit, 1)])
    else:
        data = open_data(tmp_path / "data")
    assert not isinstance(data, DetectionData)
    found = inspect(data, tmp_path / "out", count=4)
    assert [path.name for path in found.sheets][:2] == ["train.png", "val.png"]
    assert np.ptp(np.asarray(load_image(found.sheets[0]))) > 100


def test_an_image_that_cannot_be_drawn_does_not_stop_the_others(tmp_path):
    boxed(tmp_path)
    data = open_detection(tmp_path)
    path = data.train[0].image
    path.write_bytes(path.read_bytes()[:-30])
    assert len(inspect(data, tmp_path / "out").sheets) == 2
    path.unlink()
    write(tmp_path / "gone", "")
    assert len(inspect(data, tmp_path / "out").sheets) == 2


def test_pictures_of_others_are_not_overwritten(tmp_path):
    boxed(tmp_path)
    data = open_detection(tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "train.png").write_text("mine")
    with pytest.raises(FileExistsError, match=r"train\.png was not made by this command"):
        inspect(data, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["train.png"]
