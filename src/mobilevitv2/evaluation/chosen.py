"""Which images a model is measured on, and how the classes of both find each other."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from mobilevitv2.data import Data, kind_of, open_data
from mobilevitv2.data.opening import check_given, says_something
from mobilevitv2.errors import DataError
from mobilevitv2.tasks import TASKS

Split = Literal["auto", "train", "val", "test", "all"]
Progress = Callable[[int, int], None]  # images done, images in all

NAMED = 8  # classes that a message names


@dataclass(frozen=True)
class Chosen:
    """Samples of a data set, and what they are called together."""

    data: Any
    split: str
    samples: list[Any]


def choose(
    source: str | Path | None, data: str | Path | Data, split: Split, task: str, **how: Any
) -> Chosen:
    """The samples to measure the model of `source` on; `how` says what masks and boxes mean."""
    if split not in get_args(Split):
        raise ValueError(f"split must be one of {', '.join(get_args(Split))}, not {split!r}.")
    check_given(data, "auto", **how)
    held_out, row = True, TASKS[task]
    verb: Any = row.verb
    if isinstance(data, Data):
        opened = data
    elif (of_run := _data_of_run(source, data, task, how)) is not None:
        opened = of_run
    else:
        opened = open_data(data, verb, **how)
        held_out = opened.comes_split
    if kind_of(opened) != verb:
        raise DataError(f"the model is for {task}, and {opened.name} isn't. Give {row.data}.")
    if split == "auto":
        split = "all" if not held_out else "val" if opened.test is None else "test"
    if split == "all":
        samples = [sample for part in opened.splits.values() for sample in part]
        return Chosen(opened, split, samples)
    if split not in opened.splits:
        there = ", ".join(opened.splits)
        raise DataError(f"{opened.name} has no {split} split, but {there}. Choose one of them.")
    return Chosen(opened, split, list(opened.splits[split]))


def _data_of_run(
    source: str | Path | None, data: str | Path, task: str, how: dict[str, Any]
) -> Data | None:
    """The data split as when this model was trained on it; None where it was not, or none knows."""
    from mobilevitv2.training.folder import (
        DATA,
        RECIPE,
        check_same_data,
        is_data_of,
        stored_annotations,
    )
    from mobilevitv2.training.recipe import Recipe

    if source is None:
        return None
    run = Path(source).expanduser().parent  # of the bundle
    if not (run / RECIPE).is_file() or not (run / DATA).is_file():
        return None
    if not says_something(how) and is_data_of(run, data):
        how = stored_annotations(run)
    verb: Any = TASKS[task].verb
    opened = open_data(data, verb, seed=Recipe.load(run / RECIPE).seed, **how)
    try:
        check_same_data(run, opened)
    except DataError:
        return None
    return opened


def match_classes(of_model: list[str], of_data: list[str], task: str) -> list[int]:
    """For each class of the data, the number that it has in the model for `task`; by name."""
    if len(set(of_model)) < len(of_model):
        doubled = sorted({name for name in of_model if of_model.count(name) > 1})
        raise DataError(f"the model has several classes of one name: {_listed(doubled)}.")
    unknown = sorted(set(of_data) - set(of_model))
    missing = sorted(set(of_model) - set(of_data))
    if unknown or missing:
        said = []
        if unknown:
            said.append(f"{len(unknown)} only in the data ({_listed(unknown)})")
        if missing:
            said.append(f"{len(missing)} only in the model ({_listed(missing)})")
        nameless = all(name.startswith("LABEL_") for name in of_model)
        hint = (
            "The model's classes have no names: save it with id2label."
            if nameless
            else f"{TASKS[task].rename}; `mobilevitv2 info` lists the model's."
        )
        raise DataError(f"the classes differ: {' and '.join(said)}. {hint}")
    return [of_model.index(name) for name in of_data]


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    return ", ".join(repr(name) for name in names[:NAMED]) + more
