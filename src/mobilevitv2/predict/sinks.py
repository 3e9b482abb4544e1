"""Files of results for many images: drawings, masks, and labels in the usual formats."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from mobilevitv2.class_names import coco_ids
from mobilevitv2.files.replacing import Place
from mobilevitv2.files.writing import write_atomic
from mobilevitv2.images.finding import Found, output_paths
from mobilevitv2.tasks import check_options, task_named


class Sink:
    """One kind of output, in a folder or a file, for the `found` images.

    `files` are all that may be written, an image's at its number.
    """

    method: ClassVar[str] = "save"  # the result's method that writes it
    suffixes: ClassVar[tuple[str, ...]] = (".jpg", ".jpeg", ".png", ".webp")  # kept in names
    suffix: ClassVar[str] = ".png"  # in place of others

    def __init__(self, found: Sequence[Found], place: Path, classes: Sequence[str]) -> None:
        self.found, self.place, self.classes = found, place, classes
        self.files = output_paths(found, place, suffixes=self.suffixes, suffix=self.suffix)

    def add(self, index: int, result: Any) -> None:
        """Write the result for the image of this number."""
        getattr(result, self.method)(self.files[index])

    def open(self) -> None:
        """Write what comes first."""

    def close(self) -> None:
        """Write what comes last."""


class Drawings(Sink):
    """The images with the results drawn on them."""


class Masks(Sink):
    """Palette PNGs."""

    method = "save_mask"
    suffixes = (".png",)


class YoloFiles(Sink):
    """A text file for each image, and one with the class names."""

    method = "save_yolo"
    suffixes, suffix = (), ".txt"

    def __init__(self, found: Sequence[Found], place: Path, classes: Sequence[str]) -> None:
        super().__init__(found, place, classes)
        self.files.append(place / "classes.txt")

    def open(self) -> None:
        write_atomic(self.files[-1], "".join(f"{name}\n" for name in self.classes).encode())


class CocoFile(Sink):
    """A COCO results file."""

    def __init__(self, found: Sequence[Found], place: Path, classes: Sequence[str]) -> None:
        super().__init__(found, place, classes)
        self.files = [place]
        self.category_ids = coco_ids(classes)
        names = [one.name.stem for one in found]
        numbers = [int(name) for name in names if name.isdecimal()]
        by_name = len(set(numbers)) == len(names)  # all files are named by numbers, as COCO's are
        self.image_ids = numbers if by_name else list(range(1, len(names) + 1))
        self.rows: list[dict[str, Any]] = []

    def add(self, index: int, result: Any) -> None:
        name = self.found[index].name.as_posix()
        rows = result.to_coco(self.image_ids[index], self.category_ids)
        self.rows += [row | {"file_name": name} for row in rows]

    def close(self) -> None:
        write_atomic(self.place, json.dumps(self.rows).encode())


SINKS = {"save": Drawings, "masks": Masks, "yolo": YoloFiles, "coco": CocoFile}  # by option


class Outputs:
    """The requested sinks, by their names in `SINKS`.

    Raises ConfigError for one that isn't for this task, and FileExistsError if a file would be
    overwritten that prediction didn't write or that has changed since.
    """

    def __init__(
        self, found: Sequence[Found], *, task: str, classes: Sequence[str], **where: Path | None
    ) -> None:
        asked = check_options(task_named(task), **where)
        self.sinks = [SINKS[name](found, place, classes) for name, place in asked.items()]
        self.written: dict[Place, list[str]] = {}
        for sink in self.sinks:
            place, name = Place.beside(sink.place, "predict")
            within = [file.relative_to(sink.place) for file in sink.files]
            self.written[place] = [Path(name, file).as_posix() for file in within]
        for place, names in self.written.items():
            place.check(names, overwrite=True)

    def open(self) -> None:
        for sink in self.sinks:
            sink.open()

    def add(self, index: int, result: Any) -> None:
        for sink in self.sinks:
            sink.add(index, result)

    def close(self) -> None:
        for sink in self.sinks:
            sink.close()

    def note(self) -> None:
        """Record what was written: it may be overwritten later."""
        for place, names in self.written.items():
            written = [name for name in names if (place.folder / name).exists()]
            if written:
                place.note({*place.made(), *written})


@contextmanager
def replaced(output: Path | None, maker: str, *, overwrite: bool) -> Iterator[Path | None]:
    """Where to write what finally replaces a file or folder; None for None.

    Raises FileExistsError if anything but an earlier output of this maker is in the way.
    """
    if output is None:
        yield None
        return
    place, name = Place.beside(output, maker)
    files = () if output.is_dir() else (name,)
    with place.replaced(overwrite=overwrite, names=files) as stage:
        yield stage / name
