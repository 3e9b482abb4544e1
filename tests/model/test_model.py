"""What the models do beyond the numbers: learning, freezing, exporting, memory, bad input."""

import copy
from typing import Any

import pytest
import torch
import transformers as hf
from peers import images, randomize, relative_error
from torch import nn

from mobilevitv2 import (
    MobileViTV2Backbone,
    MobileViTV2Config,
    MobileViTV2ForImageClassification,
    MobileViTV2Model,
)
from mobilevitv2.model import fast
from mobilevitv2.model.layers import ConvLayer, DropPath, InvertedResidual

transformers: Any = hf  # its classes hide their arguments from a type checker


def small(num_labels: int = 4, **fields: Any) -> Any:
    torch.manual_seed(0)
    config = MobileViTV2Config(width_multiplier=0.5, num_labels=num_labels, **fields)
    return MobileViTV2ForImageClassification(config).eval()


def loss_after_steps(network: nn.Module, steps: int = 12) -> float:
    """Of learning which half of the image is bright."""
    torch.manual_seed(0)
    x, labels = torch.rand(16, 3, 32, 32) / 4, torch.arange(16) % 2
    x[labels == 0, :, :16] += 0.5
    x[labels == 1, :, 16:] += 0.5
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    network.train()
    loss = torch.tensor(0.0)
    for _ in range(steps):
        loss = network(x, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()


def test_an_untrained_model_learns_at_once():
    assert loss_after_steps(small(num_labels=2)) < 0.1


def test_norms_of_near_zero_scale_would_not_learn():
    """A mutant: the initialization of BatchNorm scales that transformers has."""
    model = small(num_labels=2)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 0, 0.02)
    assert loss_after_steps(model) > 0.4


def test_an_untrained_model_tells_images_apart_where_transformers_gives_zeros():
    config = transformers.MobileViTV2Config(width_multiplier=0.5)
    theirs = transformers.MobileViTV2ForImageClassification(config).eval()
    with torch.no_grad():
        assert theirs(images(64, 64)).logits.abs().max() < 1e-6
        assert small()(images(64, 64)).logits.abs().max() > 1e-3


@pytest.mark.parametrize(
    "size", [(32, 32), (33, 47), (97, 130)], ids=["the least", "odd", "odd and larger"]
)
def test_any_size_from_32_px_runs(size):
    with torch.no_grad():
        assert small()(images(*size)).logits.isfinite().all()


@pytest.mark.parametrize(
    ("pixels", "said"),
    [
        (None, "pixel_values is missing"),
        (torch.rand(3, 64, 64), r"\[3, 64, 64\]; expected \[B, 3, H, W\]"),
        (torch.rand(1, 1, 64, 64), r"\[1, 1, 64, 64\]; expected \[B, 3, H, W\]"),
        (torch.rand(1, 3, 31, 64), "31x64 px; MobileViTv2 halves it five times and needs 32x32"),
        (torch.zeros(1, 3, 64, 64, dtype=torch.uint8), r"expected floats in \[0, 1\]"),
    ],
)
def test_images_that_do_not_fit_are_refused(pixels, said):
    with pytest.raises(ValueError, match=said):
        small()(pixels)


# Two eager forms and the compiled one give the plain module's numbers


def plain(layer: ConvLayer, x):
    assert layer.normalization is not None
    assert layer.activation is not None
    return layer.activation(layer.normalization(layer.convolution(x)))


@pytest.mark.parametrize("training", [True, False], ids=["training", "inference"])
def test_the_eager_forms_of_a_convolution_equal_the_plain_modules(training):
    layer, twin = (
        randomize(ConvLayer(8, 12, 3, stride=2, activation="silu")).double().train(training)
        for _ in range(2)
    )
    x = images(9, 10, batch=3, channels=8).double()
    assert isinstance(layer, ConvLayer)
    assert isinstance(twin, ConvLayer)
    if not training:
        with torch.no_grad():
            torch.testing.assert_close(layer(x), plain(twin, x), rtol=0, atol=1e-12)
        return
    mine, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    out, wanted = layer(mine), plain(twin, theirs)
    torch.testing.assert_close(out, wanted, rtol=0, atol=1e-12)
    weights = torch.rand_like(out)
    (out * weights).sum().backward()
    (wanted * weights).sum().backward()
    torch.testing.assert_close(mine.grad, theirs.grad, rtol=0, atol=1e-12)
    for a, b in zip(layer.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=0, atol=1e-12)
    for a, b in zip(layer.buffers(), twin.buffers(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(16, 8), (17, 9), (33, 8)])
def test_an_inverted_residual_in_bands_equals_the_whole(monkeypatch, stride, size):
    block = randomize(InvertedResidual(8, 12, stride=stride, expand_ratio=2, activation="silu"))
    block, x = block.double(), images(*size, batch=2, channels=8).double()
    assert isinstance(block, InvertedResidual)
    with torch.no_grad():
        whole = block(x)
        monkeypatch.setattr(fast, "WHOLE", 0)
        monkeypatch.setattr(fast, "BAND", 1)
        cuts, plain = [], fast.conv_layer
        monkeypatch.setattr(
            fast, "conv_layer", lambda layer, x: cuts.append(layer) or plain(layer, x)
        )
        banded = block(x)
    assert cuts.count(block.expand_1x1) >= 2 * 2  # it was cut, two images into some bands each
    torch.testing.assert_close(banded, whole, rtol=0, atol=1e-12)


def kept_for_backward(call) -> int:
    """Bytes of the distinct tensors that autograd keeps."""
    kept = {}

    def keep(tensor):
        kept[tensor.data_ptr()] = tensor.nbytes
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        out = call()
    del out
    return sum(kept.values())


def test_training_keeps_a_third_less_of_a_convolution():
    layer = ConvLayer(8, 64, 1, activation="silu").train()
    x = images(64, 64, batch=2, channels=8).requires_grad_()
    lean, full = kept_for_backward(lambda: layer(x)), kept_for_backward(lambda: plain(layer, x))
    assert lean < 0.6 * full  # of input, convolution and norm, the last is not kept


def test_gradient_checkpointing_changes_memory_and_not_the_gradient():
    model, x = small().train(), images(64, 64, batch=2)
    labels = torch.tensor([0, 3])

    def gradients():
        model.zero_grad()
        model(x, labels=labels).loss.backward()
        return [p.grad.clone() for p in model.parameters() if p.grad is not None]

    wanted, full = gradients(), kept_for_backward(lambda: model(x))
    model.gradient_checkpointing_enable()
    given, lean = gradients(), kept_for_backward(lambda: model(x))
    assert lean < full
    for a, b in zip(given, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)
    model.gradient_checkpointing_disable()
    assert kept_for_backward(lambda: model(x)) == full


def test_it_exports_with_dynamic_batch_and_image_size_at_rank_four():
    model = small(n_attn_blocks=[1, 2, 1])
    batch, height, width = (torch.export.Dim(n, min=1, max=32) for n in ("b", "h", "w"))
    program = torch.export.export(
        model,
        (images(256, 320, batch=2),),
        dynamic_shapes={"pixel_values": {0: batch, 2: 32 * height, 3: 32 * width}},
    )
    exported = program.module()
    for shape in [(1, 256, 256), (3, 288, 512), (5, 96, 128)]:  # 288: a map of 9 rows is stretched
        x = images(*shape[1:], batch=shape[0])
        with torch.no_grad():
            assert relative_error(exported(x).logits, model(x).logits) <= 1e-5
    values = [node.meta.get("val") for node in program.graph.nodes]
    assert max(len(v.shape) for v in values if isinstance(v, torch.Tensor)) == 4
    names = {str(node.target) for node in program.graph.nodes}
    assert not any(word in name for name in names for word in ("im2col", "col2im", "unfold"))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's compiler itself
@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("training", [True, False], ids=["training", "inference"])
def test_it_compiles_whole(training):
    model = small(n_attn_blocks=[1, 2, 1]).train(training)
    before = copy.deepcopy(model.state_dict())
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    x = images(64, 96, batch=2)
    with torch.set_grad_enabled(training):
        given = compiled(x).logits
        model.load_state_dict(before)  # training moved the running statistics
        assert relative_error(given, model(x).logits) <= 1e-4


# What timm's users rely on


def test_reset_classifier_gives_a_new_head_and_names():
    model = small()
    model.reset_classifier(3, ["ant", "bee", "cat"])
    assert model(images(64, 64)).logits.shape == (1, 3)
    assert model.config.id2label == {0: "ant", 1: "bee", 2: "cat"}
    assert model.config.num_labels == model.num_labels == 3
    model.reset_classifier(0)
    assert torch.equal(
        model(images(64, 64)).logits, model.mobilevitv2(images(64, 64)).pooler_output
    )
    with pytest.raises(ValueError, match="num_labels is 2, but id2label names 1"):
        model.reset_classifier(2, ["ant"])


def test_freezing_up_to_a_stage_stops_gradients_and_statistics_there():
    model = small()
    model.freeze(2)
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    model(images(64, 64, batch=2), labels=torch.tensor([0, 1])).loss.backward()
    optimizer.step()
    frozen = ("mobilevitv2.conv_stem", "mobilevitv2.encoder.layer.0", "mobilevitv2.encoder.layer.1")
    for name, value in model.state_dict().items():
        if name.startswith(frozen):
            assert torch.equal(value, before[name]), name
    changed = [n for n, value in model.state_dict().items() if not torch.equal(value, before[n])]
    assert any(name.startswith("mobilevitv2.encoder.layer.2") for name in changed)
    model.unfreeze()
    assert all(p.requires_grad for p in model.parameters())
    assert model.mobilevitv2.conv_stem.training
    with pytest.raises(ValueError, match="stages is 6; expected 0"):
        model.freeze(6)


def test_one_dimensional_parameters_are_not_decayed():
    model = small()
    decayed, others = model.parameter_groups(0.05)
    assert decayed["weight_decay"] == 0.05
    assert others["weight_decay"] == 0
    assert {p.ndim for p in others["params"]} == {1}
    assert min(p.ndim for p in decayed["params"]) == 2
    count = len(decayed["params"]) + len(others["params"])
    assert count == len(list(model.parameters()))


def test_drop_path_drops_whole_branches_and_keeps_the_mean():
    torch.manual_seed(0)
    drop = DropPath(0.25).train()
    out = drop(torch.ones(4000, 2, 1, 1))
    assert out.unique().tolist() == [0.0, pytest.approx(1 / 0.75)]
    assert torch.equal(out[:, 0], out[:, 1])
    assert out.mean().item() == pytest.approx(1, abs=0.05)
    x = torch.rand(2, 3, 4, 4)
    assert torch.equal(drop.eval()(x), x)


def test_drop_path_grows_with_depth_and_spares_blocks_without_a_residual():
    """timm drops whole samples in those blocks."""
    model = small(drop_path_rate=0.9).train()
    rates = [m.drop_path.rate for m in model.modules() if hasattr(m, "drop_path")]
    assert rates == sorted(rates)
    assert rates[0] == 0
    assert rates[-1] == pytest.approx(0.9)
    last = model.mobilevitv2.encoder.layer[4].downsampling_layer
    out = last(torch.rand(64, last.expand_1x1.convolution.in_channels, 4, 4))
    assert out.flatten(1).abs().sum(1).min() > 0


def test_a_backbone_runs_no_stage_past_the_last_wanted(monkeypatch):
    backbone = MobileViTV2Backbone(MobileViTV2Config(width_multiplier=0.5), out_indices=(0, -4))
    for stage in backbone.encoder.layer[2:]:
        monkeypatch.setattr(stage, "forward", None)
    maps = backbone(images(64, 64)).feature_maps
    assert [m.shape[1] for m in maps] == list(backbone.channels) == [32, 64]
    assert backbone.strides == (2, 4)
    with pytest.raises(ValueError, match=r"out_indices is \[5\]; expected numbers from -5 to 4"):
        MobileViTV2Backbone(MobileViTV2Config(), out_indices=[5])


def test_a_config_can_ask_for_hidden_states_and_tuples():
    model = MobileViTV2Model(
        MobileViTV2Config(width_multiplier=0.5, output_hidden_states=True, return_dict=False)
    )
    last, pooled, hidden = model(images(64, 64))
    assert pooled.shape == last.shape[:2]
    assert len(hidden) == 5
    assert torch.equal(hidden[-1], last)


def test_a_model_without_labels_has_no_loss_and_half_precision_runs():
    with torch.no_grad():
        output = small().to(torch.bfloat16)(images(64, 64).to(torch.bfloat16))
    assert output.loss is None
    assert output.logits.dtype == torch.bfloat16
