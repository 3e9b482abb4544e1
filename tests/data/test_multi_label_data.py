"""Images and a table of their labels become samples, or one sentence says why not."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from box_files import put_coco, write
from mask_files import flat
from PIL import Image

from mobilevitv2.data import kind_of, open_data, open_multi_label
from mobilevitv2.data.findings import find_all
from mobilevitv2.data.labels.opening import LabeledImages
from mobilevitv2.errors import DataError

LABELS = {"1.jpg": "cat dog", "2.jpg": "dog", "3.jpg": "", "4.jpg": "cat dog emu", "5.jpg": "emu"}
VECTORS = {"1": [1, 1, 0], "2": [0, 1, 0], "3": [0, 0, 0], "4": [1, 1, 1], "5": [0, 0, 1]}


def pictures(folder: Path, names=LABELS, size: tuple[int, int] = (8, 6)) -> Path:
    for i, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, (10 * i, 0, 0)).save(folder / name)
    return folder


def vectors(data) -> dict[str, list[int]]:
    assert data.classes == ["cat", "dog", "emu"]
    samples = [sample for split in data.splits.values() for sample in split]
    assert all(labels.dtype == bool for _, labels in samples)
    return {path.stem: labels.astype(int).tolist() for path, labels in samples}


def lines(header: str, separator: str = " ", quote: str = "", delimiter: str = ",") -> str:
    rows = [
        f"{name}{delimiter}{quote}{labels.replace(' ', separator)}{quote}"
        for name, labels in LABELS.items()
    ]
    return "\n".join([header, *rows])


def columns(yes: str, no: str, header: str = "file,cat,dog,emu", end: str = ".jpg") -> str:
    rows = [
        ",".join([stem + end, *(yes if shown else no for shown in row)])
        for stem, row in VECTORS.items()
    ]
    return "\n".join([header, *rows])


LISTS = {name: labels.split() for name, labels in LABELS.items()}
TABLES = {
    "names in columns of their own, as many as there are": lines("file,label1,label2,label3", ","),
    "more names than the header has columns": lines("filename,label", ","),
    "spaces": lines("image,labels"),
    "quoted commas": lines("image,labels", ",", '"'),
    "quoted commas with spaces": lines("image_id,tags", ", ", '"'),
    "bars": lines("file_name,labels", "|"),
    "semicolons": lines("path,labels", ";"),
    "semicolons between columns": lines("file;labels", ",", delimiter=";"),
    "tabs between columns": lines("file\tlabels", " ", delimiter="\t"),
    "a byte order mark and line ends of Windows": "\ufeff"
    + lines("file,labels").replace("\n", "\r\n"),
    "a column for each class": columns("1", "0"),
    "no extension": columns("1", "0", "ID,cat,dog,emu", ""),
    "True and False": columns("True", "False"),
    "yes and no": columns("yes", "no"),
    "fractions": columns("1.0", "0.0"),
    "Pascal VOC's -1": columns("1", "-1"),
    "empty cells": columns("1", ""),
    "folders of another machine": columns("1", "0").replace("\n", "\nC:\\data\\images\\"),
}


@pytest.mark.parametrize("text", TABLES.values(), ids=TABLES)
@pytest.mark.parametrize("folder", ["", "images"])
def test_every_form_of_a_table_gives_the_same_labels(tmp_path, text, folder):
    pictures(tmp_path / folder)
    (tmp_path / "labels.csv").write_bytes(text.encode())
    assert kind_of(tmp_path) == "multi-label"
    data = open_data(tmp_path)
    assert vectors(data) == VECTORS
    assert not data.comes_split
    assert data.short_side == 6


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("labels.json", json.dumps(LISTS)),
        ("labels.json", json.dumps([{"file": n, "labels": labels} for n, labels in LISTS.items()])),
        (
            "metadata.jsonl",
            "".join(f"{json.dumps({'file_name': n, 'labels': v})}\n" for n, v in LISTS.items()),
        ),
    ],
)
def test_every_form_of_json_gives_the_same_labels(tmp_path, name, text):
    write(pictures(tmp_path) / name, text)
    for source in (tmp_path, tmp_path / name):
        assert kind_of(source) == "multi-label"
        assert vectors(open_data(source)) == VECTORS


def test_json_whose_first_images_have_no_label_is_a_table(tmp_path):
    first = {name: [] for name, labels in LISTS.items() if not labels}
    assert first
    write(pictures(tmp_path) / "labels.json", json.dumps(first | LISTS))
    write(tmp_path / "other" / "notes.json", '{"a": [], "b": [1, 2]}')
    for source in (tmp_path, tmp_path / "labels.json"):
        assert kind_of(source) == "multi-label"
        assert vectors(open_data(source)) == VECTORS
    assert kind_of(tmp_path / "other" / "notes.json") != "multi-label"


def test_names_with_spaces_stay_whole_where_another_sign_separates_them(tmp_path):
    write(pictures(tmp_path) / "a.csv", "file,labels\n1.jpg,traffic light|car\n2.jpg,car\n3.jpg,")
    assert open_data(tmp_path).classes == ["car", "traffic light"]
    write(tmp_path / "a.csv", "file,label\n1.jpg,traffic light\n2.jpg,car")
    assert open_data(tmp_path).classes == ["car", "traffic light"]
    write(tmp_path / "a.csv", "file,label1,label2\n1.jpg,traffic light,car\n2.jpg,car")
    assert open_data(tmp_path).classes == ["car", "traffic light"]


# Splits


def beside(root: Path) -> None:
    pictures(root)
    for split, names in {"train": "123", "val": "4", "test": "5"}.items():
        rows = [f"{n}.jpg,{LABELS[f'{n}.jpg']}" for n in names]
        write(root / f"{split}.csv", "\n".join(["file,labels", *rows]))


def below(root: Path) -> None:
    for split, names in {"train": "123", "valid": "4", "test": "5"}.items():
        listed = {f"{n}.jpg": LISTS[f"{n}.jpg"] for n in names}
        pictures(root / split, listed)
        write(root / split / "labels.json", json.dumps(listed))


def column(root: Path) -> None:
    pictures(root)
    splits = ("train", "Train", "training", "val", "test")
    rows = zip(lines("file,labels").splitlines(), ("split", *splits), strict=True)
    write(root / "labels.csv", "\n".join(f"{row},{split}" for row, split in rows))


@pytest.mark.parametrize("make", [beside, below, column])
def test_a_table_says_what_is_held_out(tmp_path, make):
    make(tmp_path)
    data = open_data(tmp_path)
    assert vectors(data) == VECTORS
    stems = {name: [path.stem for path, _ in split] for name, split in data.splits.items()}
    assert stems == {"train": ["1", "2", "3"], "val": ["4"], "test": ["5"]}
    assert data.counts() == {"train": [1, 2, 0], "val": [1, 1, 1], "test": [0, 0, 1]}
    assert data.comes_split


def test_a_link_to_the_images_is_followed(tmp_path):
    pictures(tmp_path / "disk")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "images").symlink_to(tmp_path / "disk")
    write(tmp_path / "data" / "labels.csv", TABLES["spaces"])
    assert vectors(open_data(tmp_path / "data")) == VECTORS


def test_files_of_one_name_are_told_apart_by_the_folder_of_their_split(tmp_path):
    for split, labels in (("train", "cat"), ("val", "dog")):
        pictures(tmp_path / f"{split}_images", ["1.jpg", "2.jpg"])
        write(tmp_path / f"{split}.csv", f"file,labels\n1.jpg,{labels}\n2.jpg,")
    data = open_data(tmp_path)
    assert [path.parent.name for path, _ in data.train + data.val] == [
        *["train_images"] * 2,
        *["val_images"] * 2,
    ]


def test_about_the_same_share_of_each_class_is_drawn_by_the_seed(tmp_path):
    names = [f"{i}.png" for i in range(100)]
    pictures(tmp_path, names, (2, 2))
    shown = {"odd": range(1, 100, 2), "low": range(40), "rare": range(0, 100, 20), "once": [7]}
    listed = {n: [c for c, of in shown.items() if i in of] for i, n in enumerate(names)}
    write(tmp_path / "labels.json", json.dumps(listed))
    data = open_data(tmp_path)
    assert data.classes == ["low", "odd", "once", "rare"]
    assert [sum(of) for of in zip(*data.counts().values(), strict=True)] == [40, 50, 1, 5]
    assert data.counts()["val"] == [8, 10, 0, 1]
    assert len(data.val) == 20
    assert open_data(tmp_path).target(data.val[0]) == data.target(data.val[0])
    others = open_data(tmp_path, seed=1)
    assert {path for path, _ in others.val} != {path for path, _ in data.val}


# What is left out, and what is said


@pytest.mark.parametrize("name", ["labels.csv", ".labels.csv"])
def test_a_table_is_no_stray_file_even_if_it_is_hidden(tmp_path, name):
    write(pictures(tmp_path) / name, TABLES["spaces"])
    data = open_data(tmp_path / name)
    assert (data.strays, data.hidden) == (0, name.startswith("."))


def test_the_report_counts_images_of_each_class_and_what_is_left_out(tmp_path):
    column(tmp_path)
    pictures(tmp_path, ["6.jpg"])
    (tmp_path / "2.jpg").write_text("text")
    write(tmp_path / "notes.txt", "")
    write(tmp_path / "colors.csv", "name,r,g,b")
    write(tmp_path / ".hidden.jpg", "")
    with (tmp_path / "labels.csv").open("a") as file:
        file.write("\n1.jpg,dog cat,train")  # the same once more
    data = open_data(tmp_path)
    report = [line.split() for line in data.report().splitlines()]
    assert report[:6] == [
        ["class", "train", "val", "test"],
        ["cat", "1", "1", "0"],
        ["dog", "1", "1", "0"],
        ["emu", "0", "1", "1"],
        ["without", "a", "label", "1", "0", "0"],
        ["all", "2", "1", "1"],
    ]
    text = data.report()
    assert "names of the classes: the labels of labels.csv" in text
    assert "labels.csv repeats 1 rows, which count once" in text
    assert "left out: 2 stray files, 1 hidden, 1 unreadable, 1 images without a row" in text
    assert f"{tmp_path / '2.jpg'} is not an image" in text
    assert f"{tmp_path / '6.jpg'} is in no table" in text
    assert tmp_path / "labels.csv" in data.files()
    odd = [finding.sentence for finding in find_all(data)]
    assert "val does not show" not in "".join(odd)
    assert "train does not show 1 (emu) of the 3 classes" in odd


def test_a_list_of_classes_orders_them_and_adds_those_that_no_image_shows(tmp_path):
    write(pictures(tmp_path) / "labels.csv", TABLES["spaces"])
    data = open_data(tmp_path, classes=["emu", "fox", "dog", "cat"])
    assert data.classes == ["emu", "fox", "dog", "cat"]
    assert [sum(of) for of in zip(*data.counts().values(), strict=True)] == [2, 0, 3, 2]
    assert data.annotations() == {"classes": data.classes}
    by_name = {path.name: sample for sample in data.train + data.val for path in sample[:1]}
    assert data.caption(by_name["1.jpg"]) == "dog, cat"
    assert data.caption(by_name["3.jpg"]) == "no label"
    assert data.target(by_name["1.jpg"]) == [2, 3]
    with pytest.raises(
        DataError, match=r"labels.csv has the label 'dog', which the list .*1 others"
    ):
        open_data(tmp_path, classes=["cat"])


def test_test_images_without_labels_are_set_aside_and_that_is_said(tmp_path):
    beside(tmp_path)
    write(tmp_path / "test.csv", "file\n5.jpg")
    data = open_data(tmp_path)
    assert list(data.splits) == ["train", "val"]
    assert "test.csv gives no labels, so it isn't used" in data.report()


def test_images_with_one_label_each_could_be_folders_of_classes(tmp_path):
    write(pictures(tmp_path) / "labels.csv", "file,labels\n1.jpg,cat\n2.jpg,dog\n3.jpg,dog")
    assert "each image has exactly one label: folders of classes" in open_data(tmp_path).report()


def test_other_kinds_of_data_stay_what_they_are_with_a_table_beside_them(tmp_path):
    for name in ("cat", "dog"):
        pictures(tmp_path / "classes" / name)
        pictures(tmp_path / "split" / "train" / name)
    write(tmp_path / "classes" / "labels.csv", "file,labels\ncat/1.jpg,cat")
    write(tmp_path / "split" / "train.csv", "file,labels\ncat/1.jpg,cat")
    write(flat(tmp_path / "masks") / "labels.csv", "file,labels\n1.jpg,cat")
    coco = put_coco(tmp_path / "boxes" / "train.json", tmp_path / "boxes", range(3))
    write(tmp_path / "boxes" / "labels.csv", "file,labels\n1.jpg,cat")
    kinds = {"classes": "classify", "split": "classify", "masks": "segment", "boxes": "detect"}
    assert {name: kind_of(tmp_path / name) for name in kinds} == kinds
    assert kind_of(coco) == "detect"
    (tmp_path / "split" / "train.csv").unlink()
    with pytest.raises(DataError, match="but folders of classes, which task classify takes"):
        open_data(tmp_path / "split", "multi-label")


def test_a_table_may_be_given_itself_or_the_task_be_named(tmp_path):
    for name in ("cat", "dog"):
        pictures(tmp_path / name, LABELS)
    write(tmp_path / "labels.csv", "file,labels\ncat/1.jpg,a b\ndog/2.jpg,b\ncat/3.jpg,")
    for data in (open_data(tmp_path / "labels.csv"), open_data(tmp_path, "multi-label")):
        assert data.classes == ["a", "b"]
        assert "7 images without a row" in data.report()


def rewrite(folder: Path, pattern: str, content: bytes) -> None:
    for path in folder.glob(pattern):
        path.write_bytes(content)


def remove(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).unlink()


def two(folder: Path) -> None:
    pictures(folder, ["x/1.jpg", "y/1.jpg"])
    remove(folder, "1.jpg")


def halves(folder: Path) -> None:
    write(folder / "train.csv", "file,a,x\n1.jpg,1,1")
    write(folder / "val.csv", "file,b,x\n2.jpg,1,1")


def csv_of(*rows: str) -> Callable[[Path], object]:
    return lambda folder: write(folder / "labels.csv", "\n".join(rows))


def json_of(content: object) -> Callable[[Path], object]:
    def put(folder: Path) -> None:
        (folder / "labels.csv").unlink()
        write(folder / "labels.json", content if isinstance(content, str) else json.dumps(content))

    return put


MISTAKES: list[tuple[str, Callable[[Path], object]]] = [
    (
        r"lacks images that .*labels.csv lists: 2 \(2.jpg, 5.jpg\)",
        lambda f: remove(f, "2.jpg", "5.jpg"),
    ),
    ("labels.csv has no column `file`. Expected a column", csv_of("a,labels", "1.jpg,cat")),
    ("labels.csv has width beside labels. Remove", csv_of("file,labels,width", "1.jpg,cat,8")),
    (
        "line 3: weather is 'sunny'; expected 0 or 1",
        csv_of("file,cat,weather", "1.jpg,1,0", "2.jpg,1,sunny"),
    ),
    ("line 2: cat is '0.3'; expected 0 or 1", csv_of("file,cat", "1.jpg,0.3")),
    ("line 2: dog is None; expected 0 or 1", csv_of("file,cat,dog", "1.jpg,1")),
    (
        "line 2: a cell beyond the header is '1'; expected 0 or 1",
        csv_of("file,cat,dog", "1.jpg,1,0,1"),
    ),
    ("has both 0 and -1, so which means no", csv_of("file,cat,dog", "1.jpg,1,0", "2.jpg,-1,1")),
    ("has a column without a name. Name or drop it .*pandas", csv_of(",file,cat", "0,1.jpg,1")),
    ("has two columns called 'cat'", csv_of("file,cat,cat", "1.jpg,1,1")),
    ("has a header, but no rows", csv_of("file,labels")),
    ("has no labels. Expected", csv_of("file,labels", "1.jpg,", "2.jpg,")),
    ("has no label on 5 images. Write some", csv_of(*columns("0", "0").splitlines())),
    (
        r"contradicts itself about 1.jpg, in line 2 and line 4\.",
        csv_of("file,labels", "1.jpg,cat", "2.jpg,", "1.jpg,dog"),
    ),
    ("line 3 has an empty label", csv_of("file,labels", "1.jpg,a|b", "2.jpg,a||b")),
    ("line 3 names no file", csv_of("file,labels", "1.jpg,a", ",b")),
    (r"has '\|' and ';' between labels", csv_of("file,labels", "1.jpg,a|b", "2.jpg,a;b")),
    (
        "line 2: split is 'holdout', not train, val or test",
        csv_of("file,labels,split", "1.jpg,a,holdout"),
    ),
    (
        "line 3 has no split, but others do",
        csv_of("file,labels,split", "1.jpg,a,train", "2.jpg,a,"),
    ),
    ("has val, but no train", csv_of("file,labels,split", "1.jpg,a,val", "2.jpg,b,val")),
    ("is not a valid table .*Correct its quotes", csv_of("file,labels", '1.jpg,"a')),
    (
        "labels.csv can't be read .*UTF-8",
        lambda f: rewrite(f, "*.csv", b"file,labels\n1.jpg,\xe9t\xe9"),
    ),
    ("has one usable image, so none is left", csv_of("file,labels", "1.jpg,cat")),
    ("1.jpg may be .* or .*Write its folder", two),
    (
        "no image of the folder can be used: .*1.jpg is not an image",
        lambda f: rewrite(f, "*.jpg", b"x"),
    ),
    (
        "more.csv could both be the whole",
        lambda f: write(f / "more.csv", "file,labels\n1.jpg,cat"),
    ),
    ("has val, but no train", lambda f: (f / "labels.csv").rename(f / "val.csv")),
    ("have different columns for classes", halves),
    ("holds no table of labels. Expected labels.csv", lambda f: remove(f, "labels.csv")),
    ("labels.json is not valid JSON", json_of('{"1.jpg": ["cat"')),
    ("labels.json lists no images", json_of([])),
    (
        "entry 1: labels is 'cat'; expected a list of names",
        json_of([{"file": "1.jpg", "labels": "cat"}]),
    ),
    (
        "entry 1: labels is .1.; expected a list of names",
        json_of([{"file": "1.jpg", "labels": [1]}]),
    ),
    (
        "entry 2: expected file and labels, got file",
        json_of([{"file": "1.jpg", "labels": []}, {"file": "2.jpg"}]),
    ),
    (
        "entry 1: expected file and labels, got file, labels, text",
        json_of([{"file": "1.jpg", "labels": [], "text": "a cat"}]),
    ),
    ("entry 2: expected file and labels, got 'x'", json_of([{"file": "1.jpg", "labels": []}, "x"])),
    ("entry 1 has an empty label", json_of({"1.jpg": [""]})),
    (
        "contradicts itself about 1.jpg, in entry 1 and entry 2",
        json_of('{"1.jpg": ["a"], "1.jpg": ["b"]}'),
    ),
]


@pytest.mark.parametrize(("sentence", "spoil"), MISTAKES, ids=[s for s, _ in MISTAKES])
def test_a_table_that_cannot_be_used_says_why_in_one_line(tmp_path, sentence, spoil):
    write(pictures(tmp_path) / "labels.csv", TABLES["spaces"])
    spoil(tmp_path)
    source = tmp_path / "labels.json" if (tmp_path / "labels.json").exists() else tmp_path
    if (table := tmp_path / "labels.csv").exists() and "no column `file`" in sentence:
        source = table
    with pytest.raises(DataError, match=sentence) as raised:
        open_multi_label(source)
    assert "\n" not in str(raised.value)


# Samples for training


def red(image: Image.Image, key: tuple[int, int]) -> int:
    return np.asarray(image)[0, 0, 0].item()


def test_an_image_that_breaks_later_is_replaced_by_one_with_the_same_labels(tmp_path):
    names = [f"{i}.png" for i in range(4)]
    pictures(tmp_path, names)
    vectors = [np.array(v, bool) for v in ([1, 0], [1, 1], [0, 0], [1, 0])]
    samples = list(zip([tmp_path / name for name in names], vectors, strict=True))
    assert LabeledImages(samples, red)[1][0] == 10
    (tmp_path / "0.png").write_bytes((tmp_path / "0.png").read_bytes()[:-30])
    pixels, labels, broken = LabeledImages(samples, red)[0]
    assert (pixels, labels.tolist(), broken) == (30, [True, False], 0)
    evaluated = LabeledImages(samples, red, replace_broken=False)
    assert [evaluated[i][1].tolist() for i in range(2)] == [[False, False], [True, True]]
