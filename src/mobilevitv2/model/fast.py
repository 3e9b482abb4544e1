"""What makes eager PyTorch fast: other ways to compute what the modules beside this one say.

Those modules read as the paper and ask here first; if the answer is None, they compute what they
say. A compiler finds such ways by itself and never gets these.
"""

# B batch, C channels, H W height and width of a feature map

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

if TYPE_CHECKING:
    from mobilevitv2.model.layers import ConvLayer, InvertedResidual

WHOLE = 16 * 2**20  # bytes of a widened map, up to which it is not cut into bands
BAND = 4 * 2**20  # bytes of a band of it


def channels_last(stem: nn.Module) -> None:
    """Make all maps of a network channels_last, the faster format, by its first weight."""
    stem.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


def conv_layer(layer: "ConvLayer", x: Tensor) -> Tensor | None:
    """A layer in a training step with less memory, or in inference as a single convolution."""
    conv, norm, act = layer.convolution, layer.normalization, layer.activation
    if type(norm) is not nn.BatchNorm2d or torch.compiler.is_compiling():
        return None
    if norm.training and type(act) is nn.SiLU and norm.momentum is not None:
        present(norm.num_batches_tracked).add_(1)
        statistics = norm.running_mean, norm.running_var, norm.momentum, norm.eps
        return BatchNormSiLU.apply(conv(x), norm.weight, norm.bias, *statistics)  # pyright: ignore[reportReturnType]
    if norm.training or torch.is_grad_enabled() or type(conv) is not nn.Conv2d:
        return None
    x = conv._conv_forward(x, *fold(conv, norm))
    return F.silu(x, inplace=True) if type(act) is nn.SiLU else act(x) if act else x


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


class BatchNormSiLU(torch.autograd.Function):
    """SiLU of a training BatchNorm, whose output is recomputed in backward instead of kept.

    It is one of three maps kept: a third of a step's memory at high resolution, for one more pass.
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


def inverted_residual(block: "InvertedResidual", x: Tensor) -> Tensor | None:
    """A block's convolutions in inference on the CPU, where its widened map is large: in bands."""
    conv = block.conv_3x3.convolution
    if torch.compiler.is_compiling() or not x.is_cpu or conv.dilation != (1, 1):
        return None
    row = conv.in_channels * x.shape[3] * x.element_size() * conv.stride[0]
    whole = row * -(-x.shape[2] // conv.stride[0]) * x.shape[0]
    if whole <= WHOLE or block.training or torch.is_grad_enabled():
        return None
    return in_bands(block, x, max(BAND // row, 4))


def in_bands(block: "InvertedResidual", x: Tensor, rows: int) -> Tensor:
    """The convolutions, image by image and `rows` output rows at a time; the same numbers.

    The widened map, the largest of all, is never there as a whole and stays in the cache.
    """
    stride = block.conv_3x3.convolution.stride[0]
    batch, _, height, width = x.shape
    channels = block.reduce_1x1.convolution.out_channels
    shape = (batch, channels, -(-height // stride), -(-width // stride))
    out = torch.empty(shape, dtype=x.dtype, memory_format=torch.channels_last)
    for i in range(batch):
        for start in range(0, shape[2], rows):
            stop = min(start + rows, shape[2])
            above = 1 if start else 0  # an output row whose own upper neighbor is cut off
            band = x[i : i + 1, :, (start - above) * stride : (stop - 1) * stride + 2]
            band = block.conv_3x3(block.expand_1x1(band))[:, :, above : above + stop - start]
            out[i : i + 1, :, start:stop] = block.reduce_1x1(band)
    return out
