"""Separable self-attention against its definition in the paper, written out over patches."""

from typing import Any

import pytest
import torch
from peers import images
from torch import Tensor
from torch.nn import functional as F

from mobilevitv2 import SeparableSelfAttention


def unfold(x: Tensor, patch: int) -> Tensor:
    """[B, C, H, W] to [B, C, P, N]: the pixels of each position of the patch."""
    batch, channels = x.shape[:2]
    columns = F.unfold(x, patch, stride=patch)  # [B, C * P, N]
    return columns.view(batch, channels, patch**2, -1)


def by_definition(attention: Any, x: Tensor, source: Tensor) -> Tensor:
    """Every pixel is projected to query, key and value; the context is summed over patches."""
    patch, dim = attention.patch_size, attention.dim
    weight = attention.qkv_proj.convolution.weight[:, :, 0, 0]
    bias = attention.qkv_proj.convolution.bias
    queries_and_keys = torch.einsum("oc,bcpn->bopn", weight[: dim + 1], unfold(source, patch))
    queries_and_keys = queries_and_keys + bias[: dim + 1, None, None]
    values = torch.einsum("oc,bcpn->bopn", weight[dim + 1 :], unfold(x, patch))
    values = values + bias[dim + 1 :, None, None]
    scores = queries_and_keys[:, :1].softmax(dim=-1)
    context = (scores * queries_and_keys[:, 1:]).sum(dim=-1, keepdim=True)
    patches = (values.relu() * context).flatten(1, 2)  # [B, C * P, N]
    return attention.out_proj(F.fold(patches, x.shape[2:], patch, stride=patch))


def make(patch_size: int = 2, **options: Any) -> Any:
    torch.manual_seed(0)
    return SeparableSelfAttention(24, patch_size=patch_size, **options).double().eval()


@pytest.mark.parametrize("patch_size", [1, 2, 3])
def test_it_equals_its_definition(patch_size):
    attention = make(patch_size)
    x = images(6, 12, batch=2, channels=24).double()
    torch.testing.assert_close(attention(x), by_definition(attention, x, x), rtol=0, atol=1e-12)


def test_cross_attention_takes_queries_and_keys_from_the_other_map():
    attention = make()
    x = images(6, 12, batch=2, channels=24).double()
    other = images(10, 4, batch=2, channels=24, seed=2).double()
    given = attention(x, other)
    torch.testing.assert_close(given, by_definition(attention, x, other), rtol=0, atol=1e-12)
    assert (given - by_definition(attention, x, x)).abs().max() > 1e-4  # it matters which map


def test_the_comparison_catches_a_key_bias_that_is_forgotten():
    attention = make()
    x = images(6, 12, batch=2, channels=24).double()
    wanted = by_definition(attention, x, x)
    with torch.no_grad():
        attention.qkv_proj.convolution.bias[1:25] = 0
    assert (attention(x) - wanted).abs().max() > 1e-4


def test_dropout_on_the_scores_is_exact_too():
    attention = make(dropout=0.4).train()
    x = images(6, 12, batch=2, channels=24).double()
    torch.manual_seed(3)
    given = attention(x)
    torch.manual_seed(3)  # the same scores are dropped
    kept = F.dropout(torch.ones(2, 4, 72, dtype=torch.float64), 0.4, True)
    weight = attention.qkv_proj.convolution.weight[:, :, 0, 0]
    bias = attention.qkv_proj.convolution.bias
    q, k, v = (torch.einsum("oc,bchw->bohw", weight, x) + bias[:, None, None]).split([1, 24, 24], 1)
    position = torch.tensor([[0, 1], [2, 3]]).repeat(3, 6).flatten()
    context = torch.zeros(2, 24, 72, dtype=torch.float64)
    for p in range(4):
        here = position == p
        scores = q.flatten(2)[:, 0, here].softmax(-1) * kept[:, p, here]
        summed = torch.einsum("bn,bcn->bc", scores, k.flatten(2)[:, :, here])
        context[:, :, here] = summed[:, :, None].expand(-1, -1, int(here.sum()))
    wanted = attention.out_proj(v.relu() * context.view_as(v))
    torch.testing.assert_close(given, wanted, rtol=0, atol=1e-12)


def test_a_class_of_very_small_scores_is_not_lost():
    attention = make()
    x = torch.zeros(1, 24, 4, 4, dtype=torch.float64)
    with torch.no_grad():
        attention.qkv_proj.convolution.weight[0] = 0
        attention.qkv_proj.convolution.weight[0, 0] = 1
    x[:, 0, ::2, ::2] = -2000.0  # one pixel position far below the others
    x[:, 1:] = images(4, 4, channels=23).double()
    assert attention(x).isfinite().all()
    torch.testing.assert_close(attention(x), by_definition(attention, x, x), rtol=1e-10, atol=0)


@pytest.mark.parametrize("shape", [(1, 23, 4, 4), (1, 24, 5, 4), (1, 24, 4, 3)])
def test_a_map_that_does_not_fit_is_refused(shape):
    with pytest.raises(ValueError, match="with H and W multiples of 2"):
        make()(torch.rand(shape, dtype=torch.float64))
