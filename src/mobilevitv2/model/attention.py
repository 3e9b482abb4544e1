"""Separable self-attention, the idea of MobileViTv2 (Mehta and Rastegari, 2022, section 3.2).

The paper unfolds a feature map into patches and attends over the patches, separately for each pixel
position within a patch. Here the map stays [B, C, H, W], and a mask says which pixels share a
position. Two exact identities make that cheap:

- The context vector is a weighted sum of keys, and a key is a linear function of a pixel. So the
  pixels are summed first, and only the P sums are projected.
- All pixels of a position are multiplied by the same context vector, so a pattern of `patch` rows,
  repeated by broadcasting, stands for a whole map of them.
"""

# B batch, C channels, H W height and width, P = patch * patch pixel positions

import torch
import torch.fx
import torch.nn.functional as F
from torch import Tensor, nn

from mobilevitv2.config import MobileViTV2Config
from mobilevitv2.model import fast
from mobilevitv2.model.layers import ACTIVATIONS, DropPath


class SeparableSelfAttention(nn.Module):
    """Attention with one context vector for each pixel position; its cost is linear in the pixels.

    [B, C, H, W] to [B, C, H, W]; H and W are multiples of `patch_size`. With a second map
    `context_from` [B, C, H2, W2] it is the reference's cross-attention: queries and keys come from
    that map, values from the first. Another channel count or an indivisible size raises ValueError.
    `qkv_proj` holds [query: 1 | key: C | value: C] rows, as published.
    """

    def __init__(self, dim: int, *, patch_size: int = 2, dropout: float = 0.0) -> None:
        super().__init__()
        self.dim = dim
        self.patch_size = patch_size
        self.dropout = dropout
        self.qkv_proj = Projection(dim, 1 + 2 * dim)
        self.out_proj = Projection(dim, dim)

    def forward(
        self, x: Tensor, context_from: Tensor | None = None, other: Tensor | None = None
    ) -> Tensor:
        """`other` is `other_positions` of the attended map, if the caller already has it."""
        x = source = checked(x, "x", self.dim, self.patch_size)
        if context_from is not None:
            source = checked(context_from, "context_from", self.dim, self.patch_size)
        if other is None:
            other = other_positions(source, self.patch_size)
        parts = self._in_parts if fast.may_be_read(self.qkv_proj, Projection) else self._whole
        context, value = parts(x, source, other)
        return self.out_proj(times_context(value, context, self.patch_size))

    def _whole(self, x: Tensor, source: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
        """Context [B, P, C] and value [B, C, H, W], as the paper says it."""
        query, key, value = self.qkv_proj(source).split([1, self.dim, self.dim], dim=1)
        if x is not source:
            value = self.qkv_proj(x)[:, self.dim + 1 :]
        scores = self._scores(query, other).to(key.dtype)
        return torch.bmm(scores, key.flatten(2).transpose(1, 2)), F.relu(value)

    def _in_parts(self, x: Tensor, source: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
        """The same by the first of the two identities; goes past the modules in `qkv_proj`."""
        context = self.context(source, other)
        value = F.conv2d(x, *self.qkv_proj.rows(self.dim + 1, 2 * self.dim + 1))
        return context, F.relu(value, inplace=True)

    def _scores(self, query: Tensor, other: Tensor) -> Tensor:
        """Each pixel's share in the context of its position: queries [B, 1, H, W] to [B, P, HW]."""
        at_least_fp32 = torch.promote_types(query.dtype, torch.float32)
        scores = query.flatten(2).masked_fill(other, float("-inf")).softmax(-1, dtype=at_least_fp32)
        return F.dropout(scores, self.dropout, self.training)

    def context(self, source: Tensor, other: Tensor) -> Tensor:
        """The context vector of each pixel position, [B, P, C]: the weighted sum of its keys."""
        query = F.conv2d(source, *self.qkv_proj.rows(0, 1))
        scores = self._scores(query, other).to(source.dtype)
        pixels = source.flatten(2).transpose(1, 2)  # [B, HW, C]
        summed = torch.bmm(scores, pixels)  # [B, P, C]
        weight, bias = self.qkv_proj.rows(1, self.dim + 1)
        if self.training and self.dropout > 0:  # the scores no longer sum to 1
            return F.linear(summed, weight.flatten(1)) + bias * scores.sum(-1, keepdim=True)
        return F.linear(summed, weight.flatten(1), bias)


def checked(x: Tensor, name: str, dim: int, patch_size: int) -> Tensor:
    """The map `name`. Raises ValueError unless it has `dim` channels and patches divide it."""
    height, width = x.shape[2:]
    if x.shape[1] != dim or height % patch_size or width % patch_size:
        raise ValueError(
            f"{name} is {list(x.shape)}; expected [B, {dim}, H, W] with H and W multiples of "
            f"{patch_size}. Pad or resize the map."
        )
    return x


def other_positions(x: Tensor, patch_size: int) -> Tensor:
    """bool [P, HW]: True where a pixel of the map [B, C, H, W] isn't at that patch position."""
    height, width = x.shape[2:]
    position = torch.arange(patch_size**2, device=x.device)
    tile = position.view(patch_size, patch_size)
    positions = tile.repeat(height // patch_size, width // patch_size).flatten()
    return positions != position.unsqueeze(1)


def times_context(x: Tensor, context: Tensor, patch_size: int) -> Tensor:
    """Each pixel of [B, C, H, W] times the vector of its patch position in `context` [B, P, C]."""
    batch, channels, height, width = x.shape
    rows = context.view(batch, patch_size, patch_size, channels)
    rows = rows.repeat(1, 1, width // patch_size, 1)  # [B, patch, W, C]
    rows = rows.reshape(batch, 1, patch_size * width, channels).permute(0, 3, 1, 2)
    folded = x.reshape(batch, channels, height // patch_size, patch_size * width)
    return (folded * rows).reshape(batch, channels, height, width)


for _about_sizes in ("checked", "other_positions", "times_context"):
    torch.fx.wrap(_about_sizes)  # which a symbolic trace doesn't know


class Projection(nn.Module):
    """1x1 convolution with bias."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.convolution(x)

    def rows(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """Weight [stop - start, C, 1, 1] and bias of some output channels."""
        bias = self.convolution.bias
        assert bias is not None
        return self.convolution.weight[start:stop], bias[start:stop]


class FeedForward(nn.Module):
    """Widen, activate, narrow, at every pixel: [B, C, H, W] to the same."""

    def __init__(self, dim: int, config: MobileViTV2Config) -> None:
        super().__init__()
        hidden = config.ffn_dim(dim)
        self.conv1 = Projection(dim, hidden)
        self.activation = ACTIVATIONS[config.hidden_act]()
        self.conv2 = Projection(hidden, dim)
        self.dropout = config.ffn_dropout

    def forward(self, x: Tensor) -> Tensor:
        x = self.activation(self.conv1(x))
        x = self.conv2(F.dropout(x, self.dropout, self.training))
        return F.dropout(x, self.dropout, self.training)


class TransformerLayer(nn.Module):
    """Attention, then feed-forward, each on a map normalized as a whole and added: [B, C, H, W]."""

    def __init__(self, dim: int, config: MobileViTV2Config, *, drop_path: float) -> None:
        super().__init__()
        self.layernorm_before = nn.GroupNorm(1, dim, eps=config.layer_norm_eps)
        self.attention = SeparableSelfAttention(
            dim, patch_size=config.patch, dropout=config.attn_dropout
        )
        self.layernorm_after = nn.GroupNorm(1, dim, eps=config.layer_norm_eps)
        self.ffn = FeedForward(dim, config)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, other: Tensor | None = None) -> Tensor:
        x = x + self.drop_path(self.attention(self.layernorm_before(x), other=other))
        return x + self.drop_path(self.ffn(self.layernorm_after(x)))
