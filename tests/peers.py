"""Live peers with random weights: what our models are compared with."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from mobilevitv2.checkpoint.layouts import check, rename


def to_ours(
    state: Mapping[str, Tensor], layout: str, expected: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The tensors under our names; exactly those of `expected`, in name and shape."""
    renamed, unknown = rename(state, layout)
    check(renamed, expected, layout, unknown)
    return renamed


def randomize(network: nn.Module, seed: int = 0) -> nn.Module:
    """Random weights as PyTorch draws them, random norm parameters and running statistics."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(tensor: Tensor, low: float, high: float) -> None:
        with torch.no_grad():
            tensor.copy_(torch.rand(tensor.shape, generator=generator) * (high - low) + low)

    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            fan_in = module.weight[0].numel()
            uniform(module.weight, -(fan_in**-0.5), fan_in**-0.5)
            if module.bias is not None:
                uniform(module.bias, -0.3, 0.3)
        elif isinstance(module, nn.BatchNorm2d | nn.GroupNorm):
            uniform(module.weight, 0.5, 1.5)
            uniform(module.bias, -0.3, 0.3)
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            uniform(module.running_mean, -0.3, 0.3)
            uniform(module.running_var, 0.5, 1.5)
    return network.eval()


def copy_weights(theirs: nn.Module, ours: nn.Module) -> None:
    """By position: the published layouts list the same tensors in the same order."""
    pairs = zip(ours.state_dict(), theirs.state_dict().values(), strict=True)
    ours.load_state_dict(dict(pairs))


def images(height: int, width: int, *, batch: int = 1, channels: int = 3, seed: int = 1) -> Tensor:
    """Random pixels in [0, 1], [B, C, H, W]."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(batch, channels, height, width, generator=generator)


def relative_error(ours: Tensor, theirs: Tensor) -> float:
    """Largest absolute difference, as a part of the largest value."""
    assert ours.shape == theirs.shape
    return ((ours - theirs).abs().max() / theirs.abs().max()).item()
