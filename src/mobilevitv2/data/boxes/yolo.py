"""Boxes in YOLO's format: a text file for each image, a line for each box."""

# n boxes of an image

import os
from pathlib import Path

from mobilevitv2.data.boxes.found import Annotated, FoundBoxes
from mobilevitv2.data.boxes.yolo_layout import (
    LABELS,
    NAME_FILES,
    YAML,
    YoloLayout,
    holds_boxes,
    label_folder,
)
from mobilevitv2.data.class_lists import GivenClasses, checked_names, given_names, names_of
from mobilevitv2.data.split_names import names_in
from mobilevitv2.errors import DataError, some_of
from mobilevitv2.images.finding import images_below
from mobilevitv2.images.reading import IMAGE_SUFFIXES

LARGEST = 1 << 31  # no class has a larger number
SCORED = 6  # numbers in a line of a prediction, the last one its score


def read_yolo(layout: YoloLayout, classes: GivenClasses | None = None) -> FoundBoxes:
    """All that the label files of the splits say; `classes` names their numbers if nothing else.

    An image without a label file, or with an empty one, has no boxes. Raises DataError if
    labels have no image, or a class number has no name.
    """
    names, origin = _names(layout, classes)
    found = FoundBoxes(format="YOLO", names=names, origin=origin, box="line", fractions=True)
    without_image: list[Path] = []
    unlabeled = 0
    for split, places in layout.splits.items():
        images = [image for place in places for image in _images(layout, place, found)]
        labels = _label_files(images)
        unlabeled += labels.count(None)
        if not all(place.is_file() for place in places):
            without_image += _alone(places, labels)
        found.splits[split] = []
        for image, path in zip(images, labels, strict=True):
            try:
                lines = [] if path is None else read_lines(path, keypoints=layout.keypoints)
            except DataError as error:
                found.unreadable[str(path)] = str(error)
                continue
            found.splits[split].append(Annotated.of(image, path or image, lines))
    if without_image:
        raise DataError(
            f"{layout.root} has labels without an image: {some_of(without_image)}. Give each an "
            "image of the same name (a.txt, a.jpg), or move what stands alone away."
        )
    if unlabeled:
        found.notes.append(f"{unlabeled:,} images have no label file, so no boxes")
    found.check_labels(
        range(len(names)),
        lambda label: f"{label}, but {origin} has {len(names)} names, for 0 to {len(names) - 1}",
        "Add the names, or correct the labels.",
    )
    return found


def read_lines(path: Path, *, keypoints: bool = False) -> list[tuple[int, int, list[float]]]:
    """Each box's line number, class, and x1, y1, x2, y2 as fractions of the image.

    A line is `class cx cy width height`, perhaps with a score at the end, or with points if there
    are `keypoints`; or `class x1 y1 x2 y2 x3 y3 ...`, an outline, whose bounding box is taken.
    Raises DataError, beginning with "has", for any other line.
    """
    boxes = []
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"is not readable as text ({error})") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            label, *values = map(float, line.split())
        except ValueError:
            values, label = [], -1.0
        whole = 0 <= label <= LARGEST and label == int(label)
        if not whole or len(values) < 4 or (len(values) % 2 and len(values) + 1 != SCORED):
            shown = line.strip()[:50]
            raise DataError(f"has the line {number} {shown!r}; expected class cx cy width height")
        if len(values) < SCORED or keypoints:
            x, y, width, height = values[:4]
            corners = [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
        else:
            across, down = values[::2], values[1::2]
            corners = [min(across), min(down), max(across), max(down)]
        boxes.append((number, int(label), corners))
    return boxes


def _names(layout: YoloLayout, classes: GivenClasses | None) -> tuple[list[str], str]:
    if isinstance(layout.names, Path):
        return names_of(layout.names)
    if layout.names is not None:
        return checked_names(layout.names, str(layout.origin))
    if classes is None:
        raise DataError(
            f"{layout.root} has labels in YOLO's format, which number the classes but don't name "
            "them. Add a classes.txt with a name per line, or a data.yaml, or give the classes."
        )
    return given_names(classes)


def _images(layout: YoloLayout, place: Path, found: FoundBoxes) -> list[Path]:
    """The images below a folder, or on a list."""
    if place.is_file():
        return _listed(layout, place)
    images = images_below(place, found, but=(LABELS, *YAML, ".cache"))
    if not images:
        raise DataError(f"{place} holds no images ({', '.join(sorted(IMAGE_SUFFIXES))}).")
    return images


def _listed(layout: YoloLayout, path: Path) -> list[Path]:
    """The lines of a list, relative to its folder or to the data set's.

    If nothing is there, the first folders of a line don't count: CVAT writes
    data/images/train/1.jpg, and other lists name another machine's folders.
    """
    images, absent = [], []
    for line in names_in(path):
        parts = Path(line).parts
        ways = [path.parent / line, layout.root / line]
        ways += [path.parent.joinpath(*parts[i:]) for i in range(1, len(parts) - 1)]
        image = next((way for way in ways if way.is_file()), None)
        if image is None:
            absent.append(line)
        else:
            images.append(Path(os.path.normpath(image)))
    if absent:
        raise DataError(f"{path} lists images that are not there: {some_of(absent)}. Correct it.")
    return images


def _label_files(images: list[Path]) -> list[Path | None]:
    """Each image's; None if it has none. Raises DataError if two images share one."""
    folders = {folder: label_folder(folder) for folder in {image.parent for image in images}}
    labels, first = [], {}
    for image in images:
        path = folders[image.parent] / (image.stem + LABELS)
        if first.setdefault(path, image) != image:
            raise DataError(
                f"{first[path]} and {image} have the same name, so one label file. Rename one."
            )
        labels.append(path if path.name not in NAME_FILES and path.is_file() else None)
    return labels


def _alone(places: list[Path], labels: list[Path | None]) -> list[Path]:
    """Label files without an image, in folders for labels; beside images, other texts are fine."""
    folders = {label_folder(place): place for place in places if place.is_dir()}
    used = set(labels)
    return [
        path
        for folder, images in folders.items()
        if folder != images
        for path in sorted(folder.rglob("*" + LABELS))
        if path not in used and path.name not in NAME_FILES and holds_boxes(path)
    ]
