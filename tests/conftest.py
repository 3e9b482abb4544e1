"""What the tests share: one thread each, what they skip without, and the real images."""

import os
import shutil
import tempfile
from importlib.util import find_spec
from pathlib import Path

import pytest
from once import FOLDER

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny models; and the workers share the cores

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """One file starts no workers, which import torch before their first test."""
    chosen = config.args_source is config.ArgsSource.ARGS and len(config.args) == 1
    return 0 if chosen and not Path(config.args[0].partition("::")[0]).is_dir() else None


def pytest_configure(config: pytest.Config) -> None:
    if FOLDER not in os.environ:  # the workers are told of the first process's
        os.environ[FOLDER] = folder = tempfile.mkdtemp(prefix="mobilevitv2-tests-")
        config.add_cleanup(lambda: shutil.rmtree(os.environ.pop(FOLDER, folder), True))


def pytest_runtest_setup(item: pytest.Item) -> None:
    packages = [package for mark in item.iter_markers("needs") for package in mark.args]
    if absent := [package for package in packages if find_spec(package) is None]:
        pytest.skip(f"not installed: {', '.join(absent)}")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real images beside the checkout; absent, the test skips, but in CI it fails."""
    if not SHARED_DATA.is_dir():
        message = f"the real images are not here: {SHARED_DATA} is missing"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return SHARED_DATA
