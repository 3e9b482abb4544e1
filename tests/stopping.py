"""A run that is stopped after its first epoch and goes on, beside one that was never stopped."""

import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from mobilevitv2.training import TrainingInterrupted, keeper, train


def assert_stopping_changes_nothing(
    data: Path, folder: Path, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(data, out=folder / "whole", quiet=True, **settings)
    told = keeper.Keeper.on_train_epoch_end

    def stop(self, trainer, module):
        if trainer.current_epoch == 0:
            self.signal = signal.SIGTERM
        told(self, trainer, module)

    monkeypatch.setattr(keeper.Keeper, "on_train_epoch_end", stop)
    with pytest.raises(TrainingInterrupted):
        train(data, out=folder / "parts", quiet=True, **settings)
    monkeypatch.undo()
    again = train(data, out=folder / "parts", resume=True, quiet=True)
    ours, theirs = (load_file(run.out / "last/model.safetensors") for run in (again, whole))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
