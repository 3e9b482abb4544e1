"""What is written is whole or not there at all, also on a full disk."""

import contextlib
import errno
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch

from mobilevitv2.checkpoint.files import write_weights
from mobilevitv2.config import MobileViTV2Config
from mobilevitv2.files.writing import write_atomic, write_together
from mobilevitv2.model.classification import MobileViTV2ForImageClassification

SMALL = {"width_multiplier": 0.5, "num_labels": 4}


@pytest.fixture(scope="module")
def model() -> MobileViTV2ForImageClassification:
    return MobileViTV2ForImageClassification(MobileViTV2Config(**SMALL))


def test_written_tensors_are_contiguous_and_the_header_is_as_transformers_wants_it(tmp_path):
    odd = torch.rand(4, 3, 3, 3).to(memory_format=torch.channels_last)
    view = torch.rand(10, 4)[2:4]
    write_weights({"odd": odd, "view": view}, tmp_path / "w.safetensors", {"note": "mine"})
    with safetensors.safe_open(tmp_path / "w.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt", "note": "mine"}
        assert torch.equal(file.get_tensor("odd"), odd)
    write_weights({"odd": odd, "view": view}, tmp_path / "w.pt")
    written = torch.load(tmp_path / "w.pt")
    assert written["odd"].is_contiguous()
    assert written["view"].untyped_storage().nbytes() == view.numel() * 4  # not the whole table


@contextlib.contextmanager
def size_limit(folder: Path):
    """No file may become larger than 64 KiB; Python gets EFBIG for the attempt."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (65536, old[1]))
    try:
        yield folder, errno.EFBIG
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, handler)


@contextlib.contextmanager
def tiny_disk(folder: Path):
    """A disk of 1 MiB."""
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("mounting a small disk needs root and a kernel that lets it")
    try:
        yield folder, errno.ENOSPC
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("full_disk", [size_limit, tiny_disk])
@pytest.mark.parametrize("old", [True, False])
def test_a_full_disk_leaves_the_old_bundle_and_no_debris(model, tmp_path, full_disk, old):
    before = {"config.json": b"old config", "model.safetensors": b"old weights"} if old else {}
    with full_disk(tmp_path) as (folder, code):
        for name, content in before.items():
            (folder / name).write_bytes(content)
        with pytest.raises(OSError) as error:  # noqa: PT011 - its number is looked at below
            model.save_pretrained(folder)
        assert error.value.errno == code
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_a_full_disk_leaves_the_old_weights_and_no_debris(model, tmp_path, suffix):
    path = tmp_path / f"w{suffix}"
    path.write_bytes(b"old")
    with size_limit(tmp_path), pytest.raises(OSError):  # noqa: PT011 - any will do
        write_weights(model.state_dict(), path)
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [(path.name, b"old")]


def test_no_file_takes_its_name_before_all_are_written(tmp_path):
    missing = tmp_path / "missing" / "b"
    with pytest.raises(FileNotFoundError):
        write_together({tmp_path / "a": b"1", missing: b"2"})
    assert list(tmp_path.iterdir()) == []


def test_writing_over_a_link_leaves_what_it_points_to(tmp_path):
    """In the hub's cache every file is a link to a blob that other revisions share."""
    (tmp_path / "blob").write_bytes(b"shared")
    (tmp_path / "config.json").symlink_to("blob")
    write_atomic(tmp_path / "config.json", b"new")
    assert (tmp_path / "blob").read_bytes() == b"shared"
    assert (tmp_path / "config.json").read_bytes() == b"new"


def test_every_process_writes_the_same_bytes(model, tmp_path):
    model.save_pretrained(tmp_path / "bundle")
    code = (
        "import sys\n"
        "from mobilevitv2.checkpoint.files import write_weights\n"
        "from mobilevitv2.model.classification import MobileViTV2ForImageClassification as Model\n"
        "model = Model.from_pretrained(sys.argv[1])\n"
        "model.save_pretrained(sys.argv[2])\n"
        "notes = {f'note {i}': 'ü' for i in range(9)}\n"
        "write_weights(model.state_dict(), sys.argv[2] + '/noted.safetensors', notes)\n"
    )
    saved = []
    for seed in ("1", "2"):
        folder = tmp_path / seed
        environment = os.environ | {"PYTHONHASHSEED": seed}
        command = [sys.executable, "-c", code, str(tmp_path / "bundle"), str(folder)]
        subprocess.run(command, env=environment, check=True)
        saved.append({file.name: file.read_bytes() for file in folder.iterdir()})
    assert len(saved[0]) == 3
    assert saved[0] == saved[1]
    with safetensors.safe_open(tmp_path / "1" / "noted.safetensors", "pt") as file:
        assert len(file.metadata()) == 10
        assert file.metadata()["note 8"] == "ü"
