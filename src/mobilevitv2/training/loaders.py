"""Loaders whose order depends on (seed, epoch) alone, and that can start within an epoch."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from mobilevitv2.training.augment import seed_of


class EpochOrder(Sampler):
    """The pairs (epoch, index) of one epoch, shuffled by (seed, epoch).

    The epoch travels with the index, so loading processes don't have to be told.
    """

    def __init__(self, count: int, seed: int) -> None:
        self.count = count
        self.seed = seed
        self.epoch = 0
        self.seen = (0, 0)  # an epoch, and how many of its samples a stopped run has used

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[tuple[int, int]]:
        generator = torch.Generator().manual_seed(seed_of(self.seed, "order", self.epoch))
        order = torch.randperm(self.count, generator=generator).tolist()
        epoch, count = self.seen
        return iter([(self.epoch, index) for index in order[count if epoch == self.epoch else 0 :]])

    def continue_at(self, epoch: int, batches: int, batch_size: int) -> None:
        """Continue within an epoch, after so many of its batches."""
        self.epoch = epoch
        self.seen = (epoch, batches * batch_size)

    def set_epoch(self, epoch: int) -> None:
        """Lightning says which epoch comes next."""
        self.epoch = epoch


def train_loader(images: Any, *, batch_size: int, seed: int, **options: Any) -> DataLoader:
    """Shuffled batches; drops a last batch of one image, which BatchNorm couldn't use."""
    order = EpochOrder(len(images), seed)
    single = len(images) > batch_size and len(images) % batch_size == 1
    return DataLoader(images, batch_size=batch_size, sampler=order, drop_last=single, **options)


def order_of(loader: DataLoader) -> EpochOrder:
    """The sampler of a `train_loader`."""
    assert isinstance(loader.sampler, EpochOrder)
    return loader.sampler


def collate(items: list[tuple[Tensor, Any, int]]) -> tuple[Tensor, Any, Tensor]:
    """Pixels [B, 3, H, W]; targets [B], masks [B, H, W] or a list of anything else; broken [B].

    Copied by numpy: torch would divide the work among its threads, which on a busy machine takes a
    hundred times as long.
    """
    pixels, targets, broken = zip(*items, strict=True)
    return _together(pixels), _together(targets), torch.tensor(broken)


def readable(batch: tuple[Tensor, Any, Tensor]) -> tuple[list[int], Tensor, Any]:
    """The places, pixels and targets of those of a batch that aren't broken."""
    pixels, targets, broken = batch
    there = [i for i, index in enumerate(broken.tolist()) if index < 0]
    if len(there) == len(broken):
        return there, pixels, targets
    some = targets[there] if isinstance(targets, Tensor) else [targets[i] for i in there]
    return there, pixels[there], some


def _together(values: Sequence[Any]) -> Any:
    if isinstance(values[0], int):
        return torch.tensor(values)
    if isinstance(values[0], np.ndarray):
        return torch.from_numpy(np.stack(values))
    if not isinstance(values[0], Tensor):
        return list(values)
    return torch.from_numpy(np.stack([value.numpy() for value in values]))
