"""`open_data`: whatever a person points at, opened for its task."""

from collections.abc import Callable, Mapping, Sequence, Set
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

from mobilevitv2.data.boxes.opening import is_detection, open_detection
from mobilevitv2.data.class_lists import GivenClasses
from mobilevitv2.data.classes.opening import DIGITS, open_classification
from mobilevitv2.data.data_set import Data
from mobilevitv2.data.labels.opening import is_multi_label, open_multi_label
from mobilevitv2.data.masks.opening import is_segmentation, open_segmentation
from mobilevitv2.errors import DataError
from mobilevitv2.tasks import BY_VERB, TASKS

TaskName = Literal["auto", "classify", "segment", "detect", "multi-label"]


class Kind(NamedTuple):
    """A kind of data set."""

    looks_like: Callable[[Path], bool]
    open: Callable[..., Data]
    options: Set[str] = frozenset()  # the arguments of `open_data` about labels that it has


KINDS: dict[TaskName, Kind] = {  # the first that a source looks like counts
    "detect": Kind(is_detection, open_detection, {"classes"}),
    "segment": Kind(is_segmentation, open_segmentation, {"classes", "ignore", "reduce_labels"}),
    "multi-label": Kind(is_multi_label, open_multi_label, {"classes"}),
    "classify": Kind(lambda source: True, open_classification),
}


def kind_of(data: Any) -> TaskName:
    """The task that a data set, a folder, a file or a word looks made for."""
    if isinstance(data, Data):
        return cast(TaskName, TASKS[data.task].verb)
    if data == DIGITS or not isinstance(data, str | Path):
        return "classify"
    source = Path(data).expanduser()
    return next(verb for verb, kind in KINDS.items() if kind.looks_like(source))


def open_data(
    source: str | Path,
    task: TaskName = "auto",
    *,
    seed: int = 0,
    classes: GivenClasses | None = None,
    ignore: int | Sequence[int] | None = None,
    reduce_labels: bool = False,
) -> Data:
    """The data set of a folder or file, as `open_classification`, `open_segmentation`,
    `open_detection` or `open_multi_label` opens it; they explain the last three arguments.
    """
    verb = kind_of(source) if task == "auto" else task
    kind = KINDS.get(verb)
    if kind is None:
        raise DataError(f"task must be auto or one of {', '.join(BY_VERB)}, not {task!r}.")
    options = {"classes": classes, "ignore": ignore, "reduce_labels": reduce_labels}
    given = {name for name, value in options.items() if says_something({name: value})}
    if wrong := sorted(given - kind.options):
        owners = " or ".join(name for name, other in KINDS.items() if given <= other.options)
        raise DataError(
            f"{source} is opened as {BY_VERB[verb].data}; {' and '.join(wrong)} can't be "
            f"given for that. Leave it out, or give task {owners}."
        )
    taken = {name: value for name, value in options.items() if name in kind.options}
    return kind.open(source, seed=seed, **taken)


def check_given(data: Any, task: TaskName, **options: Any) -> None:
    """Raises DataError if opened data is to be read otherwise, or for another task."""
    if not isinstance(data, Data):
        return
    if says_something(options):
        raise DataError(
            f"{', '.join(options)} are given when {data.name} is opened, and it is already open."
        )
    if task not in ("auto", kind_of(data)):
        raise DataError(f"task is {task}, but {data.name} was opened to {kind_of(data)}.")


def says_something(options: Mapping[str, Any]) -> bool:
    """Was any of `open_data`'s arguments about labels given? Ignoring 0 counts."""
    return any(value is not None and value is not False for value in options.values())
