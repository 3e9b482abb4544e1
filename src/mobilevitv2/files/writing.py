"""Files written whole or not at all."""

import os
import re
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path


def write_atomic(path: str | os.PathLike, data: bytes) -> None:
    """Write a file whole or not at all: on an error the old file stays and no debris is left.

    Makes its folder if there is none.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_together({path: data})


def write_together(files: Mapping[Path, bytes]) -> None:
    """Write several files; none gets its name before all are safely on disk."""
    written: dict[Path, Path] = {}  # temporary file: final name
    try:
        for path, data in files.items():
            temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
            written[temporary] = path
            with temporary.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        for temporary, path in written.items():
            os.replace(temporary, path)
    except BaseException:
        for temporary in written:
            temporary.unlink(missing_ok=True)
        raise


def remove_debris(folder: Path, names: Iterable[str]) -> None:
    """Remove what `write_atomic` left of these files when its process was killed."""
    debris = re.compile(rf"\.({'|'.join(map(re.escape, names))})(\.[0-9a-f]{{8}})?\.tmp")
    for path in folder.iterdir() if folder.is_dir() else ():
        if debris.fullmatch(path.name):
            path.unlink()
