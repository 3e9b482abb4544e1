"""What makes eager PyTorch fast: other ways to compute what the modules beside this one say.

Those modules read as the paper and ask here first; if the answer is None, they compute what they
say. So they do wherever somebody has put something on or around a layer, which these ways would go
past: hooks, adapters, parametrizations, offloading, quantized weights, a trace. A compiler finds
such ways by itself and never gets these.
"""

# B batch, C channels, H W height and width of a feature map

from collections.abc import Collection
from typing import TYPE_CHECKING, Any, TypeGuard, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from mobilevitv2.model.layers import ConvLayer, InvertedResidual

WHOLE = 16 * 2**20  # bytes of a widened map, up to which it is not cut into bands
BAND = 4 * 2**20  # bytes of a band of it
Kind = TypeVar("Kind", bound=nn.Module)
PLAIN = (nn.Parameter, Tensor, type(None))  # kinds of weights; others may be quantized or sharded


def bare(module: nn.Module | None, kind: type[Kind]) -> TypeGuard[Kind]:
    """Whether calling the module does what `kind` does with plain weights, and nothing else."""
    if module is None or type(module) is not kind or "forward" in module.__dict__:
        return False
    hooks = module._forward_hooks or module._forward_pre_hooks
    if hooks or module._backward_hooks or module._backward_pre_hooks:
        return False
    own = module._parameters.values()
    return torch.compiler.is_compiling() or all(type(p) in PLAIN for p in own)


def may_be_read(layer: Any, kind: type[nn.Module]) -> bool:
    """Whether parts of a layer's convolution may be read instead of calling the layer."""
    whole = bare(layer, kind) and bare(getattr(layer, "convolution", None), nn.Conv2d)
    return whole and not nn.modules.module._has_any_global_hook()


def traced(x: Any) -> bool:
    """Whether all layers are watched: by a compiler, by a trace, or by hooks on every module."""
    return (
        torch.compiler.is_compiling()
        or torch.jit.is_tracing()  # pyright: ignore[reportPrivateImportUsage]
        or not isinstance(x, Tensor)  # torch.fx
        or bool(nn.modules.module._has_any_global_hook())
    )


def convolved(conv: nn.Module, x: Tensor) -> Tensor:
    """`conv(x)`, channels_last, the faster format: a map is so if its convolution's weight is."""
    if traced(x) or not bare(conv, nn.Conv2d):
        return conv(x)
    weight = conv.weight.contiguous(memory_format=torch.channels_last)
    return conv._conv_forward(x, weight, conv.bias)


def conv_layer(layer: "ConvLayer", x: Tensor) -> Tensor | None:
    """A layer in a training step with less memory, or in inference as a single convolution."""
    conv, norm, act = layer.convolution, layer.normalization, layer.activation
    if not bare(norm, nn.BatchNorm2d) or traced(x):
        return None
    statistics = norm.running_mean, norm.running_var, norm.momentum
    if any(statistic is None for statistic in statistics):
        return None
    forward_mode = torch.autograd.forward_ad._current_level >= 0  # pyright: ignore[reportAttributeAccessIssue]
    by_backward = not (forward_mode or torch._C._are_functorch_transforms_active())
    if norm.training and bare(act, nn.SiLU) and by_backward:
        assert norm.num_batches_tracked is not None  # as the others are
        norm.num_batches_tracked.add_(1)
        x = convolved(conv, x)
        return BatchNormSiLU.apply(x, norm.weight, norm.bias, *statistics, norm.eps)  # pyright: ignore[reportReturnType]
    if norm.training or torch.is_grad_enabled() or not bare(conv, nn.Conv2d):
        return None
    x = conv._conv_forward(x, *fold(conv, norm))
    return F.silu(x, inplace=True) if bare(act, nn.SiLU) else act(x) if act else x


def fold(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Weight and bias of the one convolution that equals `conv` and then `norm` in inference."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    bias = norm.bias - norm.running_mean * scale
    if conv.bias is not None:
        bias = bias + conv.bias * scale
    weight = conv.weight * scale.view(-1, 1, 1, 1)
    return weight.contiguous(memory_format=torch.channels_last), bias


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
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, grad: Tensor
    ) -> tuple[Tensor | None, ...]:
        x, weight, bias, mean, rstd = ctx.saved_tensors
        if torch.is_grad_enabled():  # somebody will derive these gradients
            normed = F.batch_norm(x, None, None, weight, bias, training=True, eps=ctx.eps)
            inputs = [t for t in (x, weight, bias) if t.requires_grad]
            found = iter(torch.autograd.grad(F.silu(normed), inputs, grad, create_graph=True))
            grads = (next(found) if t.requires_grad else None for t in (x, weight, bias))
            return (*grads, None, None, None, None)
        scale = weight * rstd
        shift = bias - mean * scale
        normed = torch.addcmul(shift.view(-1, 1, 1), x, scale.view(-1, 1, 1))
        grad = torch.ops.aten.silu_backward(grad, normed.to(x.dtype))
        grads = torch.ops.aten.native_batch_norm_backward(
            grad, x, weight, None, None, mean, rstd, True, ctx.eps, [True, True, True]
        )
        return (*grads, None, None, None, None)


def inverted_residual(
    block: "InvertedResidual", x: Tensor, kinds: Collection[type[nn.Module]]
) -> Tensor | None:
    """In inference on the CPU a block whose widened map is large, made of `kinds`: in bands."""
    if traced(x) or not x.is_cpu or block.training or torch.is_grad_enabled():
        return None
    conv = getattr(block.conv_3x3, "convolution", None)
    if not isinstance(conv, nn.Conv2d) or conv.dilation != (1, 1):
        return None
    row = conv.in_channels * x.shape[3] * x.element_size() * conv.stride[0]
    whole = row * -(-x.shape[2] // conv.stride[0]) * x.shape[0]
    if whole <= WHOLE:
        return None
    layers = block.expand_1x1, block.conv_3x3, block.reduce_1x1
    parts = [part for layer in layers for part in layer.modules()]
    if not all(type(part) in kinds and bare(part, type(part)) for part in parts):
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
