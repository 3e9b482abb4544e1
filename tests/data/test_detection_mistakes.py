"""What is wrong with boxes is left out and named, or a sentence says why nothing can be opened."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from box_files import BOXES, CLASSES, SIZE, picture, put_xml, write
from flat_boxes import MAKE, boxes_of, change_json, coco, voc, yolo
from PIL import Image, ImageDraw, ImageOps

from mobilevitv2.data.boxes.opening import open_detection

NAN, INF = float("nan"), float("inf")


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
    reasons = ["has coordinates that aren't numbers"] * 2 + ["is empty"] * 2
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
            "isn't complete: its object 2 has no class name",
        ),
        ("<svg><annotation/></svg>", "isn't an annotation: its root isn't <annotation>"),
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
