"""Which images a model is measured on."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args

from mobilevitv2.data import Data, open_data
from mobilevitv2.data.opening import check_given, says_something
from mobilevitv2.errors import DataError
from mobilevitv2.tasks import TASKS
from mobilevitv2.training import folder
from mobilevitv2.training.recipe import Recipe

Split = Literal["auto", "train", "val", "test", "all"]
Progress = Callable[[int, int], None]  # images done, images in all


def choose(
    source: str | Path | None, data: str | Path | Data, split: Split, task: str, **how: Any
) -> tuple[Data, str, list[Any]]:
    """The data, the split and the samples to measure the model of `source` on.

    `how` says what masks and boxes mean.
    """
    if split not in get_args(Split):
        raise ValueError(f"split must be one of {', '.join(get_args(Split))}, not {split!r}.")
    check_given(data, "auto", **how)
    row = TASKS[task]
    held_out = True
    if not isinstance(data, Data):
        data, held_out = _open(source, data, row.verb, how)
    if data.task != task:
        raise DataError(f"the model is for {task}, and {data.name} isn't. Give {row.data}.")
    if split == "auto":
        split = "all" if not held_out else "val" if data.test is None else "test"
    if split == "all":
        return data, split, [sample for part in data.splits.values() for sample in part]
    if split not in data.splits:
        there = ", ".join(data.splits)
        raise DataError(f"{data.name} has no {split} split, but {there}. Choose one of them.")
    return data, split, list(data.splits[split])


def _open(
    source: str | Path | None, data: str | Path, verb: Any, how: dict[str, Any]
) -> tuple[Data, bool]:
    """The data, split as in the run that trained the model, if any; does it hold images out?"""
    run = Path(source).expanduser().parent if source is not None else None  # of the bundle
    if run is None or not all((run / name).is_file() for name in (folder.RECIPE, folder.DATA)):
        opened = open_data(data, verb, **how)
        return opened, opened.comes_split
    if not says_something(how) and folder.is_data_of(run, data):
        how = folder.stored_annotations(run)
    opened = open_data(data, verb, seed=Recipe.load(run / folder.RECIPE).seed, **how)
    try:
        folder.check_same_data(run, opened)
    except DataError:  # the model was trained on other data
        return opened, opened.comes_split
    return opened, True
