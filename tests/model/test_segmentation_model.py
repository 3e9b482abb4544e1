"""The segmentation model against live transformers, published key lists and parameter counts."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import transformers as hf
from peers import copy_weights, images, randomize, relative_error

from mobilevitv2 import (
    MobileViTV2Config,
    MobileViTV2ForImageClassification,
    MobileViTV2ForSemanticSegmentation,
    MobileViTV2Model,
    Predictor,
)
from mobilevitv2.checkpoint.files import write_weights
from mobilevitv2.checkpoint.layouts import HEADS, from_ours, to_ours
from mobilevitv2.deploy.conversion import convert
from mobilevitv2.errors import CheckpointError, ConfigError
from mobilevitv2.model.segmentation import segmentation_loss

transformers: Any = hf  # its classes hide their arguments from a type checker

# Parameters as the model zoo of ml-cvnets has them: width, then VOC (21 classes) and ADE20K (150),
# each DeepLabV3, its auxiliary head, PSPNet.
COUNTS = {
    0.5: (6_242_318, 224_149, 3_550_734, 6_308_495, 240_790, 3_616_911),
    0.75: (9_510_278, 334_741, 6_179_974, 9_576_455, 351_382, 6_246_151),
    1.0: (13_318_654, 445_333, 9_382_398, 13_384_831, 461_974, 9_448_575),
    1.25: (17_667_446, 555_925, 13_158_006, 17_733_623, 572_566, 13_224_183),
    1.5: (22_556_654, 749_829, 17_506_798, 22_622_831, 768_534, 17_572_975),
    1.75: (27_986_278, 1_019_949, 22_428_774, 28_052_455, 1_041_750, 22_494_951),
    2.0: (33_956_318, 1_331_541, 27_923_934, 34_022_495, 1_356_438, 27_990_111),
}
CONFIGS: dict[str, dict[str, Any]] = {
    "as for VOC": {"width_multiplier": 0.5, "output_stride": 16},
    "as for ADE20K": {
        "width_multiplier": 0.5,
        "output_stride": 8,
        "atrous_rates": [12, 24, 36],
    },
    "default stride": {"width_multiplier": 1.0, "aspp_out_channels": 256},
}


def segmenter(**fields: Any) -> Any:
    fields = {"width_multiplier": 0.5, "num_labels": 5, "aspp_out_channels": 32} | fields
    return MobileViTV2ForSemanticSegmentation(MobileViTV2Config(**fields)).eval()


def masks(*shape: int, classes: int = 5, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, classes, shape, generator=generator)


@pytest.mark.parametrize("width", COUNTS)
def test_parameter_counts_are_those_of_the_model_zoo(width):
    def count(**fields):
        with torch.device("meta"):
            return segmenter(width_multiplier=width, aspp_out_channels=512, **fields)

    found = []
    for classes in (21, 150):
        plain = count(num_labels=classes).num_parameters()
        helped = count(num_labels=classes, use_auxiliary_head=True).num_parameters()
        pspnet = count(num_labels=classes, segmentation_head="pspnet").num_parameters()
        found += [plain, helped - plain, pspnet]
    assert tuple(found) == COUNTS[width]


def pair(fields: dict[str, Any], *, dilate: bool = True) -> tuple[Any, Any]:
    """transformers' model and ours, same weights; `dilate` as in test_parity_transformers."""
    theirs = transformers.MobileViTV2ForSemanticSegmentation(
        transformers.MobileViTV2Config(**fields, num_labels=21)
    )
    ours: Any = MobileViTV2ForSemanticSegmentation(
        MobileViTV2Config(**fields, num_labels=21)
    ).eval()
    if dilate:
        layers = (model.mobilevitv2.encoder.layer[2:] for model in (theirs, ours))
        for a, b in zip(*layers, strict=True):
            a.conv_kxk.convolution.dilation = b.conv_kxk.convolution.dilation
            a.conv_kxk.convolution.padding = b.conv_kxk.convolution.padding
    copy_weights(randomize(theirs), ours)
    return theirs, ours


@pytest.mark.parametrize("fields", CONFIGS.values(), ids=CONFIGS)
def test_logits_loss_and_keys_equal_transformers(fields):
    theirs, ours = pair(fields)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    x, labels = images(128, 192, batch=2), masks(2, 128, 192, classes=21)
    labels[:, :40] = 255
    with torch.no_grad():
        wanted, given = theirs(x, labels=labels), ours(x, labels=labels)
    assert relative_error(given.logits, wanted.logits) <= 1e-5
    assert given.loss.item() == pytest.approx(wanted.loss.item(), rel=1e-5)
    assert given.hidden_states is None


def test_the_comparison_catches_transformers_undilated_convolutions():
    theirs, ours = pair(CONFIGS["as for VOC"], dilate=False)
    x = images(128, 128)
    with torch.no_grad():
        assert relative_error(ours(x).logits, theirs(x).logits) > 1e-3


def test_a_transformers_folder_opens_and_ours_opens_there(tmp_path):
    theirs, ours = pair(CONFIGS["as for VOC"])
    theirs.save_pretrained(tmp_path / "theirs")
    opened = MobileViTV2ForSemanticSegmentation.from_pretrained(tmp_path / "theirs")
    x = images(96, 96)
    with torch.no_grad():
        assert torch.equal(opened(x).logits, ours(x).logits)
    opened.save_pretrained(tmp_path / "ours")
    back = transformers.MobileViTV2ForSemanticSegmentation.from_pretrained(tmp_path / "ours")
    for key, tensor in theirs.state_dict().items():
        assert torch.equal(back.state_dict()[key], tensor)


def published(shared_data: Path, name: str) -> list[tuple[str, list[int]]]:
    lines = (shared_data.parent / "facts" / "keys" / f"{name}.txt").read_text().splitlines()
    split = (line.split(" ", 1) for line in lines)
    return [(key, [int(n) for n in re.findall(r"\d+", shape)]) for key, shape in split]


@pytest.mark.parametrize("head", ["deeplabv3", "pspnet"])
def test_the_published_key_lists_of_ml_cvnets_are_met_in_order_and_shape(shared_data, head):
    model = segmenter(
        width_multiplier=1.0,
        num_labels=21,
        aspp_out_channels=512,
        segmentation_head=head,
        use_auxiliary_head=True,
    )
    written = from_ours(model.state_dict(), "cvnets")
    wanted = published(shared_data, f"cvnets_seg_voc_{head}_w1.00")
    assert [(key, list(tensor.shape)) for key, tensor in written.items()] == wanted
    back = to_ours(written, "cvnets", model.state_dict())
    assert list(back) == list(model.state_dict())


def test_a_row_left_out_of_a_head_is_reported(monkeypatch):
    model = segmenter(segmentation_head="pspnet")
    written = from_ours(model.state_dict(), "cvnets")
    monkeypatch.setitem(HEADS, "pspnet", HEADS["pspnet"][:-1])
    with pytest.raises(CheckpointError, match="fusion"):
        to_ours(written, "cvnets", model.state_dict())


def published_form(model: Any, path: Path) -> None:
    """Weights as ml-cvnets saves them, with nothing about the model beside them."""
    write_weights(from_ours(model.state_dict(), "cvnets"), path)


@pytest.mark.parametrize("helped", [True, False])
@pytest.mark.parametrize(
    ("head", "classes", "stride", "rates", "first"),
    [
        ("deeplabv3", 21, 16, [6, 12, 18], "background"),
        ("pspnet", 21, 16, [6, 12, 18], "background"),
        ("deeplabv3", 150, 8, [12, 24, 36], "wall"),
    ],
)
def test_a_file_of_ml_cvnets_says_its_head_and_its_classes_say_the_rest(
    head, classes, stride, rates, first, helped, tmp_path
):
    """Stride and rates leave no trace in the weights: they are those of the published sets."""
    model: Any = randomize(
        segmenter(
            segmentation_head=head,
            num_labels=classes,
            output_stride=stride,
            atrous_rates=rates,
            use_auxiliary_head=helped,
        )
    )
    published_form(model, tmp_path / "model.pt")
    opened = MobileViTV2ForSemanticSegmentation.from_pretrained(tmp_path / "model.pt")
    config = opened.config
    assert (config.segmentation_head, config.aspp_out_channels) == (head, 32)
    assert (config.output_stride, config.atrous_rates) == (stride, rates)
    assert config.use_auxiliary_head is helped
    assert config.image_size == 512
    assert config.id2label is not None
    assert config.id2label[0] == first
    x = images(128, 128)
    with torch.no_grad():
        assert torch.equal(opened(x).logits, model(x).logits)


def test_a_published_file_is_seen_at_512_px_and_whole(tmp_path):
    published_form(segmenter(num_labels=21), tmp_path / "voc.pt")
    predictor = Predictor(tmp_path / "voc.pt", device="cpu")
    assert predictor.processor.size == {"shortest_edge": 512}
    assert not predictor.processor.do_center_crop
    assert predictor.processor.channel_order == "rgb"


def test_other_classes_take_no_colors_along(tmp_path):
    published_form(segmenter(num_labels=21), tmp_path / "voc.pt")
    whole = MobileViTV2ForSemanticSegmentation.from_pretrained(tmp_path / "voc.pt")
    assert len(whole.config.class_colors or []) == 21
    other = MobileViTV2ForSemanticSegmentation.from_pretrained(tmp_path / "voc.pt", num_labels=3)
    assert other.config.class_colors is None


def test_transformers_is_not_given_a_head_that_it_lacks(tmp_path):
    segmenter(num_labels=21, segmentation_head="pspnet").save_pretrained(tmp_path / "pspnet")
    with pytest.raises(CheckpointError, match="PSPNet's head, which transformers lacks"):
        convert(tmp_path / "pspnet", layout="transformers", out=tmp_path / "out")


def test_timm_has_no_place_for_a_head(tmp_path):
    with pytest.raises(CheckpointError, match=r"no place for: segmentation_head\.aspp"):
        segmenter().save_as(tmp_path / "model.pth", layout="timm")


def test_pspnet_is_the_pyramid_of_the_paper():
    """Spelled out for one image with PyTorch's own functions."""
    model: Any = randomize(segmenter(segmentation_head="pspnet", output_stride=16))
    x = images(160, 128)
    with torch.no_grad():
        features = model.mobilevitv2(x).last_hidden_state
        pyramid = model.segmentation_head.pyramid
        parts = [features]
        for scale, branch in zip((1, 2, 3, 6), pyramid.branches, strict=True):
            mean = F.adaptive_avg_pool2d(features, scale)
            conv, norm = branch.convolution, branch.normalization
            part = F.relu(norm(F.conv2d(mean, conv.weight)))
            size = features.shape[2:]
            parts.append(F.interpolate(part, size, mode="bilinear", align_corners=True))
        fused = F.relu(
            pyramid.fusion.normalization(
                F.conv2d(torch.cat(parts, 1), pyramid.fusion.convolution.weight, padding=1)
            )
        )
        last = model.segmentation_head.classifier.convolution
        wanted = F.conv2d(fused, last.weight, last.bias)
        assert relative_error(model(x).logits, wanted) < 1e-5


def test_the_auxiliary_head_counts_in_training_only():
    model = segmenter(use_auxiliary_head=True, output_stride=16, aspp_dropout_prob=0.0)
    model = model.train()
    model.config.classifier_dropout_prob = 0.0
    model.segmentation_head.dropout.p = 0.0
    x, labels = images(96, 96, batch=2), masks(2, 96, 96)
    out = model(x, labels=labels)
    main = segmentation_loss(out.logits, labels)
    beside = segmentation_loss(out.auxiliary_logits, labels)
    assert out.loss.item() == pytest.approx((main + 0.4 * beside).item(), rel=1e-6)
    assert out.auxiliary_logits.shape == (2, 5, 6, 6)
    assert model.eval()(x, labels=labels).auxiliary_logits is None


def test_the_loss_is_the_mean_over_the_pixels_that_count():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 5, 6, 7, generator=generator)
    labels = masks(2, 24, 28)
    labels[0, :9] = 255
    weight = torch.tensor([1.0, 2.0, 0.5, 1.0, 3.0])
    resized = F.interpolate(logits, (24, 28), mode="bilinear")
    for given in (None, weight):
        wanted = F.cross_entropy(resized, labels, given, ignore_index=255)
        assert segmentation_loss(logits, labels, 255, given).item() == pytest.approx(wanted.item())
    void = torch.full_like(labels, 255)
    assert segmentation_loss(logits, void).item() == 0  # where PyTorch's mean is not a number
    assert segmentation_loss(logits, void, 255, weight).item() == 0


@pytest.mark.parametrize("head", ["deeplabv3", "pspnet"])
def test_one_image_alone_can_not_be_trained_on(head):
    model = segmenter(segmentation_head=head).train()
    with pytest.raises(ValueError, match="Train with batches of two or more"):
        model(images(64, 64))
    assert model.eval()(images(64, 64)).logits.shape == (1, 5, 2, 2)


def test_a_classifier_gives_its_backbone_to_a_new_head_when_asked(tmp_path, caplog):
    classifier: Any = randomize(
        MobileViTV2ForImageClassification(MobileViTV2Config(width_multiplier=0.5, num_labels=9))
    )
    classifier.save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=r"is a classification checkpoint.*pass num_labels"):
        MobileViTV2ForSemanticSegmentation.from_pretrained(tmp_path)
    opened = MobileViTV2ForSemanticSegmentation.from_pretrained(
        tmp_path, num_labels=4, output_stride=16, aspp_out_channels=32
    )
    assert "leaving out its classification head" in caplog.text
    assert "newly initialized" in caplog.text
    for key, tensor in opened.mobilevitv2.state_dict().items():
        assert torch.equal(tensor, classifier.mobilevitv2.state_dict()[key])
    assert opened(images(64, 64)).logits.shape == (1, 4, 4, 4)
    assert MobileViTV2Model.from_pretrained(opened).num_parameters() == 1_113_593


def test_new_classes_replace_the_last_convolutions_only():
    model = segmenter(use_auxiliary_head=True)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    model.reset_classifier(3, ["a", "b", "c"])
    changed = {
        key for key, tensor in model.state_dict().items() if tensor.shape != before[key].shape
    }
    assert {key.rsplit(".", 2)[0] for key in changed} == {
        "auxiliary_head.classifier",
        "segmentation_head.classifier",
    }
    assert model.config.label2id == {"a": 0, "b": 1, "c": 2}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"segmentation_head": "unet"}, "one of 'deeplabv3', 'pspnet' is wanted"),
        ({"pool_scales": []}, "a list of sizes is wanted"),
        ({"use_auxiliary_head": "yes"}, "one of True, False is wanted"),
        ({"class_colors": [[1, 2]]}, "three numbers of 0 to 255"),
        ({"class_colors": [[1, 2, 300]]}, "three numbers of 0 to 255"),
    ],
)
def test_wrong_settings(fields, said):
    with pytest.raises(ConfigError, match=said):
        MobileViTV2Config(**fields)


@pytest.mark.parametrize("head", ["deeplabv3", "pspnet"])
def test_it_exports_with_dynamic_batch_and_compiles_whole(head):
    model = segmenter(segmentation_head=head, output_stride=16, n_attn_blocks=[1, 2, 1])
    x = images(128, 128, batch=2)
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(model, (x,), dynamic_shapes=({0: batch},))
    other = images(128, 128, batch=3, seed=5)
    with torch.no_grad():
        wanted = model(other).logits
        given = program.module()(other).logits
    torch.testing.assert_close(given, wanted, rtol=0, atol=1e-5)
