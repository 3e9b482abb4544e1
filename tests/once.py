"""What takes seconds to make is made once, for all processes of a test run."""

import functools
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from filelock import FileLock

FOLDER = "MOBILEVITV2_TEST_RUN"  # the environment's name for the folder that conftest.py makes
T = TypeVar("T")


def once(make: Callable[[Path], T]) -> Callable[[], T]:
    """`make` fills a folder; whoever asks later, in whichever process, gets what it returned."""

    @functools.cache
    def made() -> T:
        folder = Path(os.environ[FOLDER]) / f"{make.__module__}.{make.__name__}"
        answer = Path(f"{folder}.pickle")
        with FileLock(f"{folder}.lock"):
            if not answer.is_file():
                shutil.rmtree(folder, ignore_errors=True)  # of one that failed
                folder.mkdir()
                answer.write_bytes(pickle.dumps(make(folder)))
        return pickle.loads(answer.read_bytes())

    return made
