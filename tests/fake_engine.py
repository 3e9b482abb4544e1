"""The engine's C interface without an engine behind it, so that its callers are tested alone."""

import functools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

NATIVE = Path(__file__).parents[1] / "native"
HEADER = NATIVE / "include" / "mobilevitv2.h"


@functools.cache
def fake_engine(interface: int | None = None) -> Path:
    """`fake_engine.c` as a library; without a compiler the test skips, but in CI it fails."""
    compiler = shutil.which("cc")
    if compiler is None:
        if os.environ.get("CI") == "true":
            pytest.fail("there is no C compiler, cc, to make an engine for tests with")
        pytest.skip("there is no C compiler, cc, to make an engine for tests with")
    library = Path(tempfile.mkdtemp()) / "fake_engine.so"
    source = Path(__file__).with_name("fake_engine.c")
    defined = [] if interface is None else [f"-DINTERFACE={interface}"]
    include = f"-I{HEADER.parent}"
    command = [compiler, "-shared", "-fPIC", "-O1", include, *defined, source, "-o", library]
    subprocess.run(command, check=True)
    return library
