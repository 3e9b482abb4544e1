"""A run that is killed and resumed ends with the very weights of a run that was left in peace."""

import multiprocessing
import os
import random
import resource
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from stopping import weights_in

from mobilevitv2.errors import CheckpointError, ConfigError, DataError
from mobilevitv2.training import TrainingInterrupted, train
from mobilevitv2.training.checkpoints import SafeCheckpointIO, newest_checkpoint

# Everything that is drawn by chance is on, so that losing any of it shows. 22 images in batches of
# 4 are 5 batches and one of 2; two batches make a step.
SETTINGS: dict[str, Any] = {
    "width": 0.25,
    "epochs": 5,
    "batch_size": 4,
    "accumulate": 2,
    "image_size": 32,
    "drop_path": 0.2,
    "threads": 1,
}

# The server imports once and never trains, so its children start in no time and are safe to fork.
processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(["mobilevitv2.training.run", "lightning.pytorch"])


def child(data: Path, out: Path, resume: bool, tricks: dict) -> None:
    """Train, in a process of its own; `tricks` change what the run is not told."""
    from mobilevitv2.training import keeper, loaders

    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it
    if "minutes" in tricks:
        keeper.MINUTES = tricks["minutes"]
    if tricks.get("forget_position"):
        loaders.EpochOrder.continue_at = forget_position
    if "signal_at" in tricks:
        interrupt_at(keeper.Keeper, tricks["signal_at"], tricks.get("signals", 1))
    try:
        train(data, out=out, resume=resume, quiet=True, **({} if resume else SETTINGS))
    except TrainingInterrupted as stop:
        sys.exit(stop.exit_code)


def forget_position(self, epoch: int, batches: int, batch_size: int) -> None:
    self.set_epoch(epoch)


def interrupt_at(keeper, place: tuple[int, int], signals: int) -> None:
    plain = keeper.on_train_batch_end

    def interrupting(self, trainer, pl_module, outputs, images, batch_idx):
        if (trainer.current_epoch, batch_idx) == place:
            for _ in range(signals):
                self.signal = None
                os.kill(os.getpid(), signal.SIGINT)
                for _ in range(1000):  # another thread may be the one that is interrupted
                    if self.signal is None:
                        time.sleep(0.001)
        plain(self, trainer, pl_module, outputs, images, batch_idx)

    keeper.on_train_batch_end = interrupting


def start(data: Path, out: Path, *, resume: bool = False, **tricks) -> multiprocessing.Process:
    process = processes.Process(target=child, args=(data, out, resume, tricks))
    process.start()
    return process  # pyright: ignore[reportReturnType]


def run(data: Path, out: Path, *, resume: bool = False, **tricks) -> int | None:
    process = start(data, out, resume=resume, **tricks)
    process.join()
    return process.exitcode


def weights(out: Path) -> list[dict[str, bytes]]:
    return [weights_in(out / name) for name in ("best", "last")]


def written_at(path: Path) -> int | None:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return None


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    chance = np.random.default_rng(0)
    for split, count in (("train", 11), ("val", 4)):
        for label, name in enumerate(("dark", "light")):
            (folder / split / name).mkdir(parents=True)
            for i in range(count):
                pixels = chance.integers(60 * label, 200 + 55 * label, (32, 32, 3), np.uint8)
                Image.fromarray(pixels).save(folder / split / name / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def undisturbed(data, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    assert run(data, out) == 0
    return out


@pytest.mark.parametrize("minutes", [10, 0], ids=["saved each epoch", "saved each step"])
def test_killed_three_times_at_random_moments_it_ends_bit_for_bit_the_same(
    data, undisturbed, tmp_path, minutes
):
    out = tmp_path / "run"
    last = out / "checkpoints" / "last.ckpt"
    for life in range(3):
        before = written_at(last)
        process = start(data, out, resume=life > 0, minutes=minutes)
        while process.is_alive() and written_at(last) in (before, None):
            time.sleep(0.005)
        process.join(random.uniform(0, 0.4))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL, "the run was over before it was killed"
    assert run(data, out, resume=True, minutes=minutes) == 0
    assert weights(out) == weights(undisturbed)


def test_ctrl_c_inside_an_epoch_saves_and_exits_with_130_and_resumes_exactly(
    data, undisturbed, tmp_path
):
    out = tmp_path / "run"
    assert run(data, out, signal_at=(1, 2)) == 130
    _, checkpoint = newest_checkpoint(out)
    assert checkpoint["callbacks"]["Keeper"]["position"] == [1, 4]  # after the step, not before
    assert run(data, out, resume=True) == 0
    assert weights(out) == weights(undisturbed)


def test_a_second_ctrl_c_does_not_wait_and_the_last_epoch_is_there_to_resume(
    data, undisturbed, tmp_path
):
    out = tmp_path / "run"
    assert run(data, out, signal_at=(1, 2), signals=2) == 130
    _, checkpoint = newest_checkpoint(out)
    assert checkpoint["callbacks"]["Keeper"]["position"] == [1, 0]
    assert run(data, out, resume=True) == 0
    assert weights(out) == weights(undisturbed)


def test_a_resumed_run_that_forgets_its_place_in_the_epoch_would_be_noticed(
    data, undisturbed, tmp_path
):
    out = tmp_path / "run"
    assert run(data, out, signal_at=(1, 2)) == 130
    run(data, out, resume=True, forget_position=True)
    assert weights(out) != weights(undisturbed)


def test_a_truncated_checkpoint_is_passed_over_for_the_one_before_it(
    data, undisturbed, tmp_path, caplog
):
    out = tmp_path / "run"
    assert run(data, out, signal_at=(2, 1)) == 130
    last = out / "checkpoints" / "last.ckpt"
    last.write_bytes(last.read_bytes()[: last.stat().st_size // 2])
    path, _ = newest_checkpoint(out)
    assert path.name == "previous.ckpt"
    assert "last.ckpt is damaged" in caplog.text
    assert run(data, out, resume=True) == 0
    assert weights(out) == weights(undisturbed)


def test_a_checkpoint_with_one_changed_byte_is_never_loaded(tmp_path):
    path = tmp_path / "checkpoints" / "last.ckpt"
    SafeCheckpointIO().save_checkpoint({"weights": torch.ones(1000)}, path)
    content = bytearray(path.read_bytes())
    at = content.index(torch.ones(8).numpy().tobytes())
    content[at] ^= 1
    path.write_bytes(content)
    assert torch.load(path)["weights"][0] != 1  # torch alone would not have noticed
    with pytest.raises(CheckpointError, match="There is no other"):
        newest_checkpoint(tmp_path)


def save_with_little_room(path: Path, answers) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, 5_000))
    try:
        SafeCheckpointIO().save_checkpoint({"weights": torch.ones(100_000)}, path)
    except OSError as error:
        answers.send(str(error))


def test_a_full_disk_leaves_the_checkpoints_that_were_there(tmp_path):
    path = tmp_path / "last.ckpt"
    for value in (1.0, 2.0):
        SafeCheckpointIO().save_checkpoint({"weights": torch.tensor(value)}, path)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    answers, theirs = processes.Pipe()
    process = processes.Process(target=save_with_little_room, args=(path, theirs))
    process.start()
    process.join()
    assert answers.poll()
    assert "couldn't be written" in answers.recv()
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_what_cannot_be_resumed_says_why(data, undisturbed, tmp_path):
    with pytest.raises(FileNotFoundError, match="has no training run"):
        train(data, out=tmp_path / "nothing", resume=True)
    with pytest.raises(ConfigError, match="has epochs 5, not 9"):
        train(data, out=undisturbed, resume=True, epochs=9)
    with pytest.raises(DataError, match="train images of digits aren't those"):
        train("digits", out=undisturbed, resume=True, quiet=True)
