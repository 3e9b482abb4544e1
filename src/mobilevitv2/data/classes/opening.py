"""Images in class folders, or digits: opened by `open_classification`, decoded by `ImageSet`."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from mobilevitv2.data.data_set import Data, settled
from mobilevitv2.data.decoded import DecodedSamples
from mobilevitv2.data.headers import read_headers
from mobilevitv2.data.split_names import (
    SPLIT_NAMES,
    by_split,
    check_share,
    check_train,
    drawn,
    folders_in,
    nothing_found,
)
from mobilevitv2.errors import DataError, first_of, require
from mobilevitv2.images.finding import LeftOut, images_below, is_hidden
from mobilevitv2.images.reading import IMAGE_SUFFIXES

DIGITS = "digits"
DIGITS_TEST_SHARE = 0.2
LAYOUT = "a folder for each class (FOLDER/daisy/1.jpg), or train and val folders of such folders"

Sample = tuple[Path | np.ndarray, int]  # whatever `load_image` takes, and a class number

NO_TARGET = -1  # of an image that doesn't count


@dataclass
class ClassificationData(Data[Sample]):
    """Images with a class each."""

    task = "classification"

    def caption(self, sample: Sample) -> str:
        return self.classes[sample[1]]


def open_classification(
    source: str | Path, *, seed: int = 0, val_share: float = 0.2, val: str | Path | None = None
) -> ClassificationData:
    """The labeled images of a folder, or of the word `digits`.

    It has class folders, of which `val_share` is drawn for validation by `seed`; or it has `train`
    and one of `val`, `valid`, `validation` with class folders (or only `test`, which stands in for
    them). `val` names a folder of class folders elsewhere. Files that aren't images, and images
    whose header can't be read, are left out and counted. Raises DataError if this makes no data
    set.
    """
    check_share(val_share)
    if source == DIGITS and not Path(DIGITS).is_dir():
        return _open_digits(seed, val_share)
    source = Path(source).expanduser()
    folders = _find_splits(source)
    if val is not None:
        validation = Path(val).expanduser()
        folders["val"] = _find_splits(validation).get("all", validation)
        folders.setdefault("train", folders.pop("all", source))
    left_out = LeftOut()
    found = {split: _find_classes(folder, left_out) for split, folder in folders.items()}
    classes = _classes_of(found, folders, source)
    every = [path for split in found.values() for path in chain(*split.values())]
    headers, unreadable = read_headers(every)
    splits: dict[str, list[Sample]] = {}
    for split, images in found.items():
        splits[split] = []
        for label, name in enumerate(classes):
            good = [(path, label) for path in images[name] if path in headers]
            if not good:
                path = images[name][0]
                raise DataError(
                    f"the class {name!r} has no readable image: {path} {unreadable[str(path)]}. "
                    "Export the images again."
                )
            splits[split] += good
    return ClassificationData(
        classes=classes,
        unreadable=unreadable,
        **vars(left_out),
        **settled(source, splits, headers, val_share, seed, split_by_class),
    )


def split_by_class(
    source: str | Path, samples: Sequence[Sample], share: float, seed: int
) -> tuple[list[Sample], list[Sample]]:
    """The samples in two: `share` of each class goes into the second part, drawn by `seed`.

    At least one of each class goes there, but never a class's last one. Raises DataError if the
    second part has none.
    """
    by_class: dict[int, list[Sample]] = {}
    for sample in samples:
        by_class.setdefault(sample[1], []).append(sample)
    first, second = [], []
    for label, members in by_class.items():
        rest, some = drawn(members, share, f"{seed}/{label}")
        first += rest
        second += some
    if not second:
        raise DataError(f"{source} has one image per class, so none is left to validate. Add more.")
    return first, second


def _find_splits(source: Path) -> dict[str, Path]:
    """`train`, `val` and `test`, as far as the folder has them; `all` if it isn't split.

    Raises DataError if there is nothing to open, or two folders claim to be one split.
    """
    if not source.is_dir() or not any(source.iterdir()):
        raise nothing_found(source, "", f"{LAYOUT}; or digits")
    named = folders_in(source)
    plain = ("train", *SPLIT_NAMES["val"], "test")
    splits = by_split({name: named[name] for name in plain if name in named})
    if "train" in splits:
        return splits
    if named and len(splits) == len(named):
        check_train(source, splits, f", with {LAYOUT}")
    return {"all": source}


def _find_classes(folder: Path, left_out: LeftOut) -> dict[str, list[Path]]:
    """The images below each class folder, however deep. Raises DataError if there are none."""
    found = {}
    loose = 0
    for path in sorted(folder.iterdir()):
        if is_hidden(path.name):
            left_out.hidden += 1
        elif path.is_dir():
            images = images_below(path, left_out, follow_links=True)
            found[path.name] = sorted(image for image in images if image.is_file())
            left_out.strays += len(images) - len(found[path.name])
        else:
            left_out.strays += 1
            loose += path.suffix.lower() in IMAGE_SUFFIXES
    if not found:
        held = f"{loose} images, but no folders of classes" if loose else "no folders of classes"
        raise DataError(f"{folder} holds {held}. Expected {LAYOUT}.")
    for name, images in found.items():
        if not images:
            raise DataError(
                f"the class {name!r} has no images: {folder / name} holds none that end in "
                f"{', '.join(sorted(IMAGE_SUFFIXES))}. Fill the folder or remove it."
            )
    return found


def _open_digits(seed: int, val_share: float) -> ClassificationData:
    """Scikit-learn's handwritten digits, 8 px and white on black: images that need no download."""
    digits = require("sklearn.datasets", extra="train").load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)  # stored values are 0..16
    samples: list[Sample] = list(zip(images, digits.target.tolist(), strict=True))
    rest, test = split_by_class(DIGITS, samples, DIGITS_TEST_SHARE, seed)
    train, val = split_by_class(DIGITS, rest, val_share / (1 - DIGITS_TEST_SHARE), seed)
    names = [str(digit) for digit in range(10)]
    return ClassificationData(DIGITS, names, train, val, test, short_side=min(images.shape[1:]))


def _classes_of(
    found: dict[str, dict[str, list[Path]]], folders: dict[str, Path], source: Path
) -> list[str]:
    first, *others = found
    classes = sorted(found[first])
    for other in others:
        if difference := sorted(set(classes) ^ set(found[other])):
            only = {True: first, False: other}
            lone = first_of(f"{c!r} only in {only[c in classes]}" for c in difference)
            both = f"{folders[first]} and {folders[other]}"
            raise DataError(f"{both} have different classes: {lone}. Give both the same folders.")
    if len(classes) == 1:
        folder = folders[first] / classes[0]
        hint = f" Was {folder} meant?" if folders_in(folder) else ""
        few = f"{source} has only one class, {classes[0]!r}; expected two or more"
        raise DataError(f"{few}.{hint} Give {LAYOUT}.")
    return classes


class ImageSet(DecodedSamples):
    """Images with a class number each, replaced by one of their class.

    `prepare(image, (epoch, index))` makes the pixels of the upright RGB image; the index is the one
    asked for, and the epoch 0 if none is given.
    """

    lost_target = NO_TARGET

    def _kind(self, index: int) -> Hashable:
        return self.samples[index][1]
