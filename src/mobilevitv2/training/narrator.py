"""What a person sees of a run as it goes."""

import time
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn


class Narrator(Callback):
    """A progress bar with images per second and the time left; a line per epoch. On stderr."""

    def __init__(self, *, metric: str, title: str, quiet: bool = False) -> None:
        self.metric, self.title = metric, title
        self.console = Console(stderr=True, quiet=quiet)
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[rate]:.0f} images/s"),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=self.console,
            disable=quiet or not self.console.is_terminal,
            refresh_per_second=4,
        )

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.epochs = trainer.max_epochs or 1
        batches = int(trainer.num_training_batches)
        done = trainer.current_epoch * batches
        self.bar = self.progress.add_task("", total=self.epochs * batches, completed=done, rate=0.0)
        self.progress.start()
        self.on_train_epoch_start(trainer, pl_module)  # not called on resuming within an epoch

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.started, self.images = time.perf_counter(), 0
        epoch = f"epoch {trainer.current_epoch + 1}/{self.epochs}"
        self.progress.update(self.bar, description=epoch)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.images += len(batch[1])
        rate = self.images / (time.perf_counter() - self.started)
        self.progress.update(self.bar, advance=1, rate=rate)

    def epoch(self, row: dict[str, float]) -> None:
        """Say how an epoch went."""
        self.say(
            f"epoch {row['epoch']}/{self.epochs}: train loss {row['train_loss']:.3f}, "
            f"val loss {row['val_loss']:.3f}, val {self.title} {row[f'val_{self.metric}']:.1%}, "
            f"{row['images_per_second']:.0f} images/s"
        )

    def say(self, sentence: str) -> None:
        """One line, above the bar."""
        self.progress.console.print(sentence, highlight=False, soft_wrap=True)

    def teardown(self, trainer: pl.Trainer, pl_module: Any, stage: str) -> None:
        self.progress.stop()
