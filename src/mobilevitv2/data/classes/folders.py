"""Which files of a folder are the images of which class, and what else lies there."""

from dataclasses import dataclass, field
from pathlib import Path

from mobilevitv2.data.split_names import TEST, TRAIN, VAL_NAMES, nothing_found
from mobilevitv2.errors import DataError
from mobilevitv2.images.finding import LeftOut, is_hidden, visible_files
from mobilevitv2.images.reading import IMAGE_SUFFIXES

LAYOUT = "a folder for each class (FOLDER/daisy/1.jpg), or train and val folders of such folders"


@dataclass
class ClassFolders(LeftOut):
    """The images of each class below one folder, in a fixed order; the rest is only counted."""

    folder: Path
    images: dict[str, list[Path]] = field(default_factory=dict)


def find_splits(source: Path) -> dict[str, Path]:
    """`train`, `val` and `test`, as far as the folder has them; `all` where it isn't split.

    Names may have any case; val may be called valid or validation. Raises DataError where there is
    nothing to open, or two folders claim to be one split.
    """
    if not source.is_dir() or not any(source.iterdir()):
        raise nothing_found(source, "", f"{LAYOUT}; or digits")
    named = {path.name.lower(): path for path in sorted(source.iterdir()) if path.is_dir()}
    validation = [named[name] for name in VAL_NAMES if name in named]
    if TRAIN not in named:
        if named and named.keys() <= {*VAL_NAMES, TEST}:
            held = " and ".join(sorted(named))
            raise DataError(f"{source} has {held}, but no train folder. Add one, with {LAYOUT}.")
        return {"all": source}
    if len(validation) > 1:
        names = " and ".join(path.name for path in validation)
        raise DataError(f"{source} has {names}; which one is for validation? Rename or remove one.")
    places = {"train": named[TRAIN], "val": next(iter(validation), None), "test": named.get(TEST)}
    return {split: folder for split, folder in places.items() if folder}


def find_classes(folder: Path) -> ClassFolders:
    """The images below each class folder, however deep. Raises DataError where there are none."""
    found = ClassFolders(folder)
    loose = 0
    for path in sorted(folder.iterdir()):
        if is_hidden(path.name):
            found.hidden += 1
        elif path.is_dir():
            found.images[path.name] = _images_below(path, found)
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


def _images_below(folder: Path, found: ClassFolders) -> list[Path]:
    images = []
    for path in visible_files(folder, found, follow_links=True):
        if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file():
            images.append(path)
        else:
            found.strays += 1
    return sorted(images)
