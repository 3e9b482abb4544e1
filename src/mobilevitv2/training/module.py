"""The Lightning module that all tasks share: a step, the moving average, an epoch's history."""

# B batch, H W height and width

import copy
import math
import time
from abc import abstractmethod
from typing import TYPE_CHECKING, Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from mobilevitv2.errors import ConfigError
from mobilevitv2.training.augment import seed_of
from mobilevitv2.training.loaders import readable
from mobilevitv2.training.recipe import Recipe
from mobilevitv2.training.schedule import ema_decay, learning_rate, make_optimizer

if TYPE_CHECKING:
    from mobilevitv2.training.goal import Goal


class Training(pl.LightningModule):
    """Trains `network` and a moving average of it; the average is validated and kept.

    Batches are (pixels, targets, broken [B]): uint8 [B, 3, H, W] in training, ready for the network
    in validation; targets are a tensor, or a list. A task says what the loss is, and its `Goal`
    what validation counts.
    """

    def __init__(
        self,
        network: nn.Module,
        recipe: Recipe,
        *,
        goal: "Goal",
        steps: int,
        pixel_scale: float = 1 / 255,
        bgr: bool = False,
    ) -> None:
        super().__init__()
        if recipe.channels_last:
            network = network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.network = network
        self.averaged = copy.deepcopy(network).requires_grad_(False).eval()
        self.recipe = recipe
        self.goal = goal
        self.scores = goal.new_scores()
        self.steps = steps
        self.pixel_scale = pixel_scale
        self.bgr = bgr
        self.loss_sum = nn.Buffer(torch.zeros(()))  # of this epoch, for its mean
        self.images_seen = nn.Buffer(torch.zeros((), dtype=torch.int64))
        self.val_loss, self.val_count = 0.0, 0  # the sum over what counts, and how much counts
        self.history: list[dict[str, float]] = []  # a row for each epoch
        self.broken: dict[str, set[int]] = {"train": set(), "val": set()}

    @abstractmethod
    def loss_of(self, images: Tensor, targets: Any) -> Tensor:
        """The loss of a training batch, whose images are as the network takes them."""

    @abstractmethod
    def validate_batch(self, images: Tensor, targets: Any) -> None:
        """Count a validation batch without broken images into the loss and the scores."""

    def count_loss(self, loss: Tensor, count: int) -> None:
        """Count a mean validation loss over so many images, or pixels."""
        self.val_loss += loss.item() * count
        self.val_count += count

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return make_optimizer(self.network, self.recipe)

    def on_fit_start(self) -> None:
        self.network.train()  # its frozen part stays in inference
        averaged, trained = (
            [*net.parameters(), *net.buffers()] for net in (self.averaged, self.network)
        )
        pairs = list(zip(averaged, trained, strict=True))
        self._pairs = [(a, t) for a, t in pairs if t.is_floating_point()]
        self._counters = [(a, t) for a, t in pairs if not t.is_floating_point()]

    def on_train_start(self) -> None:
        self.clock, self.trained_seconds, self.images_timed = time.perf_counter(), 0.0, 0

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> tuple[Tensor, Any]:
        training, broken = self.trainer.training, batch[2]
        self.broken["train" if training else "val"].update(broken[broken >= 0].tolist())
        return batch[:2] if training else readable(batch)[1:]

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        self.step_before = self.trainer.global_step
        rate = learning_rate(self.recipe, self.step_before, self.steps)
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = rate * group.get("share", 1.0)
        seed = seed_of(self.recipe.seed, "batch", self.current_epoch, batch_idx)
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(seed)

    def training_step(self, batch: tuple[Tensor, Any], batch_idx: int) -> Tensor:
        pixels, targets = batch
        loss = self.loss_of(self.to_images(pixels), targets)
        self.loss_sum += loss.detach() * len(targets)
        self.images_seen += len(targets)
        self.images_timed += len(targets)
        return loss

    def to_images(self, pixels: Tensor) -> Tensor:
        """uint8 [B, 3, H, W] to what the processor would make of the same pixels."""
        images = pixels.to(torch.float32).mul_(self.pixel_scale)
        images = images.flip(1) if self.bgr else images
        return self._in_format(images)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """A step, and the average follows."""
        super().optimizer_step(*args, **kwargs)
        averaged, trained = (list(tensors) for tensors in zip(*self._pairs, strict=True))
        get_ema_multi_avg_fn(ema_decay(self.recipe, self.step_before))(averaged, trained, None)
        for mean, current in self._counters:
            mean.copy_(current)

    def on_validation_start(self) -> None:
        self.trained_seconds = time.perf_counter() - self.clock
        self._check_finite((self.loss_sum / self.images_seen).item())

    def validation_step(self, batch: tuple[Tensor, Any], batch_idx: int) -> None:
        images, targets = batch
        if len(images):
            self.validate_batch(self._in_format(images), targets)

    def on_validation_epoch_end(self) -> None:
        loss = self.val_loss / self.val_count if self.val_count else math.nan
        values = {"loss": loss, **self.goal.figures(self.scores)}
        self.log_dict({f"val/{name}": value for name, value in values.items()}, batch_size=1)
        self.val_loss, self.val_count = 0.0, 0
        self.scores = self.goal.new_scores()

    def on_train_epoch_end(self) -> None:
        loss = (self.loss_sum / self.images_seen).item()
        group = self.trainer.optimizers[0].param_groups[0]
        rate = group["lr"] / group.get("share", 1.0)
        values = {k: v.item() for k, v in self.trainer.callback_metrics.items() if "val/" in k}
        self._check_finite(values["val/loss"])
        self.history.append(
            {"epoch": self.current_epoch + 1, "step": self.trainer.global_step, "lr": rate}
            | {"train_loss": loss}
            | {name.replace("/", "_"): value for name, value in values.items()}
            | {"seconds": time.perf_counter() - self.clock}
            | {"images_per_second": self.images_timed / self.trained_seconds}
        )
        if self.logger is not None:
            self.logger.log_metrics({"train/loss": loss, "lr": rate}, self.trainer.global_step)
        self.loss_sum.zero_()
        self.images_seen.zero_()
        self.on_train_start()  # the clock

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["history"] = copy.deepcopy(self.history)
        checkpoint["broken"] = {split: sorted(found) for split, found in self.broken.items()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.history = copy.deepcopy(checkpoint["history"])
        self.broken = {split: set(found) for split, found in checkpoint["broken"].items()}

    def _check_finite(self, loss: float) -> None:
        if not math.isfinite(loss):
            raise ConfigError(
                f"the loss became {loss} in epoch {self.current_epoch + 1}. Lower lr, which is "
                f"{self.recipe.lr}, or set clip_norm."
            )

    def _in_format(self, images: Tensor) -> Tensor:
        last = self.recipe.channels_last
        return images.contiguous(memory_format=torch.channels_last) if last else images


def logits_of(output: Any) -> Tensor:
    """The logits of a network's output, which may be the logits, or torchvision's dict of them."""
    if isinstance(output, Tensor):
        return output
    return output.logits if hasattr(output, "logits") else output["out"]
