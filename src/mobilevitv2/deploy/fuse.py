"""The fast form of a trained model: the same function with less to do, for inference only.

Three rewrites, all exact but for rounding:

- A BatchNorm after a convolution is a scale and a shift of each output channel: it goes into the
  convolution's weight and bias.
- Scale and shift of a GroupNorm multiply and move the input channels of the 1x1 convolution that
  follows: they go into its weight and bias, and what is left of the norm has no parameters.
- For a fixed image size, which pixels share a patch position is a constant.

The folded numbers are computed in float64.
"""

# B batch, C channels, H W height and width of a feature map, P = patch * patch pixel positions

import copy
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from mobilevitv2.config import image_sides
from mobilevitv2.errors import ConfigError
from mobilevitv2.model.attention import (
    Projection,
    SeparableSelfAttention,
    TransformerLayer,
    times_context,
)
from mobilevitv2.model.backbone import AttentionStage, Transformer
from mobilevitv2.model.fast import bare
from mobilevitv2.model.layers import ConvLayer

Network = TypeVar("Network", bound=nn.Module)


def fuse(
    model: Network,
    image_size: Sequence[int] | int | None = None,
    *,
    products: bool = False,
    elementary: bool = False,
) -> Network:
    """A copy of `model`, in eval mode, that gives the same answers faster. It can't be trained.

    With `image_size` (height and width, or one side for both, in px) it takes images of that size
    only. The rest is for exporters; PyTorch itself is faster without. With `products`, context
    vectors reach their pixels by a matrix product, which every runtime does well; `elementary`
    norms are means, products and sums, for runtimes without a norm over a whole map. Raises
    ValueError for a model that is already fused, and ConfigError if somebody has put something on
    or around a layer whose weights it would read.
    """
    stages = [m for m in model.modules() if isinstance(m, AttentionStage)]
    if any(isinstance(stage.transformer, FusedTransformer) for stage in stages):
        raise ValueError("this model is fused already; fuse the one that it came from.")
    _check_bare(model)
    fused = copy.deepcopy(model).eval().requires_grad_(False)
    for module in list(fused.modules()):
        if isinstance(module, ConvLayer):
            _fold_batch_norm(module)
        elif isinstance(module, AttentionStage):
            _fuse_stage(module, products, elementary)
    if image_size is not None:
        _fix_size(fused, image_sides(image_size))
    return fused


def _check_bare(model: nn.Module) -> None:
    for outer, block in model.named_modules():
        if not isinstance(block, ConvLayer | AttentionStage):
            continue
        for inner, part in block.named_modules(prefix=outer):
            mixes = isinstance(part, ConvLayer | Projection)
            whole = not mixes or type(part.convolution) is nn.Conv2d
            if not (whole and bare(part, type(part))) or is_parametrized(part):
                raise ConfigError(
                    f"{inner} has a hook, an adapter or a parametrization, which a fused or "
                    "exported model would lose. Merge it into the weights, or remove it."
                )


def _fold_batch_norm(layer: ConvLayer) -> None:
    conv, norm = layer.convolution, layer.normalization
    if norm is None:
        return
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    bias = norm.bias.double() - norm.running_mean.double() * scale
    if conv.bias is not None:
        bias += conv.bias.double() * scale
    _set(conv, conv.weight.double() * scale.view(-1, 1, 1, 1), bias)
    layer.normalization = None
    if isinstance(layer.activation, nn.SiLU):
        layer.activation = nn.SiLU(inplace=True)  # nothing else reads the convolution's output


def _fuse_stage(stage: AttentionStage, products: bool, elementary: bool) -> None:
    layers: list[TransformerLayer] = list(stage.transformer.layer)  # pyright: ignore[reportAssignmentType]
    for layer in layers:
        attention = FusedAttention(layer.attention)
        readers = [attention.query, attention.key, attention.value]
        layer.attention = attention  # pyright: ignore[reportAttributeAccessIssue]
        layer.layernorm_before = _stripped(layer.layernorm_before, readers, elementary)
        readers = [layer.ffn.conv1.convolution]
        layer.layernorm_after = _stripped(layer.layernorm_after, readers, elementary)
    readers = [stage.conv_projection.convolution]
    stage.layernorm = _stripped(stage.layernorm, readers, elementary)
    stage.transformer = FusedTransformer(stage.transformer, products)  # pyright: ignore[reportAttributeAccessIssue]


def _stripped(
    norm: nn.GroupNorm, readers: Sequence[nn.Conv2d | nn.Linear], elementary: bool
) -> Any:
    """The norm without scale and shift, which the 1x1 projections that read it take over."""
    for reader in readers:
        weight = reader.weight.double()
        shift = (weight.flatten(1) * norm.bias.double()).sum(1)
        bias = shift if reader.bias is None else reader.bias.double() + shift
        scale = norm.weight.double().view(1, -1, *[1] * (weight.dim() - 2))
        _set(reader, weight * scale, bias)
    return ElementaryStandardize(norm) if elementary else Standardize(norm.eps)


def _set(layer: nn.Conv2d | nn.Linear, weight: Tensor, bias: Tensor) -> None:
    old = layer.weight
    layer.weight = nn.Parameter(torch.empty_like(old).copy_(weight), requires_grad=False)
    layer.bias = nn.Parameter(bias.to(old.dtype), requires_grad=False)


class Standardize(nn.Module):
    """Each image's map [B, C, H, W] to mean 0 and variance 1 over C, H and W together."""

    def __init__(self, eps: float) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return F.group_norm(x, 1, eps=self.eps)


class ElementaryStandardize(nn.Module):
    """`Standardize` in means over H and W, products and sums."""

    average: Tensor  # [1, C, 1, 1], a 1x1 convolution

    def __init__(self, norm: nn.GroupNorm) -> None:
        super().__init__()
        self.eps = norm.eps
        average = norm.weight.new_full((1, norm.num_channels, 1, 1), 1 / norm.num_channels)
        self.register_buffer("average", average)

    def forward(self, x: Tensor) -> Tensor:
        mean = F.conv2d(x.mean((2, 3), keepdim=True), self.average)  # [B, 1, 1, 1]
        x = x - mean
        variance = F.conv2d((x * x).mean((2, 3), keepdim=True), self.average)
        return x * (variance + self.eps).rsqrt()


class Positions(NamedTuple):
    """Which pixel of a map has which patch position."""

    outside: Tensor  # [P, HW], added to scores: 0 at the position's pixels, else minus infinity
    inside: Tensor | None  # [HW, P], 1 at the position's pixels, else 0; None without products


class FusedTransformer(nn.Module):
    """The layers of one stage, with the patch positions made once for all, or before the first."""

    outside: Tensor | None
    inside: Tensor | None

    def __init__(self, transformer: Transformer, products: bool) -> None:
        super().__init__()
        self.layer = transformer.layer
        self.products = products
        self.register_buffer("outside", None)
        self.register_buffer("inside", None)

    def forward(self, x: Tensor, other: Tensor) -> Tensor:
        if self.outside is None:
            positions = self._positions(x, other)
        else:
            positions = Positions(self.outside, self.inside)
        for layer in self.layer:
            x = layer(x, positions)
        return x

    def fix(self, inputs: tuple[Tensor, Tensor]) -> None:
        """Keep the positions of this map; a hook before `forward`."""
        self.outside, self.inside = self._positions(*inputs)

    def _positions(self, x: Tensor, other: Tensor) -> Positions:
        outside = torch.zeros_like(other, dtype=x.dtype).masked_fill(other, float("-inf"))
        return Positions(outside, (~other).T.to(x.dtype).contiguous() if self.products else None)


class FusedAttention(nn.Module):
    """`SeparableSelfAttention` with three layers; the key's is linear, as it meets only P sums."""

    def __init__(self, attention: SeparableSelfAttention) -> None:
        super().__init__()
        self.patch_size = attention.patch_size
        dim = attention.dim
        weight = attention.qkv_proj.convolution.weight
        like = {"device": weight.device, "dtype": weight.dtype}
        self.query = nn.Conv2d(dim, 1, 1, **like)
        self.key = nn.Linear(dim, dim, **like)
        self.value = nn.Conv2d(dim, dim, 1, **like)
        start = 0
        for layer in (self.query, self.key, self.value):
            weight, bias = attention.qkv_proj.rows(start, start + layer.weight.shape[0])
            _set(layer, weight.view_as(layer.weight), bias)
            start += layer.weight.shape[0]
        self.out_proj = attention.out_proj

    def forward(self, x: Tensor, other: Positions) -> Tensor:
        scores = self.query(x).flatten(2) + other.outside  # [B, P, HW]
        at_least_fp32 = torch.promote_types(x.dtype, torch.float32)
        scores = scores.softmax(-1, dtype=at_least_fp32).to(x.dtype)
        summed = torch.bmm(x.flatten(2), scores.transpose(1, 2))  # [B, C, P]
        context = self.key(summed.transpose(1, 2))  # [B, P, C]
        value = F.relu(self.value(x), inplace=True)
        if other.inside is None:
            return self.out_proj(times_context(value, context, self.patch_size))
        spread = F.linear(context.transpose(1, 2), other.inside)  # [B, C, HW]
        return self.out_proj(value * spread.view_as(value))


@torch.no_grad()
def _fix_size(model: nn.Module, size: tuple[int, int]) -> None:
    """Run once on an image of this size and keep the positions of its maps."""
    fused = (m for m in model.modules() if isinstance(m, FusedTransformer))
    hooks = [m.register_forward_pre_hook(FusedTransformer.fix) for m in fused]
    weight = next(model.parameters())
    model(torch.zeros(1, weight.shape[1], *size, dtype=weight.dtype, device=weight.device))
    for hook in hooks:
        hook.remove()
