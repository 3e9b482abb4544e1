"""A folder of images becomes labeled splits, or one sentence says why not."""

import os
import shutil
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image
from sklearn import datasets
from torchvision.datasets import ImageFolder

from mobilevitv2.data import open_classification, open_data
from mobilevitv2.data.classes.opening import NO_TARGET, ImageSet, split_by_class
from mobilevitv2.errors import DataError


def fill(folder: Path, classes: dict[str, int], size: tuple[int, int] = (40, 48)) -> Path:
    """So many images of each class, each of another brightness."""
    for label, (name, count) in enumerate(classes.items()):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            Image.new("RGB", size, (i, 100 * label, 0)).save(folder / name / f"{i}.png")
    return folder


def paths(samples) -> list[Path]:
    return [path for path, _ in samples]


@pytest.mark.parametrize("name", ["val", "valid", "validation", "test", "Val"])
def test_every_usual_name_of_the_validation_folder_is_found(tmp_path, name):
    fill(tmp_path / "train", {"a": 3, "b": 2})
    fill(tmp_path / name, {"a": 1, "b": 2})
    data = open_classification(tmp_path)
    assert data.counts() == {"train": [3, 2], "val": [1, 2]}
    theirs = ImageFolder(str(tmp_path / "train"))
    assert [(str(path), label) for path, label in data.train] == theirs.samples
    assert data.classes == theirs.classes


def test_a_test_folder_beside_val_is_held_out(tmp_path):
    for split in ("train", "val", "test"):
        fill(tmp_path / split, {"a": 2, "b": 2})
    data = open_classification(tmp_path)
    assert data.test is not None
    assert {path.parent.parent.name for path in paths(data.test)} == {"test"}
    assert {path.parent.parent.name for path in paths(data.val)} == {"val"}


def test_a_validation_folder_elsewhere_is_taken(tmp_path):
    fill(tmp_path / "photos", {"a": 3, "b": 3})
    fill(tmp_path / "more", {"a": 1, "b": 1})
    data = open_classification(tmp_path / "photos", val=tmp_path / "more")
    assert data.counts() == {"train": [3, 3], "val": [1, 1]}


def test_a_flat_folder_is_split_by_class_and_seed(tmp_path):
    fill(tmp_path, {"a": 20, "b": 10, "c": 2})
    data = open_classification(tmp_path, seed=1, val_share=0.2)
    assert data.counts() == {"train": [16, 8, 1], "val": [4, 2, 1]}
    assert sorted(paths(data.train) + paths(data.val)) == sorted(tmp_path.glob("*/*.png"))
    assert open_classification(tmp_path, seed=1, val_share=0.2).val == data.val
    assert open_classification(tmp_path, seed=2, val_share=0.2).val != data.val


def test_new_images_of_one_class_leave_the_split_of_the_others(tmp_path):
    few = [(Path(f"{label}{i}"), label) for label in (0, 1) for i in range(20)]
    more = [*few, (Path("120"), 1)]
    before, after = split_by_class("here", few, 0.2, 0)[1], split_by_class("here", more, 0.2, 0)[1]
    assert [path for path, label in before if label == 0] == [
        path for path, label in after if label == 0
    ]


def test_what_is_no_image_is_left_out_and_counted(tmp_path):
    fill(tmp_path, {"a": 3, "b": 3})
    shutil.move(tmp_path / "a" / "0.png", tmp_path / "a" / "UPPER.PNG")
    (tmp_path / "b" / "deeper").mkdir()
    (tmp_path / "b" / "deeper" / "link.png").symlink_to(tmp_path / "a" / "1.png")
    (tmp_path / "b" / "loop").symlink_to(tmp_path / "b")
    for stray in ("notes.txt", "a/labels.csv", "b/dangling.png"):
        (tmp_path / stray).write_text("text")
    (tmp_path / "b" / "dangling.png").unlink()
    (tmp_path / "b" / "dangling.png").symlink_to(tmp_path / "gone.png")
    for hidden in (".DS_Store", "a/Thumbs.db", "b/._0.png"):
        (tmp_path / hidden).write_text("")
    (tmp_path / ".ipynb_checkpoints").mkdir()
    shutil.copy(tmp_path / "a" / "1.png", tmp_path / ".ipynb_checkpoints")
    data = open_classification(tmp_path)
    assert data.classes == ["a", "b"]
    assert sum(map(sum, data.counts().values())) == 3 + 4
    assert (data.strays, data.hidden) == (3, 4)
    assert "left out: 3 stray files, 4 hidden" in data.report()


def test_files_that_are_no_images_in_spite_of_their_names_are_left_out_and_named(tmp_path):
    fill(tmp_path, {"a": 5, "b": 5})
    (tmp_path / "a" / "text.jpg").write_text("not a picture")
    (tmp_path / "b" / "empty.png").touch()
    content = (tmp_path / "b" / "0.png").read_bytes()
    (tmp_path / "b" / "short.png").write_bytes(content[: len(content) // 2])
    data = open_classification(tmp_path)
    assert {Path(path).name for path in data.unreadable} == {"text.jpg", "empty.png", "short.png"}
    assert sum(map(sum, data.counts().values())) == 10
    assert f"{tmp_path / 'a' / 'text.jpg'} is not an image" in data.report()


def remove_train(folder: Path) -> None:
    shutil.rmtree(folder / "train")


def add_loose_images(folder: Path) -> None:
    shutil.rmtree(folder)
    fill(folder.parent, {folder.name: 3})


MISTAKES = {
    "doesn't exist": shutil.rmtree,
    "is empty": lambda folder: [shutil.rmtree(path) for path in folder.iterdir()],
    "isn't a folder": lambda folder: (shutil.rmtree(folder), folder.touch()),
    "3 images, but no folders of classes": add_loose_images,
    "no train. Add it, with a folder for each": remove_train,
    "only one class, 'a'": lambda folder: [shutil.rmtree(path) for path in folder.glob("*/b")],
    "the class 'c' has no images": lambda folder: (folder / "train" / "c").mkdir(),
    "different classes: 'c' only in val": lambda folder: fill(folder / "val", {"c": 1}),
    "different classes: 'b' only in train": lambda folder: shutil.rmtree(folder / "val" / "b"),
    "valid; which is val": lambda folder: fill(folder / "valid", {"a": 1}),
    "the class 'a' has no readable image": lambda folder: [
        path.write_text("") for path in folder.glob("train/a/*")
    ],
}


@pytest.mark.parametrize("sentence", MISTAKES)
def test_a_folder_that_is_no_data_set_says_why(tmp_path, sentence):
    folder = tmp_path / "photos"
    for split in ("train", "val"):
        fill(folder / split, {"a": 2, "b": 2})
    open_classification(folder)
    MISTAKES[sentence](folder)
    with pytest.raises(DataError, match=sentence):
        open_classification(folder)


def test_the_digits_are_those_of_scikit_learn_in_three_disjoint_splits():
    data = open_classification("digits")
    images = {
        name: np.stack([np.asarray(image) for image, _ in split])
        for name, split in data.splits.items()
    }
    assert {name: len(split) for name, split in images.items()} == {
        "train": 1079,
        "val": 359,
        "test": 359,
    }
    theirs: np.ndarray = datasets.load_digits().images  # pyright: ignore
    ours = np.concatenate(list(images.values()))
    assert sorted(np.rint(ours / 255 * 16).sum((1, 2))) == sorted(theirs.sum((1, 2)))
    assert ours.min() == 0
    assert ours.max() == 255
    numbers = [{image.tobytes() for image in split} for split in images.values()]
    assert not numbers[0] & numbers[1] | numbers[0] & numbers[2] | numbers[1] & numbers[2]
    for by_class in data.counts().values():
        assert max(by_class) - min(by_class) <= 6  # as even as the digits are


def brightness(image: Image.Image, key: tuple[int, int]) -> np.ndarray:
    return np.asarray(image)[0, 0]


def test_an_image_that_breaks_later_is_replaced_by_the_next_of_its_class(tmp_path):
    fill(tmp_path, {"a": 3, "b": 3})
    samples = [(path, int(path.parent.name == "b")) for path in sorted(tmp_path.glob("*/*.png"))]
    for name in ("a/2", "b/1"):
        path = tmp_path / f"{name}.png"
        path.write_bytes(path.read_bytes()[:-30])
    images = ImageSet(samples, brightness)
    pixels, target, broken = images[2]
    assert (pixels.tolist(), target, broken) == ([0, 0, 0], 0, 2)  # a/0, and not b/0
    pixels, target, broken = images[7, 4]
    assert (pixels.tolist(), target, broken) == ([2, 100, 0], 1, 4)
    assert "2.png is damaged or cut short" in images.reasons[2]
    evaluated = ImageSet(samples, brightness, replace_broken=False)
    assert [evaluated[i][1] for i in range(6)] == [0, 0, NO_TARGET, 1, NO_TARGET, 1]


def test_with_and_without_room_to_keep_them_images_are_the_same(tmp_path):
    fill(tmp_path, {"a": 4}, size=(300, 200))
    samples = [(path, 0) for path in sorted(tmp_path.glob("*/*.png"))]

    def whole(image: Image.Image, key: tuple[int, int]) -> np.ndarray:
        return np.asarray(image)

    kept = ImageSet(samples, whole, short_side=64)
    first = [kept[i][0] for i in range(4)]
    shutil.rmtree(tmp_path / "a")
    assert all(np.array_equal(kept[i][0], first[i]) for i in range(4))
    assert first[0].shape == (64, 96, 3)
    fill(tmp_path, {"a": 4}, size=(300, 200))
    for room in (0, 2 * first[0].nbytes):
        read_again = ImageSet(samples, whole, short_side=64, cache_bytes=room)
        assert all(np.array_equal(read_again[i][0], first[i]) for i in (0, 1, 2, 3, 3))
    os.remove(samples[3][0])
    assert read_again[3][2] == 3  # there was no room for the last one, so it was read


def test_a_photo_taken_on_its_side_is_upright(tmp_path):
    (tmp_path / "a").mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees to view
    Image.new("RGB", (60, 40)).save(tmp_path / "a" / "0.jpg", exif=exif)
    images = ImageSet([(tmp_path / "a" / "0.jpg", 0)], brightness)
    image = images.image(0)
    assert image is not None
    assert image.size == (40, 60)


def test_real_flowers_open(shared_data):
    data = open_classification(shared_data / "flowers")
    assert data.counts() == {"train": [300] * 5, "val": [60] * 5}
    assert data.short_side == 128
    assert not data.unreadable


def test_an_unknown_task_is_named_with_the_known_ones(tmp_path):
    with pytest.raises(DataError, match="one of classify, multi-label, segment, detect, not 'foo'"):
        open_data(tmp_path, cast(Any, "foo"))


def test_paths_are_seen_from_the_folder_without_looking_at_the_disk(tmp_path, monkeypatch):
    fill(tmp_path, {"a": 2, "b": 2})
    data = open_classification(tmp_path)
    paths = [path for path, _ in data.train]
    data.relative(paths[0])
    monkeypatch.setattr(Path, "stat", lambda *_, **__: pytest.fail("looked at the disk"))
    assert {str(data.relative(path))[:2] for path in paths} == {"a/", "b/"}
