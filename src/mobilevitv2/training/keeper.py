"""Keeping a run on disk as it goes, and stopping it at a signal."""

import csv
import io
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Checkpoint
from torch import Tensor

from mobilevitv2.files.writing import write_atomic
from mobilevitv2.training.folder import BEST, CHECKPOINTS, LAST, NEWEST

MINUTES = 10  # between checkpoints within a long epoch

SaveBundle = Callable[[Path, dict[str, Tensor]], None]


class StopRequest(Exception):
    """Ends the training loop after everything was saved."""


class Keeper(Checkpoint):
    """Writes `best/` and `last/` (the averaged network), `checkpoints/` and `metrics.csv`.

    After each epoch, in long epochs also every few minutes, and when a signal asks to stop.
    """

    def __init__(
        self,
        out: Path,
        save_bundle: SaveBundle,
        tell: Callable[[dict[str, float]], None],
        metric: str,
    ) -> None:
        self.out = out
        self.save_bundle = save_bundle
        self.tell = tell  # gets each epoch's row of the history, for a person
        self.metric = metric
        self.best: tuple[float, float] = (-1.0, 0.0)  # the metric, minus the loss
        self.best_epoch = 0
        self.position = (0, 0)  # epoch, and how many of its batches are done
        self.stopped_early = False
        self.signal: int | None = None

    def state_dict(self) -> dict[str, Any]:
        return {
            "best": list(self.best),
            "best_epoch": self.best_epoch,
            "position": list(self.position),
            "stopped_early": self.stopped_early,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best = tuple(state_dict["best"])
        self.best_epoch = state_dict["best_epoch"]
        self.position = tuple(state_dict["position"])
        self.stopped_early = state_dict["stopped_early"]

    @property
    def state_key(self) -> str:
        return "Keeper"

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.saved_at = time.monotonic()
        if trainer.global_step == 0:
            self._save(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        due = self.signal is not None or time.monotonic() - self.saved_at > 60 * MINUTES
        stepped = trainer.global_step != pl_module.step_before
        if due and stepped and batch_idx + 1 < trainer.num_training_batches:
            self.position = (trainer.current_epoch, batch_idx + 1)
            self._save(trainer, pl_module)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        row = pl_module.history[-1]
        self.tell(row)
        score = (row[f"val_{self.metric}"], -row["val_loss"])
        if score > self.best:
            self.best, self.best_epoch = score, trainer.current_epoch + 1
            self.save_bundle(self.out / BEST, pl_module.averaged.state_dict())
        self.position = (trainer.current_epoch + 1, 0)
        self.stopped_early = trainer.should_stop
        write_atomic(self.out / "metrics.csv", _as_csv(pl_module.history))
        self._save(trainer, pl_module)

    def _save(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Raises StopRequest, afterwards, if a signal asked for it."""
        self.save_bundle(self.out / LAST, pl_module.averaged.state_dict())
        trainer.save_checkpoint(self.out / CHECKPOINTS / NEWEST)
        self.saved_at = time.monotonic()
        if self.signal is not None:
            raise StopRequest

    @contextmanager
    def listening(self) -> Iterator[None]:
        """SIGINT and SIGTERM stop the run after the current batch; a second one at once."""
        if threading.current_thread() is not threading.main_thread():
            yield  # where signals can't be heard
            return

        def ask(number: Any, frame: Any) -> None:
            self.signal = number
            signal.signal(number, before[number] or signal.SIG_DFL)

        before = {n: signal.signal(n, ask) for n in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler or signal.SIG_DFL)


def _as_csv(rows: list[dict[str, float]]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()
