"""Images with boxes in any of the common formats become samples, or one sentence says why not."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from box_files import BOXES, CLASSES, picture, put_coco, put_voc, put_xml, put_yolo, write
from mask_files import fill, flat
from pycocotools.coco import COCO
from torchvision.datasets import VOCDetection

from mobilevitv2.data.boxes.opening import is_detection, open_detection
from mobilevitv2.errors import DataError

TRAIN, VAL = (0, 1, 2), (3, 4)


def names(samples) -> list[str]:
    return [sample.image.stem for sample in samples]


# Layouts


def voc(root: Path, end: str = "") -> None:
    put_voc(root / "JPEGImages", root / "Annotations", range(6))
    for split, chosen in (("train", TRAIN), ("val", VAL)):  # the last image is in no list
        write(root / "ImageSets" / "Main" / f"{split}.txt", "".join(f"{i}{end}\n" for i in chosen))
    write(root / "ImageSets" / "Main" / "cat_train.txt", "0 1\n1 -1\n2 1\n")


def voc_outside(root: Path) -> None:
    for split, chosen in (("train", TRAIN), ("valid", VAL)):
        put_voc(root / split / "images", root / split / "annotations", chosen)


def voc_inside(root: Path) -> None:
    for split, chosen in (("train", TRAIN), ("val", VAL)):
        put_voc(root / "images" / split, root / "annotations" / split, chosen)


def voc_together(root: Path) -> None:
    for split, chosen in (("train", TRAIN), ("val", VAL)):
        put_voc(root / "images" / split, root / "annotations", chosen)


def roboflow_voc(root: Path) -> None:
    for split, chosen in (("train", TRAIN), ("valid", VAL)):
        put_voc(root / split, root / split, chosen)
    write(root / "README.dataset.txt", "exported")


def coco_published(root: Path, images: str = "") -> None:
    for split, chosen in (("train2017", TRAIN), ("val2017", VAL)):
        put_coco(root / "annotations" / f"instances_{split}.json", root / images / split, chosen)
        write(root / "annotations" / f"captions_{split}.json", '{"info": {}}')


def roboflow_coco(root: Path) -> None:
    for split, chosen in (("train", TRAIN), ("valid", VAL)):
        put_coco(root / split / "_annotations.coco.json", root / split, chosen)


def coco_beside(root: Path) -> None:
    put_coco(root / "my-train.json", root / "images" / "train", TRAIN, "train/")
    put_coco(root / "my-val.json", root / "images" / "val", VAL, "C:\\data\\images\\val\\")


def roboflow_yolo(root: Path) -> None:
    for split, chosen in (("train", TRAIN), ("valid", VAL)):
        put_yolo(root / split / "images", root / split / "labels", chosen)
    places = "train: ../train/images\nval: ../valid/images\ntest: ../test/images\n"
    write(root / "data.yaml", places + "nc: 2\nnames: ['cat', 'dog']\n")


def yolo_inside(root: Path) -> None:
    for split, chosen in (("train", TRAIN), ("val", VAL)):
        put_yolo(root / "images" / split, root / "labels" / split, chosen)


def yolo_yaml(root: Path) -> None:
    yolo_inside(root / "pets")
    text = "path: pets\ntrain: images/train\nval: [images/val]\nnames:\n  0: cat\n  1: dog\n"
    write(root / "pets.yaml", text)


def yolo_moved(root: Path) -> None:
    yolo_inside(root)
    text = "path: /gone/pets\ntrain: images/train\nval: /gone/pets/images/val\nnames: [cat, dog]"
    write(root / "data.yaml", text)


def yolo_lists(root: Path) -> None:
    put_yolo(root / "images", root / "labels", range(6))  # the last image is in no list
    write(root / "train.txt", "".join(f"./images/{i}.jpg\n" for i in TRAIN))
    write(root / "lists" / "val.txt", "".join(f"images/{i}.jpg\n" for i in VAL))
    write(root / "data.yaml", "train: train.txt\nval: lists/val.txt\nnames: [cat, dog]")


def yolo_classes(root: Path, place: str = ".") -> None:
    yolo_inside(root)
    write(root / place / "classes.txt", "cat\ndog\n")


def yolo_beside(root: Path) -> None:
    for split, chosen in (("train", TRAIN), ("val", VAL)):
        put_yolo(root / split, root / split, chosen)
    write(root / "classes.txt", "cat\ndog\n")


def yolo_darknet(root: Path) -> None:
    for split, chosen in (("train", TRAIN), ("valid", VAL)):
        put_yolo(root / f"obj_{split}_data", root / f"obj_{split}_data", chosen)
        lines = "".join(f"data/obj_{split}_data/{i}.jpg\n" for i in chosen)
        write(root / f"{split}.txt", lines)
    write(root / "obj.names", "cat\ndog\n")


def yolo_cvat_lists(root: Path) -> None:
    yolo_inside(root)
    for split, chosen in (("train", TRAIN), ("val", VAL)):
        lines = "".join(f"data/images/{split}/{i}.jpg\n" for i in chosen)
        write(root / f"{split}.txt", lines)
    write(root / "data.yaml", "path: .\ntrain: train.txt\nval: val.txt\nnames: {0: cat, 1: dog}")


LAYOUTS: dict[str, Callable[[Path], None]] = {
    "voc": voc,
    "VOCdevkit/VOC2007": lambda root: voc(root / "VOCdevkit" / "VOC2007"),
    "voc, names with suffixes": lambda root: voc(root, ".jpg"),
    "voc train/images": voc_outside,
    "voc images/train": voc_inside,
    "voc images/train, all annotations together": voc_together,
    "voc Roboflow": roboflow_voc,
    "coco": coco_published,
    "coco images/train2017": lambda root: coco_published(root, "images"),
    "coco Roboflow": roboflow_coco,
    "coco beside": coco_beside,
    "yolo Roboflow": roboflow_yolo,
    "yolo data.yaml": yolo_yaml,
    "yolo moved": yolo_moved,
    "yolo lists": yolo_lists,
    "yolo darknet": yolo_darknet,
    "yolo CVAT lists": yolo_cvat_lists,
    "yolo classes.txt": yolo_classes,
    "yolo labels/classes.txt": lambda root: yolo_classes(root, "labels"),
    "yolo beside": yolo_beside,
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_recognized_and_its_boxes_found(tmp_path, layout):
    LAYOUTS[layout](tmp_path)
    assert is_detection(tmp_path)
    assert open_detection(tmp_path).comes_split
    data = open_detection(tmp_path)
    assert [names(data.train), names(data.val), data.test] == [["0", "1", "2"], ["3", "4"], None]
    assert data.classes == CLASSES
    for image, boxes in data.train + data.val:
        assert image.is_file()
        assert [CLASSES[label] for label in boxes.labels] == [name for name, *_ in BOXES]
        assert np.allclose(boxes.corners, [corners for _, *corners in BOXES], atol=1e-9)
        sides = boxes.corners[:, 2:] - boxes.corners[:, :2]
        half = 2 if data.format == "COCO" else 1  # as its files say
        assert np.allclose(boxes.areas, sides.prod(1) / half)
        assert not boxes.ignored.any()
        assert [a.dtype.kind for a in boxes] == ["i", "f", "f", "b"]
    assert (
        data.format == {"v": "Pascal VOC", "V": "Pascal VOC", "c": "COCO", "y": "YOLO"}[layout[0]]
    )
    assert data.category_ids == ([3, 7] if data.format == "COCO" else [1, 2])
    assert len(set(data.origin.split(" and "))) == len(data.origin.split(" and "))
    if data.format == "COCO":
        assert {path.stem: n for path, n in data.image_ids.items()} == {
            str(i): 100 + i for i in range(5)
        }
    assert (data.dropped, data.clipped, data.unreadable, data.strays) == ([], 0, {}, data.strays)


def one_json(root: Path) -> Path:
    return put_coco(root / "labels.json", root / "data", range(20))


UNSPLIT: dict[str, Callable[[Path], object]] = {
    "voc beside": lambda root: put_voc(root, root, range(20)),
    "voc annotations": lambda root: put_voc(root, root / "Annotations", range(20)),
    "voc images and annotations": lambda root: put_voc(
        root / "images", root / "annotations", range(20)
    ),
    "voc without lists": lambda root: put_voc(root / "JPEGImages", root / "Annotations", range(20)),
    "coco in annotations": lambda root: put_coco(
        root / "annotations" / "instances_default.json", root / "images", range(20)
    ),
    "coco CVAT": lambda root: put_coco(
        root / "annotations" / "instances_default.json", root / "images" / "default", range(20)
    ),
    "coco beside": lambda root: put_coco(root / "coco.json", root, range(20)),
    "coco one file": one_json,
    "yolo": lambda root: (
        put_yolo(root / "images", root / "labels", range(20)),
        write(root / "labels" / "classes.txt", "cat\ndog"),
    ),
    "yolo beside": lambda root: (
        put_yolo(root, root, range(20)),
        write(root / "classes.txt", "cat\ndog"),
    ),
    "yolo train alone": lambda root: (
        put_yolo(root / "images" / "train", root / "labels" / "train", range(20)),
        write(root / "data.yaml", "train: images/train\nnames: [cat, dog]"),
    ),
}


@pytest.mark.parametrize("layout", UNSPLIT)
def test_what_is_not_split_is_split_by_share_and_seed(tmp_path, layout):
    made = UNSPLIT[layout](tmp_path)
    source = made if isinstance(made, Path) and layout == "coco one file" else tmp_path
    assert is_detection(source)
    assert not open_detection(source).comes_split
    data = open_detection(source, seed=1, val_share=0.25)
    assert (len(data.train), len(data.val)) == (15, 5)
    assert sorted(names(data.train) + names(data.val), key=int) == [str(i) for i in range(20)]
    assert names(open_detection(source, seed=1, val_share=0.25).val) == names(data.val)
    assert names(open_detection(source, seed=2, val_share=0.25).val) != names(data.val)


def test_a_test_split_is_held_out_or_validates_where_it_is_all_there_is(tmp_path):
    for folder, chosen in (("train", TRAIN), ("test", VAL)):
        put_coco(tmp_path / folder / "_annotations.coco.json", tmp_path / folder, chosen)
    assert names(open_detection(tmp_path).val) == ["3", "4"]
    put_coco(tmp_path / "val" / "_annotations.coco.json", tmp_path / "val", (5,))
    data = open_detection(tmp_path)
    assert [names(split) for split in data.splits.values()] == [["0", "1", "2"], ["5"], ["3", "4"]]


def test_vocs_test_list_without_annotations_is_no_split(tmp_path):
    voc(tmp_path)
    (tmp_path / "Annotations" / "5.xml").unlink()
    write(tmp_path / "ImageSets" / "Main" / "test.txt", "5\n")
    data = open_detection(tmp_path)
    assert (data.test, data.unannotated) == (None, [])


def test_a_data_yaml_may_be_given_itself(tmp_path):
    yolo_yaml(tmp_path)
    assert is_detection(tmp_path / "pets.yaml")
    assert len(open_detection(tmp_path / "pets.yaml").train) == 3


def test_a_video_that_starts_without_objects_is_recognized(tmp_path):
    put_yolo(tmp_path / "images", tmp_path / "labels", [99])
    for i in range(60):
        write(tmp_path / "labels" / f"{i:02}.txt", "")
    assert is_detection(tmp_path)


def test_other_data_are_no_detection(tmp_path, shared_data):
    flat(tmp_path / "masks")
    (tmp_path / "empty").mkdir()
    fill(tmp_path / "voc" / "JPEGImages", tmp_path / "voc" / "SegmentationClass")
    put_voc(tmp_path / "voc" / "JPEGImages", tmp_path / "voc" / "Annotations", range(3))
    write(tmp_path / "settings.json", '{"learning_rate": 1}')
    write(tmp_path / "recipe.yaml", "train: 3\nepochs: 4\n")
    write(tmp_path / "both" / "val" / "a.txt", "no box")
    write(tmp_path / "both" / "valid" / "a.txt", "no box")
    for name in ("masks", "empty", "voc", "absent", "settings.json", "recipe.yaml", "both"):
        assert not is_detection(tmp_path / name), name
    assert not is_detection(shared_data / "flowers")
    assert not is_detection(shared_data / "camvid")
    assert len(open_detection(tmp_path / "voc").classes) == 2  # who asks for boxes gets them


# Classes


@pytest.mark.parametrize("layout", ["voc", "coco", "yolo classes.txt"])
def test_a_given_list_says_which_classes_there_are_and_their_order(tmp_path, layout):
    LAYOUTS[layout](tmp_path)
    data = open_detection(tmp_path, classes=["dog", "emu", "cat"])
    assert data.classes == ["dog", "emu", "cat"]
    assert data.train[0].boxes.labels.tolist() == [0, 2]
    assert data.category_ids == ([7, 9, 3] if layout == "coco" else [1, 2, 3])
    listed = write(tmp_path / "names.txt", "dog\ncat\n")
    assert open_detection(tmp_path, classes=listed).classes == ["dog", "cat"]
    assert data.boxes() == {"train": [3, 0, 3], "val": [2, 0, 2]}
    known = open_detection(tmp_path, classes="coco")  # cat and dog are among its 80
    assert (len(known.classes), known.train[0].boxes.labels.tolist()) == (80, [16, 15])
    with pytest.raises(DataError, match=r"has a box of class 'cat'.* there are 5 of them\."):
        open_detection(tmp_path, classes=["dog", "emu"])


def test_yolos_numbers_get_names_from_a_list_or_none(tmp_path):
    put_yolo(tmp_path / "images", tmp_path / "labels", range(3))
    with pytest.raises(
        DataError, match=r"number the classes but don't name them\. Add a classes.txt"
    ):
        open_detection(tmp_path)
    assert open_detection(tmp_path, classes=["cat", "dog"]).classes == CLASSES
    with pytest.raises(DataError, match=r"0.txt has a box of class 1, but the list of classes has"):
        open_detection(tmp_path, classes=["cat"])


def test_one_class_is_enough(tmp_path):
    put_yolo(tmp_path / "images", tmp_path / "labels", range(3))
    for path in (tmp_path / "labels").iterdir():
        path.write_text("0 0.5 0.5 0.2 0.2\n")
    assert open_detection(tmp_path, classes=["cell"]).classes == ["cell"]


def test_a_category_above_the_classes_is_none(tmp_path):
    path = one_json(tmp_path)
    content = json.loads(path.read_text())
    content["categories"] = [
        {"id": 0, "name": "pets", "supercategory": "none"},
        {"id": 3, "name": "cat", "supercategory": "pets"},
        {"id": 7, "name": "dog", "supercategory": "pets"},
        {"id": 8, "name": "emu", "supercategory": "emu"},
    ]
    path.write_text(json.dumps(content))
    assert open_detection(path).classes == ["cat", "dog", "emu"]


# Against what others read


def test_real_cells_are_those_that_torchvision_reads(tmp_path, shared_data):
    folder = shared_data / "bccd"
    assert is_detection(folder)
    data = open_detection(folder)
    (tmp_path / "VOCdevkit").mkdir()
    (tmp_path / "VOCdevkit" / "VOC2007").symlink_to(folder.resolve())
    theirs = VOCDetection(str(tmp_path), year="2007", image_set="val")
    assert {n: len(samples) for n, samples in data.splits.items()} == {"train": 205, "val": 87}
    ours = {sample.image.stem: sample.boxes for sample in data.val}
    for _, target in theirs:
        said = target["annotation"]
        boxes = ours[said["filename"].removesuffix(".jpg")]
        told = [
            [
                one["name"],
                *(float(one["bndbox"][side]) for side in ("xmin", "ymin", "xmax", "ymax")),
            ]
            for one in said["object"]
        ]
        told = [one for one in told if one[1:3] != one[3:]]  # those of no size are dropped
        assert [
            [data.classes[n], *box]
            for n, box in zip(boxes.labels, boxes.corners.tolist(), strict=True)
        ] == told
    assert data.classes == ["Platelets", "RBC", "WBC"]
    assert len(data.dropped) == 2  # of no size, in the training images
    assert data.boxes()["train"] == [209, 2381, 214]


def test_a_coco_file_holds_what_pycocotools_reads(tmp_path):
    random = np.random.default_rng(0)
    content = {"images": [], "annotations": [], "categories": []}
    content["categories"] = [{"id": n, "name": f"class {n}"} for n in (90, 1, 13)]
    for i in range(8):
        name = f"{i:012}.jpg"
        picture(tmp_path / "images" / name, (200, 100))
        content["images"].append({"id": 77 - i, "file_name": name, "height": 100, "width": 200})
    for number in range(60):
        x, y, *sides = (float(value) for value in random.uniform(1, 50, 4))
        content["annotations"].append(
            {"iscrowd": number % 7 // 6, "bbox": [x, y, *sides], "area": sides[0], "id": number + 5}
            | {"category_id": [1, 13, 90][number % 3], "image_id": 71 + int(random.integers(6))}
        )
    path = write(tmp_path / "all.json", json.dumps(content))
    theirs, data = COCO(str(path)), open_detection(path)
    assert data.category_ids == sorted(theirs.getCatIds())
    assert data.classes == [theirs.cats[n]["name"] for n in data.category_ids]
    seen = 0
    for image, boxes in data.train + data.val:
        listed = theirs.loadAnns(theirs.getAnnIds(imgIds=[data.image_ids[image]]))
        assert theirs.imgs[data.image_ids[image]]["file_name"] == image.name
        assert [data.category_ids[label] for label in boxes.labels] == [
            one["category_id"] for one in listed
        ]
        told = np.array([one["bbox"] for one in listed]).reshape(-1, 4)
        told[:, 2:] += told[:, :2]
        assert np.array_equal(boxes.corners, told)
        assert boxes.areas.tolist() == [one["area"] for one in listed]
        assert boxes.ignored.tolist() == [bool(one["iscrowd"]) for one in listed]
        seen += len(listed)
    assert seen == 60
    assert sum(map(sum, data.boxes().values())) == 60 - 8  # crowds are not counted


def test_the_report_tells_boxes_and_images(tmp_path):
    voc(tmp_path)
    put_xml(tmp_path / "Annotations" / "3.xml", [])
    put_xml(tmp_path / "Annotations" / "4.xml", more="<difficult>1</difficult>")
    lines = [line.split() for line in open_detection(tmp_path).report().splitlines()]
    assert lines == [
        ["class", "train", "images", "val", "images"],
        ["cat", "3", "3", "0", "0"],
        ["dog", "3", "3", "0", "0"],
        ["ignored", "0", "0", "2", "1"],
        ["without", "a", "box", "0", "1"],
        ["all", "6", "3", "0", "2"],
        ["Pascal", "VOC;", "names", "of", "the", "classes:", "what", "the", "XML", "files", "name"],
    ]
