"""What is wrong with boxes is left out and named, or a sentence says why nothing can be opened."""

import functools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from box_files import BOXES, CLASSES, SIZE, picture, put_coco, put_voc, put_xml, put_yolo, write
from PIL import Image, ImageDraw, ImageOps

from mobilevitv2.data.detection import open_detection
from mobilevitv2.errors import DataError

NAN, INF = float("nan"), float("inf")


def voc(folder: Path, count: int = 6) -> Path:
    put_voc(folder / "JPEGImages", folder / "Annotations", range(count))
    return folder


def coco(folder: Path) -> Path:
    put_coco(folder / "annotations" / "train.json", folder / "images", range(6))
    return folder


def yolo(folder: Path) -> Path:
    put_yolo(folder / "images", folder / "labels", range(6))
    write(folder / "classes.txt", "cat\ndog\n")
    return folder


MAKE = {"voc": voc, "coco": coco, "yolo": yolo}


def change_json(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "annotations" / "train.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def boxes_of(data) -> dict[str, Any]:
    return {sample.image.stem: sample.boxes for sample in data.train + data.val}


# Boxes


BAD = [
    ("cat", -5, -4, 10, 50),  # cut off
    ("cat", 0, 0, 40.3, 30),  # by less than counts
    ("dog", 7, 7, 7, 20),
    ("dog", 9, 9, 5, 20),
    ("dog", 41, 3, 60, 9),
    ("dog", NAN, 3, 6, 9),
    ("dog", 1, 3, INF, 9),
]


def put_bad(folder: Path, kind: str) -> None:
    if kind == "voc":
        put_xml(folder / "Annotations" / "2.xml", BAD)
    if kind == "yolo":
        lines = [
            " ".join(map(str, (CLASSES.index(name), x, y, (x2 - x1) / 40, (y2 - y1) / 30)))
            for name, x1, y1, x2, y2 in BAD
            for x, y in [((x1 + x2) / 80, (y1 + y2) / 60)]
        ]
        write(folder / "labels" / "2.txt", "\n".join(lines))
    if kind == "coco":

        def change(content: dict[str, Any]) -> None:
            kept = [one for one in content["annotations"] if one["image_id"] != 102]
            content["annotations"] = kept + [
                {
                    "id": i + 1,
                    "image_id": 102,
                    "category_id": 3 if name == "cat" else 7,
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                }
                for i, (name, x1, y1, x2, y2) in enumerate(BAD)
            ]

        change_json(folder, change)


@pytest.mark.parametrize("kind", MAKE)
def test_boxes_are_cut_off_at_the_edge_and_what_is_no_box_is_dropped_and_named(tmp_path, kind):
    put_bad(MAKE[kind](tmp_path), kind)
    data = open_detection(tmp_path)
    boxes = boxes_of(data)["2"]
    assert np.allclose(boxes.corners, [[0, 0, 10, 30], [0, 0, 40, 30]])
    assert np.allclose(boxes.areas, [300, 1200])
    assert data.clipped == 1
    source, what = {
        "voc": (tmp_path / "Annotations" / "2.xml", "box"),
        "coco": (tmp_path / "annotations" / "train.json", "annotation"),
        "yolo": (tmp_path / "labels" / "2.txt", "line"),
    }[kind]
    reasons = ["has coordinates that are no numbers"] * 2 + ["is empty"] * 2
    reasons.append("is wholly outside its image")
    numbers = [6, 7, 3, 4, 5]
    for said, why, number in zip(data.dropped, reasons, numbers, strict=True):
        assert said.startswith(f"{source}: {what} {number} (dog) of 2.jpg {why}: ")
        assert said.endswith("in 40x30 px")
    assert data.dropped[2].endswith("empty: 7, 7, 7, 20 in 40x30 px")
    report = data.report()
    assert "left out: 5 bad boxes" in report
    assert "cut off at the edge of the image: 1 boxes" in report
    assert data.dropped[0] in report


@pytest.mark.parametrize("kind", MAKE)
def test_an_image_without_boxes_stays(tmp_path, kind):
    MAKE[kind](tmp_path)
    put_xml(tmp_path / "Annotations" / "1.xml", []) if kind == "voc" else None
    (tmp_path / "labels" / "1.txt").write_text("\n") if kind == "yolo" else None
    (tmp_path / "labels" / "2.txt").unlink() if kind == "yolo" else None
    if kind == "coco":
        change_json(
            tmp_path,
            lambda c: c.update(annotations=[a for a in c["annotations"] if a["image_id"] != 101]),
        )
    data = open_detection(tmp_path)
    boxes = boxes_of(data)
    assert len(boxes) == 6
    assert [len(part) for part in boxes["1"]] == [0, 0, 0, 0]
    assert boxes["1"].corners.shape == (0, 4)
    if kind == "yolo":
        assert "1 images have no label file, so no boxes" in data.report()


def test_vocs_difficult_and_cocos_crowds_are_ignored(tmp_path):
    voc(tmp_path / "voc")
    put_xml(tmp_path / "voc" / "Annotations" / "1.xml", more="<difficult> 1 </difficult>")
    put_xml(tmp_path / "voc" / "Annotations" / "2.xml", more="<difficult>0</difficult>")
    boxes = boxes_of(open_detection(tmp_path / "voc"))
    assert [boxes[name].ignored.tolist() for name in "123"] == [
        [True] * 2,
        [False] * 2,
        [False] * 2,
    ]
    coco(tmp_path / "coco")
    change_json(tmp_path / "coco", lambda c: c["annotations"][2].update(iscrowd=1))
    boxes = boxes_of(open_detection(tmp_path / "coco"))
    assert boxes["1"].ignored.tolist() == [True, False]


def test_outlines_of_yolo_become_their_bounding_box(tmp_path):
    yolo(tmp_path)
    text = "1 0.25 0.5 0.5 0.25 0.75 0.5 0.5 0.75\n0 0.5 0.5 0.5 0.5 0.93\n"
    write(tmp_path / "labels" / "1.txt", text)  # and a prediction, with its score
    boxes = boxes_of(open_detection(tmp_path))["1"]
    assert boxes.corners.tolist() == [[10, 7.5, 30, 22.5]] * 2
    assert boxes.labels.tolist() == [1, 0]


def test_points_of_a_pose_are_no_outline(tmp_path):
    yolo(tmp_path)
    write(tmp_path / "data.yaml", "train: images\nkpt_shape: [2, 2]\nnames: [cat, dog]")
    write(tmp_path / "labels" / "1.txt", "1 0.5 0.5 0.5 0.5 0.1 0.1 0.9 0.9\n")
    assert boxes_of(open_detection(tmp_path))["1"].corners.tolist() == [[10, 7.5, 30, 22.5]]


def test_areas_that_cannot_be_are_those_of_the_boxes(tmp_path):
    coco(tmp_path)
    areas = iter([0, -3, None, "much", 12, 5.5])

    def change(content: dict[str, Any]) -> None:
        for one, area in zip(content["annotations"], areas, strict=False):
            one["area"] = area

    change_json(tmp_path, change)
    boxes = boxes_of(open_detection(tmp_path))
    whole = [(x2 - x1) * (y2 - y1) for _, x1, y1, x2, y2 in BOXES]
    assert [boxes[name].areas.tolist() for name in "012"] == [whole, whole, [12, 5.5]]


# Images


def on_its_side(path: Path, box: tuple[int, int, int, int], how: int) -> None:
    """White in the box, stored with this orientation."""
    image = Image.new("RGB", SIZE)
    ImageDraw.Draw(image).rectangle((box[0], box[1], box[2] - 1, box[3] - 1), fill="white")
    exif = Image.Exif()
    exif[0x0112] = how
    image.save(path, exif=exif)


@pytest.mark.parametrize("how", range(5, 9))
@pytest.mark.parametrize("kind", ["voc", "coco"])
def test_boxes_drawn_before_the_image_was_turned_are_turned_with_it(tmp_path, kind, how):
    MAKE[kind](tmp_path)
    x1, y1, x2, y2 = box = (5, 3, 17, 9)
    images = tmp_path / {"voc": "JPEGImages", "coco": "images"}[kind]
    on_its_side(images / "1.jpg", box, how)
    if kind == "voc":
        put_xml(tmp_path / "Annotations" / "1.xml", [("cat", *box)])
    else:
        change_json(tmp_path, lambda c: c["annotations"][2].update(bbox=[x1, y1, x2 - x1, y2 - y1]))
    upright = ImageOps.exif_transpose(Image.open(images / "1.jpg"))
    assert upright.size == SIZE[::-1]
    white = upright.convert("L").point([0] * 129 + [255] * 127).getbbox()
    assert boxes_of(open_detection(tmp_path))["1"].corners[0].tolist() == list(white or ())


@pytest.mark.parametrize("size", [SIZE[::-1], (0, 0), None, ("", "?")])
def test_boxes_drawn_on_the_upright_image_stay(tmp_path, size):
    voc(tmp_path)
    on_its_side(tmp_path / "JPEGImages" / "1.jpg", (5, 3, 17, 9), 6)
    put_xml(tmp_path / "Annotations" / "1.xml", [("cat", 5, 3, 17, 39)], size)
    assert boxes_of(open_detection(tmp_path))["1"].corners.tolist() == [[5, 3, 17, 39]]


@pytest.mark.parametrize("kind", ["voc", "coco"])
def test_an_image_of_another_size_than_its_annotation_says_is_left_out(tmp_path, kind):
    MAKE[kind](tmp_path)
    path = picture(tmp_path / {"voc": "JPEGImages", "coco": "images"}[kind] / "1.jpg", (80, 60))
    data = open_detection(tmp_path)
    source = {"voc": "1.xml", "coco": "train.json"}[kind]
    why = f"is 80x60 px, but {source} was drawn on 40x30 px; draw the boxes on this image"
    assert data.unreadable == {str(path): why}
    assert sorted(boxes_of(data)) == ["0", "2", "3", "4", "5"]
    assert f"{path} {why}" in data.report()


@pytest.mark.parametrize("kind", MAKE)
def test_images_that_cannot_be_read_are_left_out_and_named(tmp_path, kind):
    MAKE[kind](tmp_path)
    images = tmp_path / ("JPEGImages" if kind == "voc" else "images")
    (images / "0.jpg").write_text("not a picture")
    (images / "1.jpg").write_bytes(b"")
    data = open_detection(tmp_path)
    assert sorted(boxes_of(data)) == ["2", "3", "4", "5"]
    assert data.unreadable == {
        str(images / "0.jpg"): "is not an image that Pillow can read",
        str(images / "1.jpg"): "is empty",
    }
    assert "left out: 2 unreadable" in data.report()


def test_vocs_images_without_an_xml_file_are_left_out_and_counted(tmp_path):
    voc(tmp_path)
    (tmp_path / "Annotations" / "4.xml").unlink()
    data = open_detection(tmp_path)
    assert data.unannotated == [str(tmp_path / "JPEGImages" / "4.jpg")]
    assert len(boxes_of(data)) == 5
    assert "left out: 1 images without annotation" in data.report()
    assert "4.jpg has no annotation" in data.report()


# XML

LAUGHS = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, 10))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (
            '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/hostname">]><annotation>&x;</annotation>',
            "D",
        ),
        (f'<!DOCTYPE a [<!ENTITY l0 "ha">{LAUGHS}]><annotation>&l9;</annotation>', "D"),
        ('<!DOCTYPE annotation SYSTEM "http://localhost:1/a.dtd"><annotation/>', "D"),
        ("<annotation><object>", "is not valid XML (no element found: line 1"),
        ("<annotation>&x;</annotation>", "is not valid XML (undefined entity"),
        ("", "is not valid XML (no element found"),
        (
            "<annotation><object><name>cat</name></object><object><name> </name></object>"
            "</annotation>",
            "is no whole annotation: its object 2 has no name of a class",
        ),
        ("<svg><annotation/></svg>", "is no annotation: its root is not <annotation>"),
        (
            '<?xml version="1.0" encoding="klingon"?><annotation/>',
            "is not readable (unknown encoding: klingon)",
        ),
    ],
)
def test_xml_that_is_damaged_or_dangerous_is_left_out_with_the_reason(tmp_path, text, why):
    voc(tmp_path)
    path = write(tmp_path / "Annotations" / "1.xml", text)
    data = open_detection(tmp_path)
    assert list(data.unreadable) == [str(path)]
    told = "is refused: it has a DOCTYPE, which annotations don't need" if why == "D" else why
    assert data.unreadable[str(path)].startswith(told)
    assert len(boxes_of(data)) == 5


def test_xml_of_another_encoding_is_read(tmp_path):
    voc(tmp_path)
    text = (tmp_path / "Annotations" / "1.xml").read_text().replace("dog", "Dackel für Mäuse")
    path = tmp_path / "Annotations" / "1.xml"
    path.write_bytes(('<?xml version="1.0" encoding="UTF-16"?>' + text).encode("utf-16"))
    assert open_detection(tmp_path).classes == ["Dackel für Mäuse", "cat", "dog"]


# Folders and files that are no data set


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
        ("data does not exist. Give a folder with boxes in Pascal VOC's form", shutil.rmtree),
        ("is no folder and no .json. Wanted", lambda f: (shutil.rmtree(f), f.touch())),
        ("data is empty", lambda f: [shutil.rmtree(path) for path in f.iterdir()]),
        ("holds no images with boxes. Wanted is", lambda f: shutil.rmtree(f / "Annotations")),
        (
            r"has XML files without an image: 2 \(.*0.xml, .*5.xml\). Give each an image of",
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
            "1.jpg and .*1.png have one name, by which",
            lambda f: picture(f / "JPEGImages" / "1.png"),
        ),
        (
            r"JPEGImages lacks images that the list of its split names: 1 \(77\)",
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
            "has boxes in the form of Pascal VOC and of COCO. Give the .json",
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
            "is not valid JSON at character 34: ',' or ']' is wanted",
            lambda f: write(
                f / "annotations" / "train.json", '{"info": [], "others": [{"id": 1} {}]}'
            ),
        ),
        (
            "train.json has no images and no annotations. Wanted is COCO's form",
            lambda f: change_json(f, lambda c: (c.pop("images"), c.pop("annotations"))),
        ),
        (
            r"images lacks images that .*train.json lists: 2 \(1.jpg, 4.jpg\)",
            lambda f: remove(f, "images/[14].jpg"),
        ),
        (
            "has 2 annotations of image ids that it does not list: annotation 2000 of image 9 is",
            lambda f: change_json(
                f, lambda c: [c["annotations"][i].update(image_id=9) for i in (4, 5)]
            ),
        ),
        (
            "has 6 annotations of category ids .* annotation 0 of category 7 is the first",
            lambda f: change_json(f, lambda c: c["categories"].pop(0)),
        ),
        (
            "has two images of id 100, 0.jpg and 7.jpg",
            lambda f: change_json(f, lambda c: more(c, "images", file_name="7.jpg")),
        ),
        (
            "lists 0.jpg as image 100 and as 999",
            lambda f: change_json(f, lambda c: more(c, "images", id=999)),
        ),
        ("two categories of id 7", lambda f: change_json(f, lambda c: more(c, "categories"))),
        (
            "categories of different ids that are called 'dog'",
            lambda f: change_json(f, lambda c: more(c, "categories", id=9)),
        ),
        (
            "an annotation without image_id or category_id, the 13. one",
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
            "more.json lies beside files of splits",
            lambda f: put_coco(f / "annotations" / "more.json", f / "images", range(2)),
        ),
    ],
    "yolo": [
        (
            "no image of train can be used: .*0.txt has the line 1 'cat 1 2 3 4'; class cx",
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
            "0.txt has a box of class 2, but .*classes.txt has 2 names, so 0 to 1 .* are 6 of them",
            lambda f: rewrite(f, "labels/*", "2 .5 .5 .1 .1"),
        ),
        (
            "1.jpg and .*1.png have one name, so one label",
            lambda f: picture(f / "images" / "1.png"),
        ),
        ("classes.txt has 'cat' twice", lambda f: write(f / "classes.txt", "cat\ncat")),
        ("classes.txt has no classes", lambda f: write(f / "classes.txt", "\n")),
        (
            "says that train is gone, but there is no .*gone. Correct `path` or `train`",
            lambda f: yaml(f, "train: gone\nnames: [cat, dog]"),
        ),
        ("says nothing of train", lambda f: yaml(f, "val: images\nnames: [cat, dog]")),
        ("names is None; a list", lambda f: yaml(f, "train: images\nnames:")),
        (
            "names has the numbers 1, 2; all from 0 on",
            lambda f: yaml(f, "train: images\nnames: {1: cat, 2: dog}"),
        ),
        ("can't be read as YAML", lambda f: yaml(f, "train: images\nnames: [cat")),
        (
            r"data.yaml has 1 names, so 0 to 0 are wanted; there are 6",
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
        ({"classes": ["cat", ""]}, "has '', which is no name"),
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
