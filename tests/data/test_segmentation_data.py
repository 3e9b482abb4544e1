"""A folder of images and masks becomes pairs whose classes are known, or one sentence says why."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from mask_files import SIZE, TURNED, fill, flat, mask_of, put
from PIL import Image
from torchvision.models.segmentation import LRASPP_MobileNet_V3_Large_Weights

from mobilevitv2.class_names import palette
from mobilevitv2.data.masks.classes import KNOWN
from mobilevitv2.data.masks.opening import IGNORED, is_segmentation, open_segmentation
from mobilevitv2.errors import DataError


def names(pairs) -> list[str]:
    return [image.stem for image, _ in pairs]


# Layouts


def voc(root: Path) -> None:
    fill(root / "JPEGImages", root / "SegmentationClass", count=6)
    lists = root / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("0\n1\n2\n")
    (lists / "val.txt").write_text("3\n4\n")  # the last image is in no list


def split_outside(root: Path) -> None:
    fill(root / "train" / "Images", root / "train" / "Masks", 3)
    fill(root / "valid" / "Images", root / "valid" / "Masks", 2)


def split_inside(root: Path) -> None:
    fill(root / "Images" / "train", root / "Labels" / "train", 3)
    fill(root / "Images" / "val", root / "Labels" / "val", 2)


def ade(root: Path) -> None:
    fill(root / "images" / "training", root / "annotations" / "training", 3)
    fill(root / "images" / "validation", root / "annotations" / "validation", 2)


def camvid(root: Path) -> None:
    fill(root / "train", root / "trainannot", 3)
    fill(root / "val", root / "valannot", 2)


def only_test_beside_train(root: Path) -> None:
    fill(root / "train", root / "trainannot", 3)
    fill(root / "test", root / "testannot", 2)


def nested(root: Path) -> None:
    for split, count in (("train", 3), ("val", 2)):
        place = Path(split, "london")
        fill(root / "images" / place, root / "masks" / place, count)


LAYOUTS: dict[str, Callable[[Path], None]] = {
    "voc": voc,
    "VOCdevkit/VOC2012": lambda root: voc(root / "VOCdevkit" / "VOC2012"),
    "VOC2012": lambda root: voc(root / "VOC2012"),
    "train/images": split_outside,
    "images/train": split_inside,
    "ADE20K": ade,
    "CamVid": camvid,
    "test for val": only_test_beside_train,
    "folders below": nested,
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_recognized_and_its_pairs_found(tmp_path, layout):
    LAYOUTS[layout](tmp_path)
    assert is_segmentation(tmp_path)
    data = open_segmentation(tmp_path)
    assert {name: len(pairs) for name, pairs in data.splits.items()} == {"train": 3, "val": 2}
    for image, mask in data.train + data.val:
        assert image.stem == mask.stem
        assert np.array_equal(data.read_mask(mask), mask_of(0, 1, 2))
    assert not {image for image, _ in data.train} & {image for image, _ in data.val}


@pytest.mark.parametrize("layout", ["images and masks", "voc without lists"])
def test_what_is_not_split_is_split_by_share_and_seed(tmp_path, layout):
    where = (
        ("images", "masks") if layout == "images and masks" else ("JPEGImages", "SegmentationClass")
    )
    fill(tmp_path / where[0], tmp_path / where[1], 20)
    data = open_segmentation(tmp_path, seed=1, val_share=0.25)
    assert (len(data.train), len(data.val)) == (15, 5)
    assert sorted(names(data.train) + names(data.val), key=int) == [str(i) for i in range(20)]
    assert open_segmentation(tmp_path, seed=1, val_share=0.25).val == data.val
    assert open_segmentation(tmp_path, seed=2, val_share=0.25).val != data.val


def test_a_train_folder_alone_is_split_too_and_test_beside_val_is_held_out(tmp_path):
    fill(tmp_path / "train", tmp_path / "trainannot", 10)
    assert [len(p) for p in open_segmentation(tmp_path).splits.values()] == [8, 2]
    fill(tmp_path / "val", tmp_path / "valannot", 1)
    fill(tmp_path / "test", tmp_path / "testannot", 4)
    data = open_segmentation(tmp_path)
    assert {n: len(pairs) for n, pairs in data.splits.items()} == {"train": 10, "val": 1, "test": 4}


def test_vocs_test_list_without_masks_is_no_split(tmp_path):
    voc(tmp_path)
    Image.new("RGB", SIZE).save(tmp_path / "JPEGImages" / "9.jpg")
    (tmp_path / "ImageSets" / "Segmentation" / "test.txt").write_text("9\n")
    assert open_segmentation(tmp_path).test is None


def test_every_kind_of_file_is_paired_by_name(tmp_path):
    suffixes = {"a": (".JPEG", ".png"), "b": (".png", ".bmp"), "c": (".webp", ".tif")}
    suffixes |= {"d": (".bmp", ".gif"), "e": (".tiff", ".PNG")}
    for stem, (image, mask) in suffixes.items():
        put(tmp_path / "images" / (stem + image), tmp_path / "masks" / (stem + mask), mask_of(0, 1))
    data = open_segmentation(tmp_path)
    assert sorted(names(data.train + data.val)) == sorted(suffixes)
    assert all(np.array_equal(data.read_mask(m), mask_of(0, 1)) for _, m in data.train + data.val)


def test_folders_of_boxes_or_of_classes_are_no_segmentation(tmp_path):
    fill(tmp_path / "voc" / "JPEGImages", tmp_path / "elsewhere")
    (tmp_path / "voc" / "Annotations").mkdir()
    for name in ("labels", "annotations"):  # YOLO's, and COCO's or Pascal VOC's
        shutil.copytree(tmp_path / "voc" / "JPEGImages", tmp_path / name / "images")
        (tmp_path / name / name).mkdir()
        (tmp_path / name / name / "0.txt").write_text("0 0.5 0.5 1 1")
    for name in ("voc", "labels", "annotations", "elsewhere", "absent"):
        assert not is_segmentation(tmp_path / name)


# Values and classes


def test_palette_masks_count_by_index_and_lend_their_colors(tmp_path):
    flat(tmp_path)
    for path in (tmp_path / "masks").iterdir():
        image = Image.fromarray(mask_of(0, 1, 2))
        image.putpalette([9, 9, 9, 200, 0, 50, 0, 100, 250])
        assert image.mode == "P"
        image.save(path)
    data = open_segmentation(tmp_path)
    assert data.classes == ["class_0", "class_1", "class_2"]
    assert data.colors == [(9, 9, 9), (200, 0, 50), (0, 100, 250)]
    assert np.array_equal(data.read_mask(data.train[0][1]), mask_of(0, 1, 2))


def test_masks_of_16_bits_and_of_one_bit_are_read(tmp_path):
    flat(tmp_path, values=(0, 1))
    Image.fromarray(mask_of(0, 1).astype(np.uint16)).save(tmp_path / "masks" / "0.png")
    Image.fromarray(mask_of(0, 1).astype(bool)).save(tmp_path / "masks" / "1.png")
    data = open_segmentation(tmp_path)
    read = [data.read_mask(mask) for _, mask in data.train + data.val]
    assert all(m.dtype == np.uint8 and np.array_equal(m, mask_of(0, 1)) for m in read)


def test_ignored_values_become_255_and_count_nowhere(tmp_path):
    flat(tmp_path, values=(0, 1, 2, 7, 255))
    data = open_segmentation(tmp_path, ignore=7)
    assert data.classes == ["class_0", "class_1", "class_2"]
    assert np.array_equal(data.read_mask(data.val[0][1]), mask_of(0, 1, 2, 255, 255))
    fifth = SIZE[0] * SIZE[1] // 5
    assert data.pixels == {"train": [4 * fifth] * 3, "val": [fifth] * 3}
    assert data.void == {"train": 8 * fifth, "val": 2 * fifth}
    assert open_segmentation(tmp_path, ignore=[7, 2]).classes == ["class_0", "class_1"]


def test_reduced_labels_leave_out_0_and_move_the_others_down(tmp_path):
    flat(tmp_path, values=(0, 1, 2, 3))
    data = open_segmentation(tmp_path, reduce_labels=True)
    assert data.classes == ["class_0", "class_1", "class_2"]
    assert np.array_equal(data.read_mask(data.val[0][1]), mask_of(255, 0, 1, 2))


def test_pixels_are_those_of_the_masks_and_images_those_that_show_the_class(tmp_path):
    for i, split in enumerate(["train", "train", "val"]):
        values = np.random.default_rng(i).integers(0, 4, (30, 40)).astype(np.uint8)
        values[values == 3] = IGNORED
        if i == 1:
            values[values == 2] = 0
        put(tmp_path / split / f"{i}.png", tmp_path / f"{split}annot" / f"{i}.png", values)
    data = open_segmentation(tmp_path)
    for split in ("train", "val"):
        stored = [np.asarray(Image.open(p)) for p in sorted((tmp_path / f"{split}annot").iterdir())]
        pixels = [sum(int((m == label).sum()) for m in stored) for label in range(3)]
        assert data.pixels[split] == pixels
        assert data.counts()[split] == [sum(label in m for m in stored) for label in range(3)]
        assert data.void[split] == sum(int((m == 255).sum()) for m in stored)


LISTS = {
    "classes.txt": "road\n\n# a note\nfar sky\nlane 2\n",
    "classes.csv": "name,r,g,b\nroad,1,2,3\nfar sky,4,5,6\nlane 2,7,8,9\n",
    "classes.json": json.dumps(["road", {"name": "far sky", "color": [4, 5, 6]}, "lane 2"]),
}


@pytest.mark.parametrize("name", LISTS)
def test_a_class_list_in_the_folder_or_given_names_the_classes(tmp_path, name):
    flat(tmp_path / "data")
    (tmp_path / name).write_text(LISTS[name])
    given = open_segmentation(tmp_path / "data", classes=tmp_path / name)
    shutil.copy(tmp_path / name, tmp_path / "data" / name)
    lying = open_segmentation(tmp_path / "data")
    assert given.classes == lying.classes == ["road", "far sky", "lane 2"]
    assert given.colors == lying.colors
    assert len(set(given.colors)) == 3
    if name != "classes.txt":
        assert given.colors[1] == (4, 5, 6)


def test_colors_stand_behind_names_also_without_commas(tmp_path):
    flat(tmp_path)
    (tmp_path / "classes.txt").write_text("road 1 2 3\nfar sky 0 0 0\nlane 2 7 8 9")
    data = open_segmentation(tmp_path)
    assert data.classes == ["road", "far sky", "lane 2"]
    assert data.colors == [(1, 2, 3), (0, 0, 0), (7, 8, 9)]


def test_names_may_be_given_as_they_are_and_more_than_the_masks_hold(tmp_path):
    data = open_segmentation(flat(tmp_path), classes=["a", "b", "c", "d"])
    assert data.classes == ["a", "b", "c", "d"]
    assert data.pixels["train"][3] == 0
    assert open_segmentation(tmp_path, classes="voc").classes[15] == "person"


def test_pascal_vocs_names_and_palette_are_the_published_ones(tmp_path):
    theirs = LRASPP_MobileNet_V3_Large_Weights.COCO_WITH_VOC_LABELS_V1.meta["categories"]
    assert list(KNOWN["voc"].classes[1:]) == theirs[1:]
    assert theirs[0] == "__background__"
    published = {0: (0, 0, 0), 1: (128, 0, 0), 2: (0, 128, 0), 8: (64, 0, 0), 15: (192, 128, 128)}
    published |= {20: (0, 64, 128), 255: (224, 224, 192)}  # the border's color
    assert {i: palette(256)[i] for i in published} == published
    assert len(set(palette(256))) == 256


def test_known_sets_are_recognized_by_their_folders_name(tmp_path):
    voc(tmp_path / "VOC2012")
    assert open_segmentation(tmp_path / "VOC2012").classes[1] == "aeroplane"
    assert open_segmentation(tmp_path).colors == palette(21)
    assert "names of the classes: voc" in open_segmentation(tmp_path / "VOC2012").report()
    voc(tmp_path / "avocado")  # the layout alone says nothing
    data = open_segmentation(tmp_path / "avocado")
    assert data.classes == ["class_0", "class_1", "class_2"]
    assert "names of the classes: what the masks hold" in data.report()
    ade(tmp_path / "ADEChallengeData2016")
    data = open_segmentation(tmp_path / "ADEChallengeData2016", reduce_labels=True)
    assert (len(data.classes), data.classes[12], data.classes[149]) == (150, "person", "flag")
    assert len(set(data.colors)) == 150


def test_camvids_void_is_ignored_in_camvids_layout_only(tmp_path):
    own = tmp_path / "weeds"  # twelve classes of one's own, in the same layout
    fill(own / "train", own / "trainannot", 3, tuple(range(12)))
    assert len(open_segmentation(own).classes) == 12
    camvid = tmp_path / "CamVid"
    fill(camvid / "train", camvid / "trainannot", 3, tuple(range(12)))
    data = open_segmentation(camvid)
    assert (len(data.classes), data.classes[10], data.ignored) == (11, "Bicyclist", (11, 255))
    assert data.read_mask(data.val[0][1])[0, :12].tolist() == [*range(11), 255]
    flat(tmp_path / "b", values=tuple(range(12)))
    assert len(open_segmentation(tmp_path / "b").classes) == 12


# What is left out


def test_what_cannot_be_read_or_is_void_throughout_is_left_out_and_named(tmp_path):
    flat(tmp_path, count=9)
    (tmp_path / "images" / "0.jpg").write_text("not a picture")
    content = (tmp_path / "masks" / "1.png").read_bytes()
    (tmp_path / "masks" / "1.png").write_bytes(content[: len(content) // 2])
    put(tmp_path / "images" / "2.jpg", tmp_path / "masks" / "2.png", mask_of(255))
    (tmp_path / "notes.txt").write_text("beside")
    (tmp_path / "masks" / "notes.txt").write_text("stray")
    (tmp_path / "images" / ".DS_Store").write_text("hidden")
    data = open_segmentation(tmp_path)
    assert sorted(names(data.train + data.val)) == [str(i) for i in range(3, 9)]
    assert {Path(path).name for path in data.unreadable} == {"0.jpg", "1.png"}
    assert data.unlabeled == [str(tmp_path / "masks" / "2.png")]
    assert (data.strays, data.hidden) == (1, 1)
    report = data.report()
    assert "left out: 1 stray files, 1 hidden, 1 without a label, 2 unreadable" in report
    assert f"{tmp_path / 'images' / '0.jpg'} is not an image" in report
    assert f"{tmp_path / 'masks' / '2.png'} is void throughout" in report
    assert str(tmp_path / "masks" / "1.png") + " is damaged or cut short" in report


def test_the_report_tells_shares_of_pixels_and_images(tmp_path):
    fill(tmp_path / "train", tmp_path / "trainannot", 3, (0, 0, 0, 1))
    fill(tmp_path / "val", tmp_path / "valannot", 2, (0, 255))
    lines = [line.split() for line in open_segmentation(tmp_path).report().splitlines()]
    assert lines == [
        ["class", "train", "images", "val", "images"],
        ["class_0", "75.00%", "3", "100.00%", "2"],
        ["class_1", "25.00%", "3", "0.00%", "0"],
        ["void", "0.00%", "50.00%"],
        ["all", "3", "2"],
        ["names", "of", "the", "classes:", "what", "the", "masks", "hold"],
    ]


# Mistakes


def save_colors(folder: Path, mode: str) -> None:
    Image.new(mode, SIZE).save(folder / "masks" / "1.png")


def save_fractions(folder: Path) -> None:
    (folder / "masks" / "1.png").unlink()
    Image.fromarray(mask_of(0, 1).astype(np.float32) / 2).save(folder / "masks" / "1.tif")


def save_on_its_side(folder: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees to view
    Image.new("RGB", SIZE).save(folder / "images" / "1.jpg", exif=exif)


def list_more_than_there_is(folder: Path) -> None:
    shutil.rmtree(folder)
    voc(folder)
    (folder / "ImageSets" / "Segmentation" / "train.txt").write_text("0\n77\n")


def empty(folder: Path, name: str) -> None:
    for path in (folder / name).iterdir():
        path.unlink()


def only_val(folder: Path) -> None:
    shutil.rmtree(folder)
    fill(folder / "val" / "images", folder / "val" / "masks")


MISTAKES: dict[str, Callable[[Path], object]] = {
    "doesn't exist. Expected images and masks": shutil.rmtree,
    "isn't a folder": lambda f: (shutil.rmtree(f), f.touch()),
    "data is empty": lambda f: [shutil.rmtree(path) for path in f.iterdir()],
    "holds no images with masks. Expected": lambda f: shutil.rmtree(f / "masks"),
    r"images holds no images \(.bmp": lambda f: empty(f, "images"),
    r"masks holds no masks \(.bmp": lambda f: empty(f, "masks"),
    "has val, but no train": only_val,
    r"images without a mask: 1 \(.*2.jpg\). Give": lambda f: (f / "masks" / "2.png").unlink(),
    r"masks without an image: 6 \(.*, \.\.\.\). Give": lambda f: [
        shutil.copy(f / "masks" / "0.png", f / "masks" / f"{i}.png") for i in range(10, 16)
    ],
    r"images without a mask: 1 .*masks without an image: 1 ": lambda f: (
        f / "masks" / "2.png"
    ).rename(f / "masks" / "2_mask.png"),
    "have the same name, by which": lambda f: shutil.copy(
        f / "images" / "0.jpg", f / "images" / "0.jpeg"
    ),
    r"lacks images that are on the list of its split: 1 \(77\)": list_more_than_there_is,
    r"1.png is 20x30 px, but .*1.jpg is 40x30 px. Make": lambda f: Image.fromarray(
        mask_of(0, 1, size=(20, 30))
    ).save(f / "masks" / "1.png"),
    "1.png is 40x30 px, but .*1.jpg is 30x40 px once it is turned upright, as its EXIF": (
        save_on_its_side
    ),
    "1.png is an RGB image, but a mask holds one whole class number per pixel": lambda f: (
        save_colors(f, "RGB")
    ),
    "1.png is an RGBA image": lambda f: save_colors(f, "RGBA"),
    "1.tif holds fractions .*Save the masks as": save_fractions,
    "1.png holds 300; class numbers go from 0 to 254": lambda f: Image.fromarray(
        mask_of(0, 1).astype(np.uint16) * 300
    ).save(f / "masks" / "1.png"),
    "hold 4 of the numbers up to 128 .0, 1, 2, 128.. Save the classes as 0, 1": lambda f: (
        Image.fromarray(mask_of(0, 128)).save(f / "masks" / "1.png")
    ),
    "only one class, number 0 beside 255, which doesn't count": lambda f: flat(f, values=(0, 255)),
    r"no image of the folder can be used: .*0.png is void throughout": lambda f: (
        flat(f, values=(255,)),
        (f / "classes.txt").write_text("a\nb"),
    ),
    "no image of the folder can be used: .*masks/0.png is void": lambda f: flat(f, values=(255,)),
    "no image of the folder can be used: .*0.jpg is empty": lambda f: [
        path.write_text("") for path in (f / "images").iterdir()
    ],
    "one usable image, so none is left to validate": lambda f: [
        path.unlink() for path in f.glob("*/[1-9].*")
    ],
    r"0.png holds 2 \(as 4 other masks do\), but .*classes.txt has 2 classes; expected 0 to 1": (
        lambda f: (f / "classes.txt").write_text("a\nb")
    ),
    "classes.txt has 'a' twice": lambda f: (f / "classes.txt").write_text("a\nb\na"),
    "classes.txt has 1 classes; expected two": lambda f: (f / "classes.txt").write_text("a"),
    "has 256 classes; masks of 8 bits tell 255 apart": lambda f: (f / "classes.txt").write_text(
        "\n".join(f"class {i}" for i in range(256))
    ),
    "line 2 is 'b 256 0 0'; expected a line of": lambda f: (f / "classes.txt").write_text(
        "a 1 2 3\nb 256 0 0"
    ),
    "line 1 is 'a -1 0 0'": lambda f: (f / "classes.txt").write_text("a -1 0 0\nb 1 1 1"),
    "line 1 is 'a 1 2'": lambda f: (f / "classes.txt").write_text("a 1 2\nb 1 1 1"),
    "line 2 is 'b,1,x,1'": lambda f: (f / "classes.txt").write_text("a,1,2,3\nb,1,x,1"),
    "line 1 is 'a, or b'": lambda f: (f / "classes.txt").write_text("a, or b\nc"),
    "classes.json: entry 1 is 7; expected a name": lambda f: (f / "classes.json").write_text(
        '["a", 7]'
    ),
    r"entry 0 is .*\[1, 2, 3.5\]": lambda f: (f / "classes.json").write_text(
        '[{"name": "a", "color": [1, 2, 3.5]}, "b"]'
    ),
    "holds a dict; expected a list": lambda f: (f / "classes.json").write_text('{"a": 1}'),
    "is not valid JSON": lambda f: (f / "classes.json").write_text("["),
    "classes.txt can't be read": lambda f: (f / "classes.txt").write_bytes(b"\xff\xfe\xff"),
    "which one counts": lambda f: [
        (f / name).write_text("a\nb") for name in ("classes.txt", "classes.json")
    ],
    "holds several data sets: .*VOC2007 and .*VOC2012": lambda f: [
        voc(f / name) for name in ("VOC2007", "VOC2012")
    ],
}


@pytest.mark.parametrize("sentence", MISTAKES)
def test_a_folder_that_is_no_data_set_says_why_in_one_line(tmp_path, sentence):
    folder = flat(tmp_path / "data")
    open_segmentation(folder)
    MISTAKES[sentence](folder)
    with pytest.raises(DataError, match=sentence) as raised:
        open_segmentation(folder)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"val_share": 1.0}, "val_share is 1.0"),
        ({"ignore": 256}, "ignore has 256; expected values of masks, 0 to 255"),
        ({"ignore": [1, "void"]}, "ignore has 'void'"),
        ({"classes": "none.txt"}, "no class list none.txt. .*one of voc, camvid, ade20k"),
        ({"classes": ["a", "a", "b"]}, "the list of classes has 'a' twice"),
        ({"classes": ["a", "b"], "reduce_labels": True}, "holds 3 .*; expected 1 to 2"),
    ],
)
def test_arguments_that_cannot_be_used_say_why(tmp_path, arguments, sentence):
    with pytest.raises(DataError, match=sentence):
        open_segmentation(flat(tmp_path, values=(0, 1, 2, 3)), **arguments)


def test_masks_beside_a_photo_taken_on_its_side_fit_when_they_are_turned(tmp_path):
    flat(tmp_path)
    save_on_its_side(tmp_path)
    Image.fromarray(mask_of(0, 1, size=TURNED)).save(tmp_path / "masks" / "1.png")
    data = open_segmentation(tmp_path)
    assert len(data.train) + len(data.val) == 5


def test_a_mask_that_changes_afterwards_is_noticed(tmp_path):
    data = open_segmentation(flat(tmp_path))
    mask = data.train[0][1]
    Image.fromarray(mask_of(0, 3)).save(mask)
    with pytest.raises(DataError, match="other values than when the data was opened"):
        data.read_mask(mask)


# Real sets


def test_real_street_scenes_open(shared_data):
    folder = shared_data / "camvid"
    assert is_segmentation(folder)
    data = open_segmentation(folder)
    assert {name: len(pairs) for name, pairs in data.splits.items()} == {"train": 180, "val": 60}
    assert data.classes[3] == "Road"
    assert data.colors[3] == (128, 64, 128)
    assert (data.short_side, data.ignored) == (360, (11, 255))
    assert not data.unreadable
    counted = np.zeros(256, int)
    for path in (folder / "valannot").iterdir():
        values, counts = np.unique(np.asarray(Image.open(path)), return_counts=True)
        counted[values] += counts
    assert data.pixels["val"] == counted[:11].tolist()
    assert data.void["val"] == counted[11]
    stored = np.asarray(Image.open(data.val[0][1]))
    assert np.array_equal(data.read_mask(data.val[0][1]), np.where(stored == 11, 255, stored))


def test_other_real_sets_are_no_segmentation(shared_data):
    assert not is_segmentation(shared_data / "flowers")
    assert not is_segmentation(shared_data / "bccd")
