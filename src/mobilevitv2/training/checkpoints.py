"""A run's checkpoints on disk: written completely or not at all, checked before they are loaded.

There are two, the last one and the one before. A file whose archive doesn't match its own checksums
is damaged and never loaded; then the previous one is.
"""

import logging
import os
import zipfile
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import CheckpointIO

from mobilevitv2.errors import CheckpointError
from mobilevitv2.training.folder import CHECKPOINTS, NEWEST, PREVIOUS

logger = logging.getLogger(__name__)


class SafeCheckpointIO(CheckpointIO):
    """How Lightning writes and reads checkpoints here."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike, storage_options: Any = None
    ) -> None:
        """Write beside the old file, then swap; the old one becomes the previous one."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.tmp")
        try:
            with temporary.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            if path.exists():
                os.replace(path, path.with_name(PREVIOUS))
            os.replace(temporary, path)
        except BaseException as error:
            temporary.unlink(missing_ok=True)
            # torch.save reports a full disk as a RuntimeError of its archive
            if isinstance(error, OSError | RuntimeError):
                reason = getattr(error, "strerror", None) or "the disk may be full"
                raise OSError(
                    f"{path} couldn't be written ({reason}). The checkpoints before it are intact: "
                    "free some space and resume the run."
                ) from error
            raise

    def load_checkpoint(
        self, path: str | os.PathLike, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """A checked checkpoint; tensors and plain values only, no code."""
        return read_checkpoint(Path(path), map_location)

    def remove_checkpoint(self, path: str | os.PathLike) -> None:
        Path(path).unlink(missing_ok=True)


def read_checkpoint(path: Path, map_location: Any = "cpu") -> dict[str, Any]:
    """Raises CheckpointError where the file isn't what was written."""
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise ValueError(f"{damaged} in it has changed")
        return torch.load(path, map_location=map_location, weights_only=True)
    except Exception as error:  # a damaged archive raises almost anything
        raise CheckpointError(f"{path} is damaged or cut short ({error}).") from error


def newest_checkpoint(out: Path) -> tuple[Path, dict[str, Any]]:
    """A run's last checkpoint that can be read; warns about a damaged one and skips it."""
    problems = []
    paths = [out / CHECKPOINTS / name for name in (NEWEST, PREVIOUS)]
    for path in filter(Path.is_file, paths):
        try:
            checkpoint = read_checkpoint(path)
        except CheckpointError as error:
            problems.append(str(error))
            continue
        for problem in problems:
            logger.warning("%s The run continues from the previous checkpoint.", problem)
        return path, checkpoint
    if problems:
        raise CheckpointError(f"{' '.join(problems)} There is no other: train anew with overwrite.")
    raise CheckpointError(
        f"{out} has no checkpoint to resume from: the run was stopped before the first was "
        "written. Train anew with overwrite."
    )
