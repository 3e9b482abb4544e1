import copy
from typing import Any

import pytest
import torch
from peers import images, randomize, relative_error
from torch import nn

from mobilevitv2 import (
    MobileViTV2Config,
    MobileViTV2ForImageClassification,
    MobileViTV2ForSemanticSegmentation,
)
from mobilevitv2.deploy import fuse
from mobilevitv2.deploy.fuse import FusedAttention, Standardize
from mobilevitv2.model.detection import MobileViTV2ForObjectDetection

WIDTHS = [0.5] + [
    pytest.param(width, marks=pytest.mark.slow) for width in (0.75, 1.0, 1.25, 1.5, 1.75, 2.0)
]
SIZES = {"even": (64, 96), "odd": (97, 65)}
FORMS = {
    "any size": {},
    "one size": {"fixed": True},
    "products": {"products": True},
    "elementary": {"products": True, "elementary": True},
    "elementary, one size": {"products": True, "elementary": True, "fixed": True},
}


def lively(width: float, dtype: torch.dtype = torch.float64, **config):
    """A model whose every norm has statistics, scale and shift of its own."""
    config = MobileViTV2Config(width_multiplier=width, num_labels=10, **config)
    return randomize(MobileViTV2ForImageClassification(config)).to(dtype)


def fused(model, form: str, size: tuple[int, int]):
    options = dict(FORMS[form])
    return fuse(model, size if options.pop("fixed", False) else None, **options)


@torch.inference_mode()
def difference(model, other, size: tuple[int, int]) -> float:
    pixels = images(*size, batch=2).to(model.dtype)
    return relative_error(other(pixels).logits, model(pixels).logits)


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("width", WIDTHS)
def test_the_fused_form_gives_the_same_answer(width, form, size):
    model = lively(width)
    assert difference(model, fused(model, form, size), size) <= 1e-12
    model.float()
    assert difference(model, fused(model, form, size), size) <= 1e-5


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("form", ["elementary, one size"])
@pytest.mark.parametrize("head", ["deeplabv3", "pspnet"])
@pytest.mark.parametrize("width", WIDTHS)
def test_segmentation_heads_fuse_too(width, head, form, size):
    fields: dict[str, Any] = {
        "segmentation_head": head,
        "output_stride": 16,
        "aspp_out_channels": 32,
    }
    config = MobileViTV2Config(width_multiplier=width, num_labels=5, **fields)
    model: Any = randomize(MobileViTV2ForSemanticSegmentation(config)).double()
    assert difference(model, fused(model, form, size), size) <= 1e-12
    model.float()
    assert difference(model, fused(model, form, size), size) <= 1e-5


@torch.inference_mode()
def apart(model, other, size: tuple[int, int]) -> float:
    """How far detectors are: the larger difference, of scores or of boxes."""
    pixels = images(*size, batch=2).to(model.dtype)
    wanted, found = model(pixels), other(pixels)
    pairs = ((found.logits, wanted.logits), (found.pred_boxes, wanted.pred_boxes))
    return max(relative_error(*pair) for pair in pairs)


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("form", ["any size", "elementary, one size"])
@pytest.mark.parametrize("width", WIDTHS)
def test_the_detection_head_fuses_too(width, form, size):
    config = MobileViTV2Config(width_multiplier=width, num_labels=5)
    model: Any = randomize(MobileViTV2ForObjectDetection(config)).double()
    assert apart(model, fused(model, form, size), size) <= 1e-12
    model.float()
    assert apart(model, fused(model, form, size), size) <= 1e-5


def test_a_norm_of_the_detection_head_left_out_would_be_noticed():
    config = MobileViTV2Config(width_multiplier=0.5, num_labels=5)
    model: Any = randomize(MobileViTV2ForObjectDetection(config)).double()
    for layer in ("extra_layers.2.conv_3x3", "predictors.4.conv_3x3"):
        wrong = copy.deepcopy(model)
        wrong.detection_head.get_submodule(layer).normalization = None
        assert apart(model, fuse(wrong), (64, 96)) > 1e-4


@pytest.mark.parametrize("stride", [8, 16])
def test_dilated_stages_fuse_too(stride):
    model = lively(0.5, output_stride=stride)
    assert difference(model, fuse(model), (64, 64)) <= 1e-12


def test_a_forgotten_shift_would_be_noticed():
    model = lively(0.5)
    mutant = copy.deepcopy(model)
    for module in mutant.modules():
        if isinstance(module, nn.GroupNorm):
            nn.init.zeros_(module.bias)
    assert difference(model, fuse(mutant), (64, 64)) > 1e-3
    wrong = fuse(model)
    for module in wrong.modules():
        if isinstance(module, Standardize):
            module.eps *= 2
    assert difference(model, wrong, (64, 64)) > 1e-7


def test_the_model_itself_stays_as_it_was():
    model = lively(0.5).train()
    before = copy.deepcopy(model.state_dict())
    result = fuse(model)
    assert model.training
    assert not result.training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_nothing_but_convolutions_is_left():
    kinds = {type(module) for module in fuse(lively(0.5)).modules()}
    assert not kinds & {nn.BatchNorm2d, nn.GroupNorm}
    assert FusedAttention in kinds


def test_fusing_twice_is_refused():
    with pytest.raises(ValueError, match="fused already"):
        fuse(fuse(lively(0.5)))


def test_no_tensor_of_an_elementary_form_has_more_than_four_axes():
    form = fuse(lively(0.5, torch.float32), (64, 96), products=True, elementary=True)
    program = torch.export.export(form, (torch.rand(1, 3, 64, 96),))
    values = [node.meta["val"] for node in program.graph.nodes if node.op == "call_function"]
    ranks = [value.dim() for value in values if isinstance(value, torch.Tensor)]
    assert len(ranks) > 100
    assert max(ranks) == 4
