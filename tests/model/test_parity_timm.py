"""The model against live timm: same weights, same numbers, same gradients."""

from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
from peers import copy_weights, images, randomize, relative_error
from torch import nn

from mobilevitv2 import MobileViTV2Backbone, MobileViTV2Config, MobileViTV2ForImageClassification
from mobilevitv2.model import attention, backbone

WIDTHS = {0.5: "050", 0.75: "075", 1.0: "100", 1.25: "125", 1.5: "150", 1.75: "175", 2.0: "200"}
PARAMETERS = {  # as the published checkpoints have them, 1,000 classes
    0.5: 1_370_593,
    0.75: 2_866_009,
    1.0: 4_901_841,
    1.25: 7_478_089,
    1.5: 10_594_753,
    1.75: 14_251_833,
    2.0: 18_449_329,
}
SIZES = [(256, 256), (224, 224), (288, 288), (384, 384), (160, 224), (97, 130)]
STRIDES = [32, 16, 8]


def pair(width: float, output_stride: int = 32) -> tuple[Any, Any]:
    theirs = timm.create_model(
        f"mobilevitv2_{WIDTHS[width]}", num_classes=10, output_stride=output_stride
    )
    config = MobileViTV2Config(width_multiplier=width, num_labels=10, output_stride=output_stride)
    ours = MobileViTV2ForImageClassification(config).eval()
    copy_weights(randomize(theirs), ours)
    return theirs, ours


def largest_error(theirs: nn.Module, ours: MobileViTV2ForImageClassification, size) -> float:
    """Over the logits and the five feature maps."""
    x = images(*size)
    with torch.no_grad():
        final, maps = theirs.forward_intermediates(x)  # pyright: ignore[reportCallIssue]
        logits = theirs.forward_head(final)  # pyright: ignore[reportCallIssue]
        output = ours(x, output_hidden_states=True)
    errors = [relative_error(a, b) for a, b in zip(output.hidden_states, maps, strict=True)]
    return max([*errors, relative_error(output.logits, logits)])


@pytest.mark.parametrize("width", WIDTHS)
def test_parameters_are_counted_as_published(width):
    config = MobileViTV2Config(width_multiplier=width, num_labels=1000)
    model = MobileViTV2ForImageClassification(config)
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS[width]


@pytest.mark.parametrize("width", WIDTHS)
def test_logits_and_feature_maps_equal_timms(width):
    theirs, ours = pair(width)
    errors = {size: largest_error(theirs, ours, size) for size in [(256, 256), (97, 130)]}
    assert max(errors.values()) <= 1e-5, errors


@pytest.mark.slow
@pytest.mark.parametrize("output_stride", STRIDES)
@pytest.mark.parametrize("width", WIDTHS)
def test_logits_and_feature_maps_equal_timms_at_every_size_and_stride(width, output_stride):
    theirs, ours = pair(width, output_stride)
    errors = {size: largest_error(theirs, ours, size) for size in SIZES}
    assert max(errors.values()) <= 1e-5, errors


def halfway_stretch(x, patch):
    """A mutant: the other convention of bilinear resizing."""
    size = [(side + patch - 1) // patch * patch for side in x.shape[2:]]
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


def all_pixels(x, patch_size):
    """A mutant: attention over every pixel, whatever its place in the patch."""
    return torch.zeros(patch_size**2, x.shape[2] * x.shape[3], dtype=torch.bool)


@pytest.mark.parametrize(
    ("mutant", "size", "output_stride"),
    [("stretch", (224, 224), 32), ("positions", (256, 256), 32), ("dilation", (256, 256), 16)],
)
def test_the_comparison_with_timm_catches(monkeypatch, mutant, size, output_stride):
    theirs, ours = pair(0.5, output_stride)
    assert largest_error(theirs, ours, size) <= 1e-5
    if mutant == "stretch":
        monkeypatch.setattr(backbone, "stretch_to_patches", halfway_stretch)
    elif mutant == "positions":
        monkeypatch.setattr(backbone, "other_positions", all_pixels)
    else:  # transformers' way: the local convolution is not dilated
        local = ours.mobilevitv2.encoder.layer[4].conv_kxk.convolution
        local.dilation, local.padding = (1, 1), (1, 1)
    assert largest_error(theirs, ours, size) > 1e-4


def gradients(network: Any, dtype: torch.dtype) -> list[torch.Tensor]:
    """Of every parameter, in training mode, in the published order."""
    network = network.to(dtype).train()
    x, labels = images(96, 130, batch=4).to(dtype), torch.arange(4)
    output = network(x)
    F.cross_entropy(
        output if isinstance(output, torch.Tensor) else output.logits, labels
    ).backward()
    found = [p.grad for p in network.parameters() if p.grad is not None]
    network.zero_grad()
    return found


def gradient_errors(theirs: nn.Module, ours: nn.Module) -> dict[str, float]:
    """By parameter: norm of the difference to timm's gradient, relative to that gradient's norm.

    In float64, where a ReLU does not switch by rounding. A shift that a BatchNorm takes out again
    has no gradient but rounding: its difference is measured on the scale of the largest gradient.
    """
    names = [name for name, _ in ours.named_parameters()]
    given, wanted = gradients(ours, torch.float64), gradients(theirs, torch.float64)
    largest = max(grad.norm() for grad in wanted)
    return {
        name: ((a - b).norm() / (largest if b.norm() < 1e-10 else b.norm())).item()
        for name, a, b in zip(names, given, wanted, strict=True)
    }


@pytest.mark.parametrize("width", [0.5, 1.0])
def test_gradients_of_every_parameter_equal_timms(width):
    theirs, ours = pair(width)
    errors = gradient_errors(theirs, ours)
    assert len(errors) == len(list(theirs.parameters()))
    assert max(errors.values()) <= 1e-9, max(errors, key=lambda name: errors[name])
    statistics = [
        relative_error(a.double(), b.double())
        for a, b in zip(ours.buffers(), theirs.buffers(), strict=True)
    ]
    assert max(statistics) <= 1e-12  # the running statistics were updated alike


def test_the_whole_gradient_equals_timms_in_float32():
    theirs, ours = pair(0.5)
    given, wanted = (
        torch.cat([grad.flatten() for grad in gradients(network, torch.float32)])
        for network in (ours, theirs)
    )
    assert ((given - wanted).norm() / wanted.norm()).item() <= 1e-4


def test_the_comparison_of_gradients_catches_a_detached_context(monkeypatch):
    theirs, ours = pair(0.5)
    straight = attention.times_context
    monkeypatch.setattr(
        attention, "times_context", lambda x, context, patch: straight(x, context.detach(), patch)
    )
    errors = gradient_errors(theirs, ours)
    assert max(errors.values()) > 1e-2


def test_a_backbone_gives_the_wanted_maps_as_timms_features_do():
    theirs = timm.create_model("mobilevitv2_050", features_only=True, out_indices=(1, 3))
    full = timm.create_model("mobilevitv2_050", num_classes=0)
    ours = MobileViTV2Backbone(MobileViTV2Config(width_multiplier=0.5), out_indices=(1, 3)).eval()
    copy_weights(randomize(full), ours)
    kept = {k.replace("stages.", "stages_", 1): v for k, v in full.state_dict().items()}
    theirs.load_state_dict({k: v for k, v in kept.items() if k in theirs.state_dict()})
    x = images(128, 160)
    with torch.no_grad():
        wanted, given = theirs.eval()(x), ours(x).feature_maps
    assert [relative_error(a, b) <= 1e-5 for a, b in zip(given, wanted, strict=True)] == [True] * 2
    assert list(ours.channels) == theirs.feature_info.channels()  # pyright: ignore
    assert list(ours.strides) == theirs.feature_info.reduction()  # pyright: ignore
