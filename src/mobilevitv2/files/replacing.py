"""New files in the place of old ones, without harm to anything that others put there.

A record in the folder lists what a command made there. Only that is ever removed, as long as it is
unchanged and the command doesn't read it; and only once the new files stand whole beside it.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path
from typing import Any

from mobilevitv2.files.claim import claimed
from mobilevitv2.files.source import read_json
from mobilevitv2.files.writing import remove_debris, write_atomic

Files = dict[str, str | None]  # paths in a folder, with "/", to sha256; None: by name alone


@dataclass(frozen=True)
class Place:
    """A folder, which others may use too, and what one command makes in it.

    `maker` names the command; where several of its outputs may share a folder, also the output,
    such as "export.model.onnx". `known` finds by name what it made in a folder where it isn't done,
    or where it kept no record.
    """

    folder: Path
    maker: str
    known: Callable[[Path], Iterable[str]] | None = None

    @property
    def record(self) -> Path:
        """Lists the files."""
        return self.folder / f".mobilevitv2.{self.maker}.json"

    @property
    def stage(self) -> Path:
        """The folder in the folder where the new files are made."""
        return self.folder / f".mobilevitv2.{self.maker}.new"

    def is_free(self) -> bool:
        """Whether the folder holds nothing, or nothing but what this module keeps there."""
        if not self.folder.is_dir():
            return not os.path.lexists(self.folder)
        own = f".mobilevitv2.{self.maker}."
        return all(path.name.startswith((own, f".{own}")) for path in self.folder.iterdir())

    def claimed(self) -> AbstractContextManager[None]:
        """Hold the place; raises FileExistsError where another process does."""
        return claimed(self.folder, self._lock)

    def made(self) -> list[str]:
        """Those files of this maker that are still there and unchanged."""
        return self._unchanged(self._recorded())

    def check(
        self, names: Iterable[str] = (), *, overwrite: bool, inputs: Iterable[Path] = ()
    ) -> None:
        """Raise FileExistsError where `names` can't be written, or the old files not removed.

        `inputs` are the files that the command reads. Nothing is touched.
        """
        ours = set(self.made())
        for name in names:
            path = self.folder / name
            for above in list(path.parents)[: name.count("/")]:
                if os.path.lexists(above) and (above.is_symlink() or not above.is_dir()):
                    raise FileExistsError(f"{above} is in the way: a folder is to be made there.")
            if not os.path.lexists(path):
                continue
            if not overwrite:
                raise FileExistsError(
                    f"{path} exists already. Name another place, or overwrite it."
                )
            if name not in ours:
                raise FileExistsError(
                    f"{path} was not made by this command, or has changed since, so it is not "
                    "overwritten. Move it away, or name another place."
                )
        if not ours and not self.stage.exists():
            return
        read = {_identity(path): path for path in inputs if path.exists()}
        old = [self.folder / name for name in ours]
        old += [path for path in self.stage.rglob("*") if path.is_file()]
        for path in old:
            if _identity(path) in read:
                raise FileExistsError(
                    f"{path} is needed for what is to be made, so it is not overwritten. Name "
                    "another place."
                )

    def note(self, names: Iterable[str], *, finished: bool = True) -> None:
        """Write the record: these files as they are now; what else is made, if it isn't finished.

        Until then everything `known` counts as made, too.
        """
        files: Files = {name: _digest(self.folder / name) for name in names}
        self._write(files, finished=finished)

    def reopen(self, fixed: Iterable[str]) -> None:
        """Say that what was finished isn't any more; but `fixed` files stay as they were made."""
        recorded = self._recorded()
        files = {name: recorded[name] for name in fixed if name in recorded}
        self._write(files, finished=False)

    def swap(self, *, overwrite: bool = True, inputs: Iterable[Path] = ()) -> None:
        """Remove the old files and move the stage's in, after a `check`.

        What is interrupted here, `finish` takes to its end.
        """
        new: Files = {name: _digest(self.stage / name) for name in files_in(self.stage)}
        self.check(new, overwrite=overwrite, inputs=inputs)
        recorded = self._recorded()
        self._write(new, replaced={name: recorded[name] for name in self._unchanged(recorded)})
        self.finish()

    def finish(self) -> None:
        """Take a `swap` that was interrupted to its end."""
        remove_debris(self.folder, [self.record.name])
        record = read_json(self.record) if self.record.is_file() else {}
        if "replaced" not in record:
            return
        new = record["files"]
        for name in self._unchanged(record["replaced"]):
            if name not in new or (self.stage / name).exists():  # else it is the new one
                self._remove(name)
        for name in new:
            if (self.stage / name).exists():
                (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
                os.replace(self.stage / name, self.folder / name)
        self._write(new)
        self.discard()

    def discard(self) -> None:
        """Remove the stage with all that is in it."""
        if self.stage.is_dir():
            shutil.rmtree(self.stage)

    @contextmanager
    def replaced(
        self, *, overwrite: bool, names: Iterable[str] = (), inputs: Iterable[Path] = ()
    ) -> Iterator[Path]:
        """An empty folder, whose files take the place of the old ones if all goes well.

        Raises FileExistsError before anything is touched; so for `names` that are known, which
        are only some, before the work.
        """
        inputs = list(inputs)
        with self.claimed():
            if overwrite:
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
    def _lock(self) -> str:
        return f".mobilevitv2.{self.maker}.lock"

    def _is_swapping(self) -> bool:
        return self.record.is_file() and "replaced" in read_json(self.record)

    def _recorded(self) -> Files:
        record = read_json(self.record) if self.record.is_file() else {}
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
        with suppress(OSError):  # until the first folder that is not empty
            for folder in list(path.parents)[: name.count("/")]:
                folder.rmdir()


def files_in(folder: Path) -> list[str]:
    """The paths of all files below a folder, with "/"."""
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if not p.is_dir())


def _is_ours(root: str, name: str, digest: str | None) -> bool:
    """Whether it is a plain file in its folder, not behind a link or above, and unchanged."""
    path = Path(root, name)
    plain = path.is_file() and os.path.realpath(path) == str(path)
    return plain and (digest is None or _digest(path) == digest)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def _identity(path: Path) -> tuple[int, int]:
    """The same for all spellings of a path, and links to it."""
    stat = path.stat()
    return stat.st_dev, stat.st_ino
