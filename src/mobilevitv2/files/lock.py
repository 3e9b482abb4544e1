"""A folder for one process at a time."""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

UNSUPPORTED = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL)  # by the file system
held: set[str] = set()  # locks of this process, which don't block itself


@contextmanager
def claimed(folder: Path, lock: str) -> Iterator[None]:
    """Make `folder` and hold its file `lock`; folders made here that stay empty are removed.

    The lock dies with the process, however that ends. Raises FileExistsError if it is held already,
    or if `folder` is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"{folder} is a file, not a folder. Name a folder.")
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    path = Path(os.path.realpath(folder)) / lock
    try:
        if str(path) in held:
            raise _in_use(folder)
        descriptor = _locked(path, folder)
        held.add(str(path))
        try:
            yield
        finally:
            held.discard(str(path))
            if sys.platform != "win32":  # which doesn't remove open files
                path.unlink(missing_ok=True)
            os.close(descriptor)
    finally:
        with suppress(OSError):
            for made in missing:
                made.rmdir()


def _locked(path: Path, folder: Path) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if sys.platform == "win32":
                msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
            else:
                fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in UNSUPPORTED:
                os.close(descriptor)
                raise _in_use(folder) from error
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        os.close(descriptor)  # its last holder has just removed the file


def _in_use(folder: Path) -> FileExistsError:
    return FileExistsError(
        f"another process is writing to {folder}. Wait until it ends, or name another folder."
    )
