"""Where the results of many images go: drawings, masks, and label files in the field's formats."""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mobilevitv2.class_names import coco_ids
from mobilevitv2.errors import ConfigError
from mobilevitv2.files.replacing import Place
from mobilevitv2.files.writing import write_atomic
from mobilevitv2.images.finding import Found, output_paths
from mobilevitv2.results import Detection, Result, Segmentation

TASK_OF = {"masks": "segmentation", "yolo": "detection", "coco": "detection"}


class Outputs:
    """Files for each of the `found` images, in the folders that are given.

    `save` gets the images with the result drawn on them. Of segmenters `masks` gets palette PNGs;
    of detectors `yolo` gets a text file for each image, and the file `coco` becomes COCO's list of
    results. Raises ConfigError for what a model of this task doesn't give, and FileExistsError
    where a file of another maker, or one that has changed since, would be overwritten.
    """

    def __init__(
        self,
        found: Sequence[Found],
        *,
        task: str,
        classes: Sequence[str],
        save: Path | None = None,
        masks: Path | None = None,
        yolo: Path | None = None,
        coco: Path | None = None,
    ) -> None:
        asked = {"masks": masks, "yolo": yolo, "coco": coco}
        if wrong := [name for name, place in asked.items() if place and TASK_OF[name] != task]:
            raise ConfigError(
                f"{wrong[0]} is for models for {TASK_OF[wrong[0]]}, and this one is for {task}."
            )
        self.found = found
        self.drawn = output_paths(found, save) if save else None
        self.masks = output_paths(found, masks, suffixes=(".png",)) if masks else None
        self.yolo = output_paths(found, yolo, suffixes=(), suffix=".txt") if yolo else None
        self.coco = coco
        self.category_ids = coco_ids(classes)
        self.image_ids = _image_ids(found) if coco else []
        self.rows: list[dict[str, Any]] = []
        self.places: dict[Place, list[str]] = {}  # and what is written there
        for folder, paths in ((save, self.drawn), (masks, self.masks), (yolo, self.yolo)):
            if folder and paths:
                paths = [*paths, folder / "classes.txt"] if folder == yolo else paths
                place, name = place_of(folder)
                self.places[place] = [
                    f"{name}/{path.relative_to(folder).as_posix()}" for path in paths
                ]
        if coco:
            place, name = place_of(coco)
            self.places[place] = [name]
        for place, names in self.places.items():
            place.check(names, overwrite=True)
        self.older = {p: sorted({*p.made()} - {*names}) for p, names in self.places.items()}
        if yolo:
            yolo.mkdir(parents=True, exist_ok=True)
            names = "".join(f"{name}\n" for name in classes)
            write_atomic(yolo / "classes.txt", names.encode())

    def add(self, index: int, result: Result) -> None:
        """Write what belongs to the image of this number."""
        if self.drawn:
            result.save(self.drawn[index])
        if self.masks and isinstance(result, Segmentation):
            result.save_mask(self.masks[index])
        if isinstance(result, Detection):
            if self.yolo:
                result.save_yolo(self.yolo[index])
            if self.coco:
                name = self.found[index].name.as_posix()
                rows = result.to_coco(self.image_ids[index], self.category_ids)
                self.rows += [row | {"file_name": name} for row in rows]

    def close(self) -> None:
        """Write what is about all images."""
        if self.coco:
            self.coco.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(self.coco, json.dumps(self.rows).encode())

    def note(self) -> None:
        """List what was written, which may be overwritten another time."""
        for place, names in self.places.items():
            written = [name for name in names if (place.folder / name).exists()]
            if written:
                place.note([*self.older[place], *written])


def place_of(output: Path, maker: str = "predict") -> tuple[Place, str]:
    """Where the list of an output's files is kept, beside it, and what it is called there."""
    real = Path(os.path.realpath(output))
    return Place(real.parent, f"{maker}.{real.name}"), real.name


@contextmanager
def replaced(output: Path | None, maker: str, *, overwrite: bool) -> Iterator[Path | None]:
    """Where to write what takes the place of a file or folder in the end; None for None.

    Raises FileExistsError where anything but an earlier output of this maker is in the way.
    """
    if output is None:
        yield None
        return
    place, name = place_of(output, maker)
    files = () if output.is_dir() else (name,)
    with place.replaced(overwrite=overwrite, names=files) as stage:
        yield stage / name


def _image_ids(found: Sequence[Found]) -> list[int]:
    """The numbers by which all files are called, as COCO does; else counted from 1."""
    names = [one.name.stem for one in found]
    numbers = [int(name) for name in names if name.isdecimal()]
    return numbers if len(set(numbers)) == len(names) else list(range(1, len(names) + 1))
