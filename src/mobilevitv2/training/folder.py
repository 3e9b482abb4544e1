"""A run's folder: what may be in the way, what is written first, what a resumed run reads."""

import json
import os
from collections.abc import Iterable, Sequence
from hashlib import sha256
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from mobilevitv2.config import CONFIG_NAME
from mobilevitv2.data import Data
from mobilevitv2.errors import ConfigError, DataError, first_of
from mobilevitv2.files.replacing import Place
from mobilevitv2.files.source import WEIGHTS_NAME, read_json
from mobilevitv2.files.writing import remove_debris, write_atomic
from mobilevitv2.processor_settings import FILE_NAME
from mobilevitv2.report.charts import CURVES
from mobilevitv2.training.recipe import Recipe

RECIPE, DATA = "recipe.yaml", "data.json"
BEST, LAST, CHECKPOINTS = "best", "last", "checkpoints"
NEWEST, PREVIOUS = "last.ckpt", "previous.ckpt"
BUNDLE = (CONFIG_NAME, WEIGHTS_NAME, FILE_NAME)
FILES = (  # a run's, besides tensorboard's events
    *(RECIPE, DATA, "metrics.csv", "report.html", "tensorboard/hparams.yaml"),
    *(f"report/{chart}.png" for chart in (*CURVES, "confusion", "precision_recall")),
    *(f"{folder}/{name}" for folder in (BEST, LAST) for name in BUNDLE),
    *(f"{CHECKPOINTS}/{name}" for name in (NEWEST, PREVIOUS)),
)
FREE_TO_CHANGE = ("workers", "threads")  # on resuming: they don't affect the result


def place_of(out: Path) -> Place:
    """Where a run is made."""
    return Place(out, "train", known=_run_files)


def check_room(place: Place, *, overwrite: bool, inputs: Iterable[Path] = ()) -> None:
    """Raises FileExistsError where a run would remove something that has to stay."""
    out = place.folder
    if not overwrite and (_has_checkpoint(place.stage) or not place.is_free()):
        raise FileExistsError(
            f"{out} exists already: resume continues its run, overwrite replaces it. Or give "
            "another folder."
        )
    if place.is_free():
        return
    if not _is_run(out):
        raise FileExistsError(f"{out} isn't a training run's folder, so it isn't overwritten.")
    place.check(FILES, overwrite=True, inputs=inputs)


def make_room(place: Place, recipe: Recipe, data: Data) -> Path:
    """The folder of the new run, with its settings in it; call `check_room` first.

    It lies beside an old run, which stays until the new one is complete.
    """
    place.finish()
    place.discard()
    run = place.folder if place.is_free() else place.stage
    if run == place.folder:
        place.note((), finished=False)
    write_settings(run, recipe, data)
    if run == place.folder:
        place.note([RECIPE], finished=False)
    return run


def write_settings(out: Path, recipe: Recipe, data: Data) -> None:
    """Write recipe.yaml and data.json: what goes into the run."""
    out.mkdir(parents=True, exist_ok=True)
    write_atomic(out / DATA, json.dumps(_listing(data), indent=1).encode())
    write_atomic(out / RECIPE, recipe.to_yaml().encode())


def room_of_run(place: Place) -> Path:
    """The folder of the run to resume, without what a killed one left half-written."""
    place.finish()
    leave_room(place)
    out = place.stage if place.stage.is_dir() else place.folder
    if not (out / RECIPE).is_file():
        raise FileNotFoundError(f"{out} has no training run to resume. Train without resume.")
    if _is_run(place.folder):
        remove_all_debris(out)
    return out


def leave_room(place: Place) -> None:
    """After a failure, remove what can't be resumed."""
    if not _has_checkpoint(place.stage):
        place.discard()


def settle(place: Place, run: Path) -> None:
    """The run is complete: it takes the place of the old one."""
    if run == place.stage:
        place.swap()
        remove_all_debris(place.folder)
    else:
        place.note(place.made())


def remove_all_debris(out: Path) -> None:
    """Remove what a killed run left half-written."""
    for folder, names in groupby(sorted(FILES), os.path.dirname):
        remove_debris(out / folder, map(os.path.basename, names))


def _has_checkpoint(out: Path) -> bool:
    return any((out / CHECKPOINTS / name).is_file() for name in (NEWEST, PREVIOUS))


def _run_files(out: Path) -> list[str]:
    """The files in a run's folder that have a run's names."""
    events = (out / "tensorboard").glob("events.out.tfevents.*")
    names = [*FILES, *(f"tensorboard/{path.name}" for path in events)]
    return [name for name in names if os.path.lexists(out / name)] if _is_run(out) else []


def _is_run(out: Path) -> bool:
    """By its record, else by a recipe.yaml and a data.json as a run writes them."""
    if place_of(out).record.is_file():
        return True
    try:
        stored, listing = Recipe.load(out / RECIPE), read_json(out / DATA)
        written = stored.to_yaml() == (out / RECIPE).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return False
    return written and listing.keys() >= {"name", "root", "classes", "fingerprints", "splits"}


def stored_recipe(out: Path, overrides: dict[str, Any]) -> Recipe:
    """The recipe of a run to resume. Raises ConfigError where `overrides` would change it."""
    stored = Recipe.load(out / RECIPE)
    changed = Recipe.load(stored, **overrides)
    for name in overrides.keys() - set(FREE_TO_CHANGE):
        old, new = getattr(stored, name), getattr(changed, name)
        if new != old:
            raise ConfigError(
                f"the run in {out} has {name} {old}, not {new}. Resume it unchanged, or train anew "
                "in another folder."
            )
    return changed


def stored_annotations(out: Path) -> dict[str, Any]:
    """What labels meant to the run in `out`, as arguments of `open_data`."""
    return read_json(out / DATA).get("annotations") or {}


def is_data_of(out: Path, source: str | Path) -> bool:
    """Whether the run in `out` was trained on this very folder."""
    root = read_json(out / DATA)["root"]
    return root is not None and Path(root).resolve() == Path(source).expanduser().resolve()


def check_same_data(out: Path, data: Data) -> None:
    """Raises DataError where the data isn't what the run in `out` began with."""
    before, now = read_json(out / DATA), _listing(data)
    for split in now["splits"]:
        if before["fingerprints"].get(split) != now["fingerprints"][split]:
            raise DataError(
                f"the {split} images of {data.name} aren't those with which the run in {out} "
                "began. Restore them, or train anew in another folder."
            )
    for what in ("classes", "annotations"):
        if before.get(what) != now[what]:
            raise DataError(
                f"the classes of {data.name} aren't those with which the run in {out} began "
                f"({first_of(before['classes'])}). Give the same classes, ignore and "
                "reduce_labels, or none of them; or train anew in another folder."
            )


def note_broken(out: Path, broken: dict[str, str]) -> None:
    """Add to data.json the images that couldn't be decoded in training, and why."""
    listing = read_json(out / DATA) | {"broken": broken}
    write_atomic(out / DATA, json.dumps(listing, indent=1).encode())


def name_of(data: Data, split: str, index: int) -> str:
    """A sample's path, relative to the data set where it lies in it; the digits have numbers."""
    return data.relative(data.splits[split][index][0]) or f"{split} {index}"


def _listing(data: Data) -> dict[str, Any]:
    return {
        "name": data.name,
        "root": None if data.root is None else str(data.root),
        "classes": data.classes,
        "annotations": data.annotations(),
        "counts": data.counts(),
        "strays": data.strays,
        "hidden": data.hidden,
        "unreadable": data.unreadable,
        "fingerprints": {name: _fingerprint(data, split) for name, split in data.splits.items()},
        "splits": {
            name: [[data.relative(sample[0]), data.target(sample)] for sample in split]
            for name, split in data.splits.items()
        },
    }


def _fingerprint(data: Data, samples: Sequence[Any]) -> str:
    """A digest of names and labels; of pixels only where there are no names."""
    digest = sha256()
    for sample in samples:
        name = data.relative(sample[0])
        content = name.encode() if name else np.asarray(sample[0]).tobytes()
        digest.update(content + f"\n{data.target(sample)}\n".encode())
    return digest.hexdigest()
