"""New files replace old ones, and anything else in the folder stays.

A record in the folder lists what a command made there. Only that is ever removed, if it is
unchanged and the command doesn't read it, and only once the new files are complete beside it.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path
from typing import Any, Self

from mobilevitv2.files.lock import claimed
from mobilevitv2.files.source import read_json
from mobilevitv2.files.writing import remove_debris, write_atomic

Files = dict[str, str | None]  # path in a folder, with "/": sha256, or None if it doesn't matter


@dataclass(frozen=True)
class Place:
    """A folder, which others may use too, and what one command makes in it.

    `maker` names the command and, if several of its outputs may share a folder, also the output,
    such as "export.model.onnx". `known` finds by name what it made in a folder if it isn't finished
    or kept no record.
    """

    folder: Path
    maker: str
    known: Callable[[Path], Iterable[str]] | None = None

    @classmethod
    def beside(cls, output: Path, maker: str, **options: Any) -> tuple[Self, str]:
        """The place of one file or folder among others, and its name there."""
        real = Path(os.path.realpath(output))
        return cls(real.parent, f"{maker}.{real.name}", **options), real.name

    @property
    def record(self) -> Path:
        """The list of the files."""
        return self.folder / f"{self._prefix}json"

    @property
    def stage(self) -> Path:
        """A folder inside, where the new files are made."""
        return self.folder / f"{self._prefix}new"

    def is_free(self) -> bool:
        """Whether the folder is missing or empty, except for what this module keeps there."""
        if not self.folder.is_dir():
            return not os.path.lexists(self.folder)
        own = (self._prefix, f".{self._prefix}")
        return all(path.name.startswith(own) for path in self.folder.iterdir())

    def claimed(self) -> AbstractContextManager[None]:
        """Hold the place; raises FileExistsError if another process does."""
        return claimed(self.folder, f"{self._prefix}lock")

    def made(self) -> list[str]:
        """The files of this maker that are still there and unchanged."""
        return self._unchanged(self._recorded())

    def check(
        self, names: Iterable[str] = (), *, overwrite: bool, inputs: Iterable[Path] = ()
    ) -> list[str]:
        """Raise FileExistsError if `names` can't be written or the old files can't be removed.

        `inputs` are the files that the command reads. Nothing is touched. Returns `made()`.
        """
        ours = self.made()
        for name in names:
            path = self.folder / name
            for above in list(path.parents)[: name.count("/")]:
                if os.path.lexists(above) and (above.is_symlink() or not above.is_dir()):
                    raise FileExistsError(f"{above} is in the way: expected a folder there.")
            if not os.path.lexists(path):
                continue
            if not overwrite:
                raise FileExistsError(f"{path} exists already. Name another, or overwrite it.")
            if name not in ours:
                raise FileExistsError(
                    f"{path} was not made by this command, or has changed since, so it is not "
                    "overwritten. Move it away, or name another place."
                )
        old = [*(self.folder / name for name in ours), *self.stage.rglob("*")]
        read = {_identity(path) for path in inputs if path.exists()} if old else set()
        for path in old:
            if path.is_file() and _identity(path) in read:
                raise FileExistsError(f"{path} is an input, so it is not replaced. Name another.")
        return ours

    def note(self, names: Iterable[str], *, finished: bool = True) -> None:
        """Record these files as they are; until finished, all `known` ones count as made too."""
        self._write({name: _digest(self.folder / name) for name in names}, finished=finished)

    def reopen(self, fixed: Iterable[str]) -> None:
        """Record that the work isn't finished any more; `fixed` files stay recorded as made."""
        recorded = self._recorded()
        self._write({name: recorded[name] for name in fixed if name in recorded}, finished=False)

    def swap(self, *, overwrite: bool = True, inputs: Iterable[Path] = ()) -> None:
        """Replace the old files with those in the stage, after a `check`.

        If this is interrupted, `finish` completes it.
        """
        new: Files = {name: _digest(self.stage / name) for name in files_in(self.stage)}
        ours, recorded = self.check(new, overwrite=overwrite, inputs=inputs), self._recorded()
        self._write(new, replaced={name: recorded[name] for name in ours})
        self.finish()

    def finish(self) -> None:
        """Complete an interrupted `swap`."""
        remove_debris(self.folder, [self.record.name])
        record = self._read()
        if "replaced" not in record:  # nothing was interrupted
            return
        new = record["files"]
        for name in self._unchanged(record["replaced"]):
            if name not in new or (self.stage / name).exists():  # else it is the new file
                self._remove(name)
        for name in new:
            if (self.stage / name).exists():
                (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
                os.replace(self.stage / name, self.folder / name)
        self._write(new)
        self.discard()

    def discard(self) -> None:
        """Remove the stage with all its files."""
        if self.stage.is_dir():
            shutil.rmtree(self.stage)

    @contextmanager
    def replaced(
        self, *, overwrite: bool, names: Iterable[str] = (), inputs: Iterable[Path] = ()
    ) -> Iterator[Path]:
        """An empty folder, whose files replace the old ones if all goes well.

        Raises FileExistsError before anything is touched: for `names`, which may be only some of
        the files, before the work.
        """
        inputs = list(inputs)
        with self.claimed():
            if overwrite or self._is_swapping():  # what was decided then holds
                self.finish()
            self.check(names, overwrite=overwrite, inputs=inputs)
            self.discard()
            self.stage.mkdir()
            try:
                yield self.stage
                self.swap(overwrite=overwrite, inputs=inputs)
            except BaseException:
                if not self._is_swapping():
                    self.discard()
                raise

    @property
    def _prefix(self) -> str:
        return f".mobilevitv2.{self.maker}."

    def _read(self) -> dict[str, Any]:
        return read_json(self.record) if self.record.is_file() else {}

    def _is_swapping(self) -> bool:
        return "replaced" in self._read()

    def _recorded(self) -> Files:
        record = self._read()
        known = self.known(self.folder) if self.known and not record.get("finished") else ()
        files: Files = record.get("files", {})
        return dict.fromkeys(known) | files

    def _unchanged(self, files: Files) -> list[str]:
        root = os.path.realpath(self.folder)
        return [name for name, digest in files.items() if _is_ours(root, name, digest)]

    def _write(self, files: Files, **more: Any) -> None:
        values = {"finished": True, "files": files, **more}
        write_atomic(self.record, json.dumps(values, indent=1).encode())

    def _remove(self, name: str) -> None:
        path = self.folder / name
        path.unlink()
        with suppress(OSError):  # at the first folder that isn't empty
            for folder in list(path.parents)[: name.count("/")]:
                folder.rmdir()


def files_in(folder: Path) -> list[str]:
    """The paths of all files below a folder, with "/"."""
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if not p.is_dir())


def _is_ours(root: str, name: str, digest: str | None) -> bool:
    """Whether it is an unchanged plain file inside the folder, not reached through a link."""
    path = Path(root, name)
    plain = path.is_file() and os.path.realpath(path) == str(path)
    return plain and (digest is None or _digest(path) == digest)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def _identity(path: Path) -> tuple[int, int]:
    """The same for all spellings of a path and all links to it."""
    stat = path.stat()
    return stat.st_dev, stat.st_ino
