"""The convolutional parts: convolution with norm and activation, and the inverted residual.

Module names are those of the published transformers layout, so that a state dict needs no renaming.
"""

# B batch, C channels, H W height and width of a feature map

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from mobilevitv2.config import round_channels

WHOLE = 16 * 2**20  # bytes of a widened map, up to which it is not cut into bands
BAND = 4 * 2**20  # bytes of a band of it

ACTIVATIONS = {
    "swish": nn.SiLU,
    "silu": nn.SiLU,
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "hardswish": nn.Hardswish,
    "hard_swish": nn.Hardswish,
    "relu6": nn.ReLU6,
    "mish": nn.Mish,
}


class ConvLayer(nn.Module):
    """Convolution, then optionally BatchNorm and an activation; [B, C, H, W] to the same.

    Padding keeps the map's size at stride 1.
    """

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
        conv, norm, act = self.convolution, self.normalization, self.activation
        # Two eager forms of the same arithmetic; a compiler finds them by itself.
        if type(norm) is nn.BatchNorm2d and not torch.compiler.is_compiling():
            if norm.training and type(act) is nn.SiLU and norm.momentum is not None:
                return batch_norm_silu(conv(x), norm)
            if not norm.training and not torch.is_grad_enabled() and type(conv) is nn.Conv2d:
                x = conv._conv_forward(x, *fold(conv, norm))
                return F.silu(x, inplace=True) if type(act) is nn.SiLU else act(x) if act else x
        return self.finish(conv(x))

    def finish(self, x: Tensor) -> Tensor:
        """What follows the convolution."""
        x = x if self.normalization is None else self.normalization(x)
        return x if self.activation is None else self.activation(x)


def fold(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Weight and bias of the one convolution that equals `conv` and then `norm` in inference."""
    scale = norm.weight * torch.rsqrt(present(norm.running_var) + norm.eps)
    bias = norm.bias - present(norm.running_mean) * scale
    if conv.bias is not None:
        bias = bias + conv.bias * scale
    return conv.weight * scale.view(-1, 1, 1, 1), bias


def present(buffer: Tensor | None) -> Tensor:
    """A statistic of a BatchNorm that tracks them."""
    assert buffer is not None
    return buffer


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
            width,
            width,
            3,
            stride=stride,
            groups=width,
            dilation=dilation,
            activation=activation,
        )
        self.reduce_1x1 = ConvLayer(width, out_channels, 1)
        self.adds_input = stride == 1 and in_channels == out_channels
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        rows = self._rows_of_a_band(x)
        if rows and not self.training and not torch.is_grad_enabled():
            out = self.in_bands(x, rows)
        else:
            out = self.reduce_1x1(self.conv_3x3(self.expand_1x1(x)))
        return x + self.drop_path(out) if self.adds_input else out

    def in_bands(self, x: Tensor, rows: int) -> Tensor:
        """The convolutions, image by image and `rows` output rows at a time; the same numbers.

        The widened map, which is the largest of all, is then never there as a whole: less memory,
        and what there is stays in the cache.
        """
        stride = self.conv_3x3.convolution.stride[0]
        batch, _, height, width = x.shape
        shape = (
            self.reduce_1x1.convolution.out_channels,
            -(-height // stride),
            -(-width // stride),
        )
        out = torch.empty(batch, *shape, dtype=x.dtype, memory_format=torch.channels_last)
        for i in range(batch):
            for start in range(0, out.shape[2], rows):
                stop = min(start + rows, out.shape[2])
                above = 1 if start else 0  # an output row whose own upper neighbor is cut off
                band = x[i : i + 1, :, (start - above) * stride : (stop - 1) * stride + 2]
                band = self.conv_3x3(self.expand_1x1(band))[:, :, above : above + stop - start]
                out[i : i + 1, :, start:stop] = self.reduce_1x1(band)
        return out

    def _rows_of_a_band(self, x: Tensor) -> int:
        """How many output rows fit a band, or 0 where the map is better run as a whole."""
        conv = self.conv_3x3.convolution
        if torch.compiler.is_compiling() or not x.is_cpu or conv.dilation != (1, 1):
            return 0
        row = conv.in_channels * x.shape[3] * x.element_size() * conv.stride[0]
        whole = row * -(-x.shape[2] // conv.stride[0]) * x.shape[0]
        return max(BAND // row, 4) if whole > WHOLE else 0


class DropPath(nn.Module):
    """Stochastic depth: in training, drop a whole residual branch of a sample with `rate`.

    Source: Huang et al., 2016. What is kept is scaled by 1 / (1 - rate).
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return x
        keep = 1 - self.rate
        kept = torch.empty(x.shape[0], 1, 1, 1, dtype=x.dtype, device=x.device).bernoulli_(keep)
        return x * (kept / keep)


def batch_norm_silu(x: Tensor, norm: nn.BatchNorm2d) -> Tensor:
    """`silu(norm(x))` in training."""
    present(norm.num_batches_tracked).add_(1)
    return BatchNormSiLU.apply(  # pyright: ignore[reportReturnType]
        x, norm.weight, norm.bias, norm.running_mean, norm.running_var, norm.momentum, norm.eps
    )


class BatchNormSiLU(torch.autograd.Function):
    """SiLU of a training BatchNorm, whose output is made anew in backward and not kept.

    Of the three maps that convolution, norm and activation keep for backward, this drops one: a
    third of a step's memory at high resolution, for one more pass over the map.
    """

    @staticmethod
    def forward(ctx: Any, x, weight, bias, running_mean, running_var, momentum, eps) -> Tensor:
        normed, mean, rstd = torch.native_batch_norm(
            x, weight, bias, running_mean, running_var, True, momentum, eps
        )
        ctx.save_for_backward(x, weight, bias, mean, rstd)
        ctx.eps = eps
        return F.silu(normed, inplace=True)

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, grad: Tensor
    ) -> tuple[Tensor | None, ...]:
        x, weight, bias, mean, rstd = ctx.saved_tensors
        scale = weight * rstd
        shift = bias - mean * scale
        normed = torch.addcmul(shift.view(-1, 1, 1), x, scale.view(-1, 1, 1))
        grad = torch.ops.aten.silu_backward(grad, normed.to(x.dtype))
        grads = torch.ops.aten.native_batch_norm_backward(
            grad, x, weight, None, None, mean, rstd, True, ctx.eps, [True, True, True]
        )
        return (*grads, None, None, None, None)
