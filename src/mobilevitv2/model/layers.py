"""The convolutional parts: convolution with norm and activation, and the inverted residual.

Module names are those of the published transformers layout, so that a state dict needs no renaming.
"""

# B batch, C channels, H W height and width of a feature map

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from mobilevitv2.config import round_channels

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

    Padding keeps the map's size at stride 1. There is a bias where there is no norm, unless told.
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
        plain = type(conv) is nn.Conv2d and type(norm) is nn.BatchNorm2d
        if not plain or torch.compiler.is_compiling() or torch.jit.is_tracing():
            x = conv(x)  # a compiler plans for itself what the two eager forms below do by hand
            x = x if norm is None else norm(x)
        elif not norm.training and not torch.is_grad_enabled():
            x = F.conv2d(x, *folded(conv, norm), conv.stride, conv.padding, conv.dilation, conv.groups)
            if type(act) is nn.SiLU:
                return F.silu(x, inplace=True)
        elif norm.training and type(act) is nn.SiLU and type(norm.momentum) is float:
            norm.num_batches_tracked.add_(1)
            x = conv(x)
            return BatchNormSiLU.apply(
                x, norm.weight, norm.bias, norm.running_mean, norm.running_var, norm.momentum, norm.eps
            )
        else:
            x = norm(conv(x))
        return x if act is None else act(x)


def folded(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Weight and bias of the one convolution that equals `conv` and then `norm` in inference."""
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None and variance is not None
    scale = norm.weight * torch.rsqrt(variance + norm.eps)
    bias = norm.bias - mean * scale
    if conv.bias is not None:
        bias = bias + conv.bias * scale
    return conv.weight * scale.view(-1, 1, 1, 1), bias


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
        width = round_channels(int(round(in_channels * expand_ratio)), 8)
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
        out = self.reduce_1x1(self.conv_3x3(self.expand_1x1(x)))
        return x + self.drop_path(out) if self.adds_input else out


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


class BatchNormSiLU(torch.autograd.Function):
    """SiLU of a training BatchNorm, whose output is made anew in backward and not kept.

    Of the three maps that convolution, norm and activation keep for backward, this drops one: a
    third of a step's memory at high resolution, for one more pass over the map.
    """

    @staticmethod
    def forward(ctx, x, weight, bias, running_mean, running_var, momentum, eps):
        normed, mean, rstd = torch.native_batch_norm(
            x, weight, bias, running_mean, running_var, True, momentum, eps
        )
        ctx.save_for_backward(x, weight, bias, mean, rstd)
        ctx.eps = eps
        return F.silu(normed, inplace=True)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        x, weight, bias, mean, rstd = ctx.saved_tensors
        scale = weight * rstd
        shift = bias - mean * scale
        normed = torch.addcmul(shift.view(-1, 1, 1), x, scale.view(-1, 1, 1))
        grad = torch.ops.aten.silu_backward(grad, normed.to(grad.dtype))
        grads = torch.ops.aten.native_batch_norm_backward(
            grad, x, weight, None, None, mean, rstd, True, ctx.eps, [True, True, True]
        )
        return (*grads, None, None, None, None)
