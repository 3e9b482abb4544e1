"""A run that is stopped after its first epoch and goes on, beside one that was never stopped."""

import signal
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file

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
    assert weights_in(again.out / "last") == weights_in(whole.out / "last")


def weights_in(bundle: Path) -> dict[str, bytes]:
    """The tensors of a bundle, without what its file says of them."""
    tensors = load_file(bundle / "model.safetensors")
    return {name: array.tobytes() for name, array in tensors.items()}
