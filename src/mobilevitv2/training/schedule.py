"""What depends on the step, as pure functions; and the optimizer."""

import math
from typing import Any

import torch
from torch import nn

from mobilevitv2.errors import ConfigError
from mobilevitv2.model.pretrained import parameter_groups
from mobilevitv2.training.recipe import Recipe


def learning_rate(recipe: Recipe, step: int, steps: int) -> float:
    """The rate at optimizer step `step` of `steps`: linear warm-up, then half a cosine, or flat.

    The cosine's half period is the whole run, warm-up included, as in the reference (ml-cvnets).
    """
    warmup = recipe.warmup if recipe.warmup >= 1 else recipe.warmup * steps
    if step + 1 < warmup:
        return recipe.warmup_lr + (recipe.lr - recipe.warmup_lr) * (step + 1) / warmup
    if recipe.schedule == "constant":
        return recipe.lr
    cosine = (1 + math.cos(math.pi * step / steps)) / 2
    return recipe.min_lr + (recipe.lr - recipe.min_lr) * cosine


def ema_decay(recipe: Recipe, updates: int) -> float:
    """The share of the average that an update keeps; small at first, for short runs."""
    return min(recipe.ema_decay or 0.0, (1 + updates) / (10 + updates))


def make_optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """AdamW or SGD on the trainable parameters, without decay on those of one dimension."""
    groups = _groups(network, recipe)
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=recipe.lr, momentum=recipe.momentum)
    on_cpu = all(p.device.type == "cpu" for group in groups for p in group["params"])
    # saves 7 ms a step; with it, Lightning can't clip gradients in mixed precision
    fused = on_cpu and recipe.precision in ("auto", "fp32")
    return torch.optim.AdamW(groups, lr=recipe.lr, fused=fused or None)


def _groups(network: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    """Trainable parameters; a group gets its `share` of the learning rate."""
    backbone = getattr(network, "mobilevitv2", None)
    if recipe.backbone_lr == 1:
        return parameter_groups(network, recipe.weight_decay)
    if backbone is None:
        raise ConfigError(
            f"backbone_lr is {recipe.backbone_lr}, but a {type(network).__name__} has no backbone "
            "called mobilevitv2. Leave it out."
        )
    slow = {id(p) for p in backbone.parameters()}
    groups = []
    for group in parameter_groups(network, recipe.weight_decay):
        for share in (recipe.backbone_lr, 1.0):
            among = [p for p in group["params"] if (id(p) in slow) == (share != 1)]
            groups.append(group | {"params": among, "share": share})
    return [group for group in groups if group["params"]]
