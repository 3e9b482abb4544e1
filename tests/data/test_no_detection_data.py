"""Folders and files of which no data set with boxes can be made: one line says why."""

import functools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from box_files import picture, put_coco, put_xml, write
from flat_boxes import MAKE, boxes_of, change_json, coco, voc

from mobilevitv2.data.boxes.opening import open_detection
from mobilevitv2.errors import DataError


def remove(folder: Path, pattern: str) -> None:
    for path in list(folder.glob(pattern)):
        path.unlink()


def rewrite(folder: Path, pattern: str, text: str) -> None:
    for path in folder.glob(pattern):
        path.write_text(text)


def cut(path: Path, share: float = 0.5) -> None:
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


def second_split(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = put_coco(folder / "annotations" / "val.json", folder / "images", range(2))
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def yaml(folder: Path, text: str) -> None:
    (folder / "classes.txt").unlink()
    write(folder / "data.yaml", text)


def put_label(folder: Path, label: str) -> None:
    rewrite(folder, "labels/*", f"{label} .1 .1 .1 .1\n0 .1 .1 .1 .1")


def more(content: dict[str, Any], table: str, **values: Any) -> None:
    content[table].append(content[table][0] | values)


MISTAKES: dict[str, list[tuple[str, Callable[[Path], object]]]] = {
    "voc": [
        ("data doesn't exist. Expected Pascal VOC's format", shutil.rmtree),
        ("isn't a folder. Expected", lambda f: (shutil.rmtree(f), f.touch())),
        ("data is empty", lambda f: [shutil.rmtree(path) for path in f.iterdir()]),
        ("holds no images with boxes. Expected", lambda f: shutil.rmtree(f / "Annotations")),
        (
            r"has XML files without an image: 2 \(.*0.xml, .*5.xml\). Give each its other half",
            lambda f: remove(f, "JPEGImages/[05].jpg"),
        ),
        (
            "has no box to train on in 6 images. Draw some",
            lambda f: [put_xml(path, []) for path in (f / "Annotations").iterdir()],
        ),
        (
            r"has no box to train on in 6 images: .*0.xml: box 1 \(cat\) of 0.jpg is empty",
            lambda f: [put_xml(p, [("cat", 3, 3, 3, 3)]) for p in (f / "Annotations").iterdir()],
        ),
        (
            "no image of the folder can be used: .*.xml is not valid XML",
            lambda f: rewrite(f, "Annotations/*", "<"),
        ),
        (
            "no image of the folder can be used: .*0.jpg is not an image",
            lambda f: rewrite(f, "JPEGImages/*", "<"),
        ),
        ("has one usable image, so none is left", lambda f: remove(f, "*/[1-5].*")),
        (
            "1.jpg and .*1.png have the same name, by which",
            lambda f: picture(f / "JPEGImages" / "1.png"),
        ),
        (
            r"JPEGImages lacks images that are on the list of its split: 1 \(77\)",
            lambda f: write(f / "ImageSets" / "Main" / "train.txt", "0\n77\n"),
        ),
        (
            "has XML files without an image: 1 .*5.xml",
            lambda f: (
                write(f / "ImageSets" / "Main" / "trainval.txt", "0\n5\n"),
                remove(f, "JPEGImages/5.jpg"),
            ),
        ),
        (
            "train.txt names no images",
            lambda f: write(f / "ImageSets" / "Main" / "train.txt", "\n"),
        ),
        (
            "has val, but no train",
            lambda f: write(f / "ImageSets" / "Main" / "val.txt", "0\n1\n"),
        ),
        (
            "holds several data sets: .*VOC2007 and .*VOC2012",
            lambda f: (
                [voc(f / name) for name in ("VOC2007", "VOC2012")]
                + [shutil.rmtree(f / "Annotations")]
            ),
        ),
        (
            "has boxes in the format of Pascal VOC and of COCO. Give the .json",
            lambda f: put_coco(f / "train.json", f / "JPEGImages", range(6)),
        ),
    ],
    "coco": [
        (
            "train.json is not valid JSON at character .* it ends too early",
            lambda f: cut(f / "annotations" / "train.json"),
        ),
        (
            "is not valid JSON at character .* it ends too early",
            lambda f: cut(f / "annotations" / "train.json", 0.995),
        ),
        (
            "is not valid JSON at character 13: Expecting value",
            lambda f: write(
                f / "annotations" / "train.json", '{"info": [1, oops' + " " * 50 + "]}"
            ),
        ),
        (
            "is not valid JSON at character 34: expected ',' or ']'",
            lambda f: write(
                f / "annotations" / "train.json", '{"info": [], "others": [{"id": 1} {}]}'
            ),
        ),
        (
            "train.json has no images and no annotations. Expected COCO's format",
            lambda f: change_json(f, lambda c: (c.pop("images"), c.pop("annotations"))),
        ),
        (
            r"images lacks images that .*train.json lists: 2 \(1.jpg, 4.jpg\)",
            lambda f: remove(f, "images/[14].jpg"),
        ),
        (
            "has 2 annotations with image ids that it doesn.t list; .* annotation 2000 of image 9",
            lambda f: change_json(
                f, lambda c: [c["annotations"][i].update(image_id=9) for i in (4, 5)]
            ),
        ),
        (
            "has 6 annotations with category ids .* the first is annotation 0 of category 7",
            lambda f: change_json(f, lambda c: c["categories"].pop(0)),
        ),
        (
            "has two images of id 100, 0.jpg and 7.jpg",
            lambda f: change_json(f, lambda c: more(c, "images", file_name="7.jpg")),
        ),
        (
            "lists 0.jpg twice, as 100 and 999",
            lambda f: change_json(f, lambda c: more(c, "images", id=999)),
        ),
        ("two categories of id 7", lambda f: change_json(f, lambda c: more(c, "categories"))),
        (
            "categories of different ids that are called 'dog'",
            lambda f: change_json(f, lambda c: more(c, "categories", id=9)),
        ),
        (
            "an annotation without image_id or category_id, number 13",
            lambda f: change_json(f, lambda c: c["annotations"].append({"bbox": [1, 2, 3, 4]})),
        ),
        (
            "has the image {'id': 3}",
            lambda f: change_json(f, lambda c: c["images"].append({"id": 3})),
        ),
        (
            "has the category 'cat'",
            lambda f: change_json(f, lambda c: c["categories"].append("cat")),
        ),
        (
            "lists no images",
            lambda f: change_json(f, lambda c: c.update(images=[], annotations=[])),
        ),
        (
            "has no box to train on in 6 images. Draw",
            lambda f: change_json(f, lambda c: c.update(annotations=[])),
        ),
        (
            "val.json calls category 7 'emu', and .*train.json 'dog'",
            lambda f: second_split(f, lambda c: c["categories"][0].update(name="emu")),
        ),
        (
            "train.json and .*training.json could both be train",
            lambda f: put_coco(f / "annotations" / "training.json", f / "images", range(2)),
        ),
        (
            "has val, but no train. Add it, or give the .json itself to evaluate on it",
            lambda f: (f / "annotations" / "train.json").rename(f / "annotations" / "val.json"),
        ),
        (
            "more.json is beside files of splits",
            lambda f: put_coco(f / "annotations" / "more.json", f / "images", range(2)),
        ),
    ],
    "yolo": [
        (
            "no image of train can be used: .*0.txt has the line 1 'cat 1 2 3 4'; expected cl",
            lambda f: (
                yaml(f, "train: images\nnames: [cat, dog]"),
                rewrite(f, "labels/*", "cat 1 2 3 4"),
            ),
        ),
        (
            "has the line 1 '0.5 1 2 3 4'",
            lambda f: rewrite(f, "labels/*", "0.5 1 2 3 4\n0 .1 .1 .1 .1"),
        ),
        ("has the line 2 '0 1 2 3'", lambda f: rewrite(f, "labels/*", "0 .1 .1 .1 .1\n0 1 2 3")),
        (
            "has the line 1 '-1 .1 .1 .1 .1'",
            lambda f: rewrite(f, "labels/*", "-1 .1 .1 .1 .1\n0 .1 .1 .1 .1"),
        ),
        *[
            (f"has the line 1 '{label} .1 .1 .1 .1'", functools.partial(put_label, label=label))
            for label in ("inf", "1e300", "99999999999999999999")
        ],
        (
            r"has labels without an image: 1 \(.*3.txt\). Give each",
            lambda f: remove(f, "images/3.jpg"),
        ),
        (
            "0.txt has a box of class 2, .*classes.txt has 2 names, for 0 to 1; .* 6 of",
            lambda f: rewrite(f, "labels/*", "2 .5 .5 .1 .1"),
        ),
        (
            "1.jpg and .*1.png have the same name, so one label",
            lambda f: picture(f / "images" / "1.png"),
        ),
        ("classes.txt has 'cat' twice", lambda f: write(f / "classes.txt", "cat\ncat")),
        ("classes.txt has no classes", lambda f: write(f / "classes.txt", "\n")),
        (
            "says that train is gone, but there is no .*gone. Correct `path` or `train`",
            lambda f: yaml(f, "train: gone\nnames: [cat, dog]"),
        ),
        (
            "doesn't say where the train images are",
            lambda f: yaml(f, "val: images\nnames: [cat, dog]"),
        ),
        ("names is None; expected a list", lambda f: yaml(f, "train: images\nnames:")),
        (
            "names are numbered 1, 2; expected 0, 1, 2",
            lambda f: yaml(f, "train: images\nnames: {1: cat, 2: dog}"),
        ),
        ("can't be read as YAML", lambda f: yaml(f, "train: images\nnames: [cat")),
        (
            r"data.yaml has 1 names, for 0 to 0; there are 6",
            lambda f: yaml(f, "train: images\nnames: [cat]"),
        ),
        (
            r"list.txt lists images that are not there: 1 \(images/77.jpg\)",
            lambda f: (
                yaml(f, "train: list.txt\nnames: [cat, dog]"),
                write(f / "list.txt", "images/1.jpg\nimages/77.jpg"),
            ),
        ),
        (
            "empty holds no images",
            lambda f: (yaml(f, "train: empty\nnames: [cat, dog]"), (f / "empty").mkdir()),
        ),
    ],
}
CASES = [(kind, sentence) for kind, mistakes in MISTAKES.items() for sentence, _ in mistakes]


@pytest.mark.parametrize(("kind", "sentence"), CASES)
def test_what_is_no_data_set_says_why_in_one_line(tmp_path, kind, sentence):
    folder = MAKE[kind](tmp_path / "data")
    open_detection(folder)
    dict(MISTAKES[kind])[sentence](folder)
    with pytest.raises(DataError, match=sentence) as raised:
        open_detection(folder)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"val_share": 1.0}, "val_share is 1.0"),
        ({"classes": "none.txt"}, "there is no class list none.txt"),
        ({"classes": ["cat", "cat"]}, "the list of classes has 'cat' twice"),
        ({"classes": []}, "the list of classes has no classes"),
        ({"classes": ["cat", ""]}, "has '', which isn't a class name"),
    ],
)
def test_arguments_that_cannot_be_used_say_why(tmp_path, arguments, sentence):
    with pytest.raises(DataError, match=sentence):
        open_detection(voc(tmp_path), **arguments)


def test_annotations_of_one_id_all_count_and_that_is_said(tmp_path):
    coco(tmp_path)
    change_json(tmp_path, lambda c: [one.update(id=5) for one in c["annotations"][:4]])
    data = open_detection(tmp_path)
    assert sum(len(boxes.labels) for boxes in boxes_of(data).values()) == 12
    assert "gives 3 annotations an id that another one has" in data.report()


def test_numbers_too_large_for_arrays_are_no_obstacle(tmp_path):
    change_json(coco(tmp_path / "coco"), lambda c: c["annotations"][0].update(id=10**30))
    put_xml(voc(tmp_path / "voc") / "Annotations" / "2.xml", [("cat", -1e308, 3, 1e308, 9)])
    assert len(boxes_of(open_detection(tmp_path / "coco"))["0"].labels) == 2
    assert boxes_of(open_detection(tmp_path / "voc"))["2"].corners.tolist() == [[0, 3, 40, 9]]


def test_a_file_name_does_not_lead_out_of_the_folder(tmp_path):
    coco(tmp_path / "data")
    picture(tmp_path / "9.jpg")
    change_json(tmp_path / "data", lambda c: more(c, "images", id=9, file_name="../../9.jpg"))
    with pytest.raises(DataError, match=r"lacks images that .* lists: 1 \(\.\./\.\./9\.jpg\)"):
        open_detection(tmp_path / "data")
