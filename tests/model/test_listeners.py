"""Whatever somebody puts on or around a layer counts, as it does in transformers' classes."""

import zlib
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
import transformers as hf
from peers import copy_weights, images, randomize, relative_error
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn.utils import parametrizations, parametrize, prune

from mobilevitv2 import (
    MobileViTV2Config,
    MobileViTV2ForImageClassification,
    MobileViTV2ForSemanticSegmentation,
)
from mobilevitv2.deploy import fuse
from mobilevitv2.errors import ConfigError
from mobilevitv2.model import fast
from mobilevitv2.model.attention import Projection
from mobilevitv2.model.layers import ConvLayer

transformers: Any = hf  # its classes hide their arguments from a type checker

SMALL = {"width_multiplier": 0.5, "n_attn_blocks": [1, 1, 1], "num_labels": 5}
SEGMENTER = SMALL | {
    "aspp_out_channels": 32,
    "aspp_dropout_prob": 0.0,
    "classifier_dropout_prob": 0.0,
}
PIXELS = images(64, 128, batch=2)  # whose maps patches divide, which transformers needs

Wrap = Callable[[nn.Conv2d, torch.Generator], nn.Module | None]  # a module in its place, or None


class Adapter(nn.Module):
    """A low-rank change beside a layer, as peft's LoRA."""

    def __init__(self, base: nn.Conv2d, generator: torch.Generator) -> None:
        super().__init__()
        self.base = base
        self.down = nn.Parameter(torch.randn(2, base.in_channels, 1, 1, generator=generator) / 5)
        self.up = nn.Parameter(torch.randn(base.out_channels, 2, 1, 1, generator=generator) / 5)

    @property
    def weight(self) -> Tensor:
        return self.base.weight

    @property
    def bias(self) -> Tensor | None:
        return self.base.bias

    def forward(self, x: Tensor) -> Tensor:
        change = nn.functional.conv2d(nn.functional.conv2d(x, self.down), self.up)
        return self.base(x) + change


class Doubled(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * x


class Shifted(nn.Conv2d):
    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input) + 0.3


def subclass(conv: nn.Conv2d, _: torch.Generator) -> None:
    conv.__class__ = Shifted


def replaced_forward(conv: nn.Conv2d, _: torch.Generator) -> None:  # as accelerate's offloading
    plain = conv.forward

    def forward(input: Tensor) -> Tensor:
        return 1.2 * plain(input)

    conv.forward = forward


def output_hook(conv: nn.Conv2d, _: torch.Generator) -> None:
    def larger(module: nn.Module, given: Any, output: Any) -> Any:
        return 1.2 * output

    conv.register_forward_hook(larger)


def input_hook(conv: nn.Conv2d, _: torch.Generator) -> None:
    def larger(module: nn.Module, given: Any) -> Any:
        return (1.2 * given[0],)

    conv.register_forward_pre_hook(larger)


def pruned(conv: nn.Conv2d, _: torch.Generator) -> None:
    prune.l1_unstructured(conv, "weight", 0.5)
    with torch.no_grad():  # what is in `weight` is stale until the next call
        conv.get_parameter("weight_orig").mul_(1.3)


def parametrized(conv: nn.Conv2d, _: torch.Generator) -> None:
    parametrize.register_parametrization(conv, "weight", Doubled())


def weight_normed(conv: nn.Conv2d, _: torch.Generator) -> None:
    nn.utils.weight_norm(conv)
    with torch.no_grad():
        conv.get_parameter("weight_g").mul_(1.3)


def spectral_normed(conv: nn.Conv2d, generator: torch.Generator) -> None:
    parametrizations.spectral_norm(conv)
    for vector in ("_u", "_v"):
        known = conv.get_buffer(f"parametrizations.weight.0.{vector}")
        known.copy_(nn.functional.normalize(torch.rand(known.shape, generator=generator), dim=0))


WRAPPERS: dict[str, Wrap] = {
    "adapter": Adapter,
    "subclass": subclass,
    "replaced forward": replaced_forward,
    "output hook": output_hook,
    "input hook": input_hook,
    "pruning": pruned,
    "parametrization": parametrized,
    "weight norm by a hook": weight_normed,
    "spectral norm": spectral_normed,
}
IN_THE_WEIGHT = ("parametrization", "spectral norm")  # who only reads it gets it


def wrap_mixing(network: nn.Module, wrap: Wrap) -> None:
    """Wrap every 1x1 convolution, in attention, in inverted residuals and in heads."""
    for name, conv in list(network.named_modules()):
        if isinstance(conv, nn.Conv2d) and conv.kernel_size == (1, 1):
            generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
            instead = wrap(conv, generator)
            if instead is not None:
                parent, _, own = name.rpartition(".")
                setattr(network.get_submodule(parent), own, instead)


def pair(task: str) -> tuple[Any, Any]:
    """transformers' model and ours with the same random weights."""
    if task == "classification":
        theirs = transformers.MobileViTV2ForImageClassification(
            transformers.MobileViTV2Config(**SMALL)
        )
        ours = MobileViTV2ForImageClassification(MobileViTV2Config(**SMALL))
    else:
        theirs = transformers.MobileViTV2ForSemanticSegmentation(
            transformers.MobileViTV2Config(**SEGMENTER)
        )
        ours = MobileViTV2ForSemanticSegmentation(
            MobileViTV2Config(**SEGMENTER, use_auxiliary_head=False)
        )
    copy_weights(randomize(theirs), ours)
    return theirs.eval(), ours.eval()


@pytest.fixture(
    params=[False, pytest.param(True, marks=pytest.mark.slow)], ids=["whole", "in bands"]
)
def bands(request, monkeypatch):
    if request.param:
        monkeypatch.setattr(fast, "WHOLE", 0)
        monkeypatch.setattr(fast, "BAND", 1)


@pytest.mark.parametrize("task", ["classification", "segmentation"])
@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.filterwarnings("ignore::FutureWarning")  # the hook's weight norm is old
def test_a_wrapper_counts_in_inference(wrapper, task, bands, monkeypatch):
    theirs, ours = pair(task)
    unguarded = pair(task)[1]
    with torch.no_grad():
        plain = theirs(PIXELS).logits
        for network in (theirs, ours, unguarded):
            wrap_mixing(network, WRAPPERS[wrapper])
        expected = theirs(PIXELS).logits
        assert relative_error(plain, expected) > 1e-3
        assert relative_error(ours(PIXELS).logits, expected) <= 1e-5
        if wrapper in IN_THE_WEIGHT:
            return
        monkeypatch.setattr(fast, "bare", lambda module, kind: module is not None)
        try:
            assert relative_error(unguarded(PIXELS).logits, expected) > 1e-4
        except AttributeError:  # there is nothing to read
            assert wrapper == "adapter"


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.filterwarnings("ignore::FutureWarning")  # the hook's weight norm is old
def test_what_fusing_would_lose_is_refused(wrapper):
    ours = pair("segmentation")[1]
    wrap_mixing(ours.segmentation_head, WRAPPERS[wrapper])
    with pytest.raises(ConfigError, match=r"^aspp.* has a hook, an adapter or a param"):
        fuse(ours.segmentation_head)
    inside = pair("classification")[1]
    wrap_mixing(inside.mobilevitv2.encoder.layer[3].transformer, WRAPPERS[wrapper])
    with pytest.raises(ConfigError, match=r"qkv_proj.* has a hook, an adapter or a param"):
        fuse(inside)


@pytest.mark.parametrize("task", ["classification", "segmentation"])
@pytest.mark.parametrize("wrapper", ["adapter", "parametrization", "output hook"])
def test_a_wrapper_counts_in_training(wrapper, task):
    gradients = []
    for network in pair(task):
        wrap_mixing(network.train(), WRAPPERS[wrapper])
        network.double()(PIXELS.double()).logits.square().mean().backward()
        learned = {n: p.grad for n, p in network.named_parameters() if p.requires_grad}
        assert all(grad is not None for grad in learned.values())
        gradients.append(torch.cat([grad.flatten() for grad in learned.values()]))
    assert relative_error(gradients[1], gradients[0]) <= 1e-8


def note(name: str, to: list[str], *_: Any) -> None:
    to.append(name)


@pytest.mark.parametrize("training", [False, True])
def test_every_layer_calls_its_hooks(training, bands):
    theirs, ours = pair("segmentation")
    calls: list[list[str]] = []
    for network in (theirs, ours):
        calls.append([])
        for name, module in network.named_modules():
            if not isinstance(module, nn.Dropout):
                module.register_forward_hook(partial(note, name, calls[-1]))
        network.train(training)
        with torch.set_grad_enabled(training):
            network(PIXELS)
    layers = {n for n, m in theirs.named_modules() if isinstance(m, nn.Conv2d | nn.BatchNorm2d)}
    assert [name for name in calls[1] if name in layers] == [n for n in calls[0] if n in layers]


@pytest.mark.parametrize("kind", [nn.BatchNorm2d, nn.SiLU, nn.ReLU])
@pytest.mark.parametrize("training", [False, True])
def test_hooks_on_norms_and_activations_count(kind, training, bands):
    ours = pair("segmentation")[1].train(training)
    with torch.set_grad_enabled(training):
        plain = ours(PIXELS).logits
        hooks = [
            module.register_forward_hook(lambda module, given, output: 0 * output)
            for module in ours.modules()
            if type(module) is kind
        ]
        assert hooks
        assert relative_error(ours(PIXELS).logits, plain) > 0.01
        seen = []
        for hook in hooks:
            hook.remove()
        everywhere = nn.modules.module.register_module_forward_hook(
            lambda module, given, output: seen.append(module)
        )
        ours(PIXELS)
        everywhere.remove()
    called = (kind, nn.Conv2d, ConvLayer, Projection)
    assert {module for module in ours.modules() if type(module) in called} <= set(seen)


@pytest.mark.filterwarnings("ignore")  # of the tracer
def test_a_trace_answers_for_other_batches_and_sizes(bands):
    ours = pair("classification")[1]
    ours.config.return_dict = False
    with torch.no_grad():
        traced: Any = torch.jit.trace(ours, images(64, 64, batch=2), check_trace=False)
        other = images(96, 160, batch=3)
        assert relative_error(traced(other)[0], ours(other)[0]) <= 1e-5


@pytest.mark.parametrize("task", ["classification", "segmentation"])
@pytest.mark.parametrize("training", [False, True])
def test_a_symbolic_trace_answers_the_same(task, training):
    ours = pair(task)[1].train(training)

    class Around(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inside = ours

        def forward(self, pixels: Tensor) -> Tensor:
            return self.inside(pixels, return_dict=False)[0]

    around = Around().train(training)
    other = images(96, 64, batch=3)
    traced = torch.fx.symbolic_trace(around)
    assert relative_error(traced(other), around(other)) <= 1e-5


def test_weights_are_contiguous_and_maps_channels_last():
    ours = pair("classification")[1]
    assert all(parameter.is_contiguous() for parameter in ours.parameters())
    feature_map = ours.mobilevitv2(PIXELS).last_hidden_state
    assert feature_map.is_contiguous(memory_format=torch.channels_last)


def test_gradients_have_gradients():
    found = []
    for network in pair("classification"):
        pixels = PIXELS.double().requires_grad_()
        logits = network.double().train()(pixels).logits
        (slope,) = torch.autograd.grad(logits.square().sum(), pixels, create_graph=True)
        slope.square().sum().backward()
        found.append(
            torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None])
        )
    assert relative_error(found[1], found[0]) <= 1e-8


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of torch itself
def test_forward_mode_gives_the_same_derivative():
    network = pair("classification")[1].double().train()
    pixels, direction = PIXELS.double(), images(64, 128, batch=2, seed=9).double()

    def score(pixels: Tensor) -> Tensor:
        return network(pixels).logits.square().sum()

    with forward_ad.dual_level():
        slope = forward_ad.unpack_dual(score(forward_ad.make_dual(pixels, direction))).tangent
    leaf = pixels.clone().requires_grad_()
    score(leaf).backward()
    assert leaf.grad is not None
    assert slope is not None
    assert slope.item() == pytest.approx((leaf.grad * direction).sum().item(), rel=1e-6)
