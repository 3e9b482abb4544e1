"""`open_classification`: a folder of class folders, or the digits, to splits of labeled images."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mobilevitv2.data.data_set import Data, settled
from mobilevitv2.data.headers import Header, read_headers
from mobilevitv2.data.split_names import (
    TEST,
    TRAIN,
    VAL_NAMES,
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


@dataclass
class ClassificationData(Data[Sample]):
    """Images with a class each."""

    task = "classification"

    def caption(self, sample: Sample) -> str:
        return self.classes[sample[1]]


def open_classification(
    source: str | Path,
    *,
    seed: int = 0,
    val_share: float = 0.2,
    val: str | Path | None = None,
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
    found = {name: _find_classes(folder) for name, folder in folders.items()}
    classes = _classes_of(found, source)
    headers, unreadable = _look_at(found)
    splits: dict[str, list[Sample]] = {
        name: [(path, i) for i, label in enumerate(classes) for path in split.images[label]]
        for name, split in found.items()
    }
    return ClassificationData(
        classes=classes,
        strays=sum(split.strays for split in found.values()),
        hidden=sum(split.hidden for split in found.values()),
        unreadable=unreadable,
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


@dataclass
class ClassFolders(LeftOut):
    """The images of each class below one folder, in a fixed order; the rest is only counted."""

    folder: Path
    images: dict[str, list[Path]] = field(default_factory=dict)


def _find_splits(source: Path) -> dict[str, Path]:
    """`train`, `val` and `test`, as far as the folder has them; `all` if it isn't split.

    Raises DataError if there is nothing to open, or two folders claim to be one split.
    """
    if not source.is_dir() or not any(source.iterdir()):
        raise nothing_found(source, "", f"{LAYOUT}; or digits")
    named = folders_in(source)
    splits = by_split({name: named[name] for name in (TRAIN, *VAL_NAMES, TEST) if name in named})
    if "train" in splits:
        return splits
    if named and len(splits) == len(named):
        check_train(source, splits, f", with {LAYOUT}")
    return {"all": source}


def _find_classes(folder: Path) -> ClassFolders:
    """The images below each class folder, however deep. Raises DataError if there are none."""
    found = ClassFolders(folder)
    loose = 0
    for path in sorted(folder.iterdir()):
        if is_hidden(path.name):
            found.hidden += 1
        elif path.is_dir():
            images = images_below(path, found, follow_links=True)
            found.images[path.name] = sorted(image for image in images if image.is_file())
            found.strays += len(images) - len(found.images[path.name])
        else:
            found.strays += 1
            loose += path.suffix.lower() in IMAGE_SUFFIXES
    if not found.images:
        held = f"{loose} images, but no folders of classes" if loose else "no folders of classes"
        raise DataError(f"{folder} holds {held}. Expected {LAYOUT}.")
    for name, images in found.images.items():
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


def _classes_of(found: dict[str, ClassFolders], source: Path) -> list[str]:
    (first_name, first), *others = found.items()
    classes = sorted(first.images)
    for name, other in others:
        if difference := sorted(set(classes) ^ set(other.images)):
            only = {True: first_name, False: name}
            lone = first_of(f"{c!r} only in {only[c in first.images]}" for c in difference)
            both = f"{first.folder} and {other.folder}"
            raise DataError(f"{both} have different classes: {lone}. Give both the same folders.")
    if len(classes) == 1:
        below = sorted(p.name for p in (first.folder / classes[0]).iterdir() if p.is_dir())
        hint = f" Was {first.folder / classes[0]} meant?" if below else ""
        raise DataError(
            f"{source} has only one class, {classes[0]!r}; expected two or more.{hint} "
            f"Give {LAYOUT}."
        )
    return classes


def _look_at(found: dict[str, ClassFolders]) -> tuple[dict[Path, Header], dict[str, str]]:
    """Take unreadable files out of `found`; the headers of the others, and the reasons."""
    everything = [p for split in found.values() for images in split.images.values() for p in images]
    headers, unreadable = read_headers(everything)
    for split in found.values():
        for name, images in split.images.items():
            split.images[name] = [path for path in images if path in headers]
            if not split.images[name]:
                raise DataError(
                    f"the class {name!r} has no readable image: {images[0]} "
                    f"{unreadable[str(images[0])]}. Export the images again."
                )
    return headers, unreadable
