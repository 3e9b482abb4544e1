"""A run's parts: loaders, precision, Lightning's trainer."""

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping
from lightning.pytorch.loggers import TensorBoardLogger
from torch.utils.data import DataLoader

from mobilevitv2.errors import ConfigError
from mobilevitv2.training.checkpoints import SafeCheckpointIO
from mobilevitv2.training.loaders import collate, train_loader
from mobilevitv2.training.recipe import Recipe

LOADING_PROCESSES = 8  # at most, with a GPU
PRECISIONS: dict[str, Any] = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}


def make_loaders(
    images: dict[str, Any], recipe: Recipe, *, eval_batch: int | None = None
) -> dict[str, DataLoader]:
    """One for each split. Unless the recipe says otherwise, processes load only with a GPU.

    `eval_batch` is the batch size for all splits but train.
    """
    on_gpu = accelerator() == "cuda"
    workers = recipe.workers
    if workers is None:
        workers = min(LOADING_PROCESSES, max(1, (os.cpu_count() or 1) - 1)) if on_gpu else 0
    if workers:
        images["train"].fill()
    options: dict[str, Any] = {"num_workers": workers, "persistent_workers": workers > 0}
    options |= {"pin_memory": on_gpu, "collate_fn": collate}
    size = recipe.batch_size
    return {
        name: train_loader(split, batch_size=size, seed=recipe.seed, **options)
        if name == "train"
        else DataLoader(split, batch_size=eval_batch or size, **options)
        for name, split in images.items()
    }


def make_trainer(
    recipe: Recipe, out: Path, callbacks: list[Callback], *, metric: str, first_step: int
) -> pl.Trainer:
    """Lightning's trainer on one device; it logs to `out`/tensorboard."""
    if (patience := recipe.early_stopping) is not None:
        after: dict[str, Any] = {"patience": patience, "check_on_train_epoch_end": False}
        callbacks = [*callbacks, EarlyStopping(f"val/{metric}", mode="max", **after)]
    return pl.Trainer(
        accelerator=accelerator(),
        devices=1,
        precision=precision(recipe),
        max_epochs=recipe.epochs,
        accumulate_grad_batches=recipe.accumulate,
        gradient_clip_val=recipe.clip_norm,
        callbacks=callbacks,
        plugins=[SafeCheckpointIO()],
        logger=TensorBoardLogger(out, name="", version="tensorboard", purge_step=first_step),
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )


def accelerator() -> str:
    """The best available of `cuda`, `mps` and `cpu`."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def precision(recipe: Recipe) -> Any:
    """Lightning's name for the recipe's precision; auto is bf16 or fp16 on a GPU, else fp32."""
    if recipe.precision == "fp16" and accelerator() == "cpu":
        raise ConfigError("precision is fp16, which needs a GPU. On a CPU choose fp32 or bf16.")
    if recipe.precision != "auto":
        return PRECISIONS[recipe.precision]
    if accelerator() != "cuda":
        return PRECISIONS["fp32"]
    return PRECISIONS["bf16" if torch.cuda.is_bf16_supported() else "fp16"]


@contextmanager
def without_chatter() -> Iterator[None]:
    """Without Lightning's hints, which are about things that are intended here."""
    log = logging.getLogger("lightning.pytorch")
    level = log.level
    log.setLevel(logging.WARNING)  # no tips, no list of missing devices
    try:
        with warnings.catch_warnings():
            for message in (
                ".*does not have many workers",
                ".*smaller than the logging interval",
                ".*dataloader is not resumable",  # `EpochOrder.seen` resumes it
                ".*in eval mode at the start of training",  # the average, and frozen parts
                ".*LeafSpec.* is deprecated",  # Lightning's, with newer torch
            ):
                warnings.filterwarnings("ignore", message=message)
            yield
    finally:
        log.setLevel(level)
