"""The convolutional parts: convolution with norm and activation, and the inverted residual.

Module names are those of transformers' published layout, so a state dict needs no renaming.
"""

# B batch, C channels, H W height and width of a feature map

import torch
from torch import Tensor, nn

from mobilevitv2.config import round_channels
from mobilevitv2.model import fast

ACTIVATIONS: dict[str, type[nn.Module]] = {
    kind.__name__.lower(): kind
    for kind in (nn.SiLU, nn.ReLU, nn.GELU, nn.Hardswish, nn.ReLU6, nn.Mish)
}
ACTIVATIONS |= {"swish": nn.SiLU, "hard_swish": nn.Hardswish}


class ConvLayer(nn.Module):
    """Convolution, then optionally BatchNorm and an activation; stride 1 keeps the map's size."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        stride: int = 1,
        groups: int = 1,
        dilation: int = 1,
        norm: bool = True,
        bias: bool = False,
        activation: str | None = None,
    ) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(
            in_channels,
            out_channels,
            kernel_size,
            stride=stride,
            padding=(kernel_size - 1) // 2 * dilation,
            dilation=dilation,
            groups=groups,
            bias=bias,
        )
        self.normalization = nn.BatchNorm2d(out_channels) if norm else None
        self.activation = ACTIVATIONS[activation]() if activation else None

    def forward(self, x: Tensor) -> Tensor:
        out = fast.conv_layer(self, x)
        return self.finish(fast.convolved(self.convolution, x)) if out is None else out

    def finish(self, x: Tensor) -> Tensor:
        """What follows the convolution."""
        x = x if self.normalization is None else self.normalization(x)
        return x if self.activation is None else self.activation(x)


KINDS = frozenset({ConvLayer, nn.Conv2d, nn.BatchNorm2d, *ACTIVATIONS.values()})


class InvertedResidual(nn.Module):
    """MobileNetV2 block: widen, filter each channel, narrow; add the input when shapes allow."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        stride: int,
        expand_ratio: float,
        activation: str,
        dilation: int = 1,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        width = round_channels(round(in_channels * expand_ratio), 8)
        self.expand_1x1 = ConvLayer(in_channels, width, 1, activation=activation)
        self.conv_3x3 = ConvLayer(
            width, width, 3, stride=stride, groups=width, dilation=dilation, activation=activation
        )
        self.reduce_1x1 = ConvLayer(width, out_channels, 1)
        self.adds_input = stride == 1 and in_channels == out_channels
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        out = fast.inverted_residual(self, x, KINDS)
        if out is None:
            out = self.reduce_1x1(self.conv_3x3(self.expand_1x1(x)))
        return x + self.drop_path(out) if self.adds_input else out


class DropPath(nn.Module):
    """Stochastic depth (Huang et al., 2016): in training, drops whole residual branches."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return x
        keep = 1 - self.rate
        kept = torch.empty(x.shape[0], 1, 1, 1, dtype=x.dtype, device=x.device).bernoulli_(keep)
        return x * (kept / keep)


class PooledMap(nn.Module):
    """The mean over the whole map, mixed: [B, C, H, W] to [B, D, 1, 1]."""

    def __init__(self, in_channels: int, out_channels: int, *, norm: bool = True) -> None:
        super().__init__()
        self.conv_1x1 = ConvLayer(in_channels, out_channels, 1, norm=norm, activation="relu")

    def forward(self, x: Tensor) -> Tensor:
        if self.conv_1x1.normalization is not None:
            check_batch(self, x)
        return self.conv_1x1(x.mean((2, 3), keepdim=True))


def check_batch(module: nn.Module, x: Tensor) -> None:
    """Raise ValueError where BatchNorm in training would get one value a channel."""
    if module.training and isinstance(x, Tensor) and x.shape[0] == 1:  # torch.fx has no sizes
        raise ValueError(
            "the batch is a single image, over which the head's means over the whole map can't be "
            "normalized. Train with batches of two or more, or call eval() on the head."
        )
