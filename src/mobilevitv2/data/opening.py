"""`open_data`: whatever a person points at, opened for its task."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from mobilevitv2.data.boxes import opening as detection
from mobilevitv2.data.boxes.opening import DetectionData, is_detection, open_detection
from mobilevitv2.data.class_lists import GivenClasses
from mobilevitv2.data.classes.folders import find_splits
from mobilevitv2.data.classes.opening import DIGITS, ClassificationData, open_classification
from mobilevitv2.data.masks.layouts import find_layout
from mobilevitv2.data.masks.opening import SegmentationData, is_segmentation, open_segmentation
from mobilevitv2.data.masks.pairs import find_pairs
from mobilevitv2.errors import DataError

Data = ClassificationData | SegmentationData | DetectionData
TaskName = Literal["auto", "classify", "segment", "detect"]


def kind_of(data: Any) -> TaskName:
    """The task that a data set, a folder or a word looks made for."""
    if isinstance(data, SegmentationData):
        return "segment"
    if isinstance(data, DetectionData):
        return "detect"
    if isinstance(data, str | Path) and data != DIGITS:
        if is_detection(data):
            return "detect"
        if is_segmentation(data):
            return "segment"
    return "classify"


def files_of(data: Data) -> list[Path]:
    """The images and masks of a data set, and the file that lists them, if one was given."""
    samples = [part for split in data.splits.values() for sample in split for part in sample]
    return [part for part in (data.root, *samples) if isinstance(part, Path)]


def open_data(
    source: str | Path,
    task: TaskName = "auto",
    *,
    seed: int = 0,
    classes: GivenClasses | None = None,
    ignore: int | Sequence[int] | None = None,
    reduce_labels: bool = False,
) -> Data:
    """The data set of a folder; the last three are about masks, see `open_segmentation`.

    Boxes have `classes` too, see `open_detection`.
    """
    task = kind_of(source) if task == "auto" else task
    if task == "detect":
        if ignore is not None or reduce_labels:
            raise DataError(
                f"{source} is opened as images with boxes, and ignore and reduce_labels are about "
                "masks. Leave them out, or say task segment."
            )
        return open_detection(source, seed=seed, classes=classes)
    if task == "segment":
        return open_segmentation(
            source, seed=seed, classes=classes, ignore=ignore, reduce_labels=reduce_labels
        )
    if classes is not None or ignore is not None or reduce_labels:
        raise DataError(
            f"{source} is opened as folders of classes, and classes, ignore and reduce_labels are "
            "about masks and boxes. Leave them out, or say task segment or detect."
        )
    return open_classification(source, seed=seed)


def check_given(data: Any, task: TaskName, **how: Any) -> None:
    """Raises DataError where opened data is to be read otherwise, or for another task."""
    if not isinstance(data, Data):
        return
    if says_something(how):
        raise DataError(f"{', '.join(how)} are said when {data.name} is opened, and it is open.")
    if task not in ("auto", kind_of(data)):
        raise DataError(f"task is {task}, but {data.name} was opened to {kind_of(data)}.")


def says_something(how: Mapping[str, Any]) -> bool:
    """Whether any of `open_data`'s arguments about labels was given; ignoring 0 is one."""
    return any(value is not None and value is not False for value in how.values())


def comes_split(root: Path, task: TaskName) -> bool:
    """Whether the folder itself says what is held out of training."""
    if task == "detect":
        return detection.comes_split(root)
    if task == "segment":
        return not {"val", "test"}.isdisjoint(find_pairs(find_layout(root)).splits)
    return not {"val", "test"}.isdisjoint(find_splits(root))
