"""The key layouts: what timm, transformers and ml-cvnets save loads here, and the reverse."""

import re
from pathlib import Path

import pytest
import timm
import torch
import transformers
from peers import randomize
from torch import nn

from mobilevitv2.checkpoint import layouts
from mobilevitv2.checkpoint.layouts import (
    from_ours,
    key_table,
    recognize,
    rename,
    task_of,
    to_ours,
)
from mobilevitv2.checkpoint.shapes import infer_config
from mobilevitv2.config import MobileViTV2Config
from mobilevitv2.errors import CheckpointError
from mobilevitv2.model.classification import MobileViTV2ForImageClassification

DEPTHS = [2, 4, 3]
RELEASED = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0)


def from_timm(width: float, classes: int = 6) -> nn.Module:
    return randomize(timm.create_model(f"mobilevitv2_{width * 100:03.0f}", num_classes=classes))


def from_transformers(width: float, classes: int = 6) -> nn.Module:
    config = transformers.MobileViTV2Config(width_multiplier=width)
    config.num_labels = classes
    return randomize(transformers.MobileViTV2ForImageClassification(config))


UPSTREAM = {"timm": from_timm, "transformers": from_transformers}


def logits(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        out = model(images)
    return out if isinstance(out, torch.Tensor) else out.logits


def ours(width: float = 0.5, classes: int = 6, **fields) -> MobileViTV2ForImageClassification:
    config = MobileViTV2Config(width_multiplier=width, num_labels=classes, **fields)
    return MobileViTV2ForImageClassification(config).eval()


def published(shared_data: Path, name: str) -> dict[str, torch.Tensor]:
    """The keys and shapes of a published checkpoint, as meta tensors."""
    lines = (shared_data.parent / "facts" / "keys" / f"{name}.txt").read_text().splitlines()
    state = {}
    for line in lines:
        key, shape = line.split(" ", 1)
        integers = key.endswith("num_batches_tracked")
        state[key] = torch.empty(
            [int(n) for n in re.findall(r"\d+", shape)],
            device="meta",
            dtype=torch.int64 if integers else torch.float32,
        )
    return state


@pytest.mark.parametrize("width", [0.5, 1.0])
@pytest.mark.parametrize("layout", UPSTREAM)
def test_upstream_weights_arrive_bit_for_bit_and_give_the_same_logits(layout, width):
    theirs, mine = UPSTREAM[layout](width), ours(width)
    state = theirs.state_dict()
    assert recognize(state) == layout
    renamed = to_ours(state, layout, mine.state_dict())
    mine.load_state_dict(renamed)
    for ours_key, tensor in zip(renamed, state.values(), strict=True):
        assert torch.equal(mine.state_dict()[ours_key], tensor)
    images = torch.rand(1, 3, 128, 128)
    torch.testing.assert_close(logits(mine, images), logits(theirs, images), rtol=0, atol=1e-5)


@pytest.mark.parametrize("layout", UPSTREAM)
def test_our_weights_load_strictly_upstream_and_give_the_same_logits(layout):
    mine, theirs = randomize(ours()), UPSTREAM[layout](0.5)
    theirs.load_state_dict(from_ours(mine.state_dict(), layout), strict=True)
    images = torch.rand(1, 3, 128, 128)
    torch.testing.assert_close(logits(mine, images), logits(theirs, images), rtol=0, atol=1e-5)


@pytest.mark.parametrize("layout", layouts.LAYOUTS)
def test_there_and_back_changes_nothing(layout):
    state = randomize(ours()).state_dict()
    back = to_ours(from_ours(state, layout), layout, state)
    assert list(back) == list(state)
    assert all(torch.equal(back[key], state[key]) for key in state)


@pytest.mark.parametrize(
    ("name", "layout"),
    [
        ("cvnets_cls_w0.50", "cvnets"),
        ("hf_cls_w0.50", "transformers"),
        ("timm_mobilevitv2_050", "timm"),
    ],
)
def test_the_published_key_lists_are_met_in_order_and_shape(shared_data, name, layout):
    state = published(shared_data, name)
    assert list(key_table(layout, DEPTHS, ["classification"])) == list(state)
    mine = ours(classes=1000).state_dict()
    renamed = to_ours(state, layout, mine)
    assert list(renamed) == list(mine)
    assert {key: t.shape for key, t in from_ours(mine, layout).items()} == {
        key: t.shape for key, t in state.items()
    }


def swapped(rows, a, b, column):
    """The rows with the names of rows a and b exchanged in one layout."""
    rows = [list(row) for row in rows]
    rows[a][column], rows[b][column] = rows[b][column], rows[a][column]
    return tuple(map(tuple, rows))


def test_two_exchanged_rows_would_be_seen_in_the_logits(monkeypatch):
    """The norms before attention and before the FFN have one shape, so that only logits tell."""
    theirs, mine = from_timm(0.5), ours()
    monkeypatch.setattr(layouts, "ATTENTION", swapped(layouts.ATTENTION, 0, 3, column=1))
    mine.load_state_dict(to_ours(theirs.state_dict(), "timm", mine.state_dict()))
    images = torch.rand(1, 3, 128, 128)
    assert not torch.allclose(logits(mine, images), logits(theirs, images), rtol=0, atol=1e-5)


def test_two_exchanged_rows_would_be_seen_in_the_key_list(shared_data, monkeypatch):
    monkeypatch.setattr(layouts, "ATTENTION", swapped(layouts.ATTENTION, 0, 3, column=2))
    assert list(key_table("cvnets", DEPTHS, ["classification"])) != list(
        published(shared_data, "cvnets_cls_w0.50")
    )


@pytest.mark.parametrize(
    "group", ["STEM", "INVERTED_RESIDUAL", "LOCAL", "ATTENTION", "PROJECTION", "classification"]
)
def test_a_row_left_out_of_the_table_is_reported_with_all_its_keys(group, monkeypatch):
    theirs, mine = from_timm(0.5), ours()
    whole = key_table("timm", DEPTHS)
    if group in layouts.HEADS:
        monkeypatch.setitem(layouts.HEADS, group, ())
    else:
        monkeypatch.setattr(layouts, group, getattr(layouts, group)[:-1])
    lost = whole.keys() - key_table("timm", DEPTHS).keys()
    with pytest.raises(CheckpointError, match=r"missing.*unexpected") as error:
        to_ours(theirs.state_dict(), "timm", mine.state_dict())
    assert lost
    assert all(key in str(error.value) and whole[key] in str(error.value) for key in lost)


def test_missing_unexpected_and_misshapen_tensors_are_all_named_at_once():
    state = dict(from_timm(0.5).state_dict())
    del state["stem.bn.bias"]
    del state["stages.3.1.norm.weight"]
    state["stages.2.1.extra.weight"] = torch.zeros(1)
    state["stages.1.0.conv2_kxk.conv.weight"] = torch.zeros(64, 1, 5, 5)
    state["head.fc.bias"] = torch.zeros(6, dtype=torch.int8)
    with pytest.raises(CheckpointError) as error:
        to_ours(state, "timm", ours().state_dict())
    said = str(error.value)
    assert "2 missing: stem.bn.bias, stages.3.1.norm.weight;" in said
    assert "1 unexpected: stages.2.1.extra.weight;" in said
    assert "conv2_kxk.conv.weight is [64, 1, 5, 5] of float32, expected [64, 1, 3, 3] of" in said
    assert "head.fc.bias is [6] of int8, expected [6] of float32" in said


@pytest.mark.parametrize("layout", layouts.LAYOUTS)
def test_other_numbers_of_attention_layers_are_followed(layout):
    """In ml-cvnets' layout the final norm's index is the number of layers before it."""
    state = ours(n_attn_blocks=[1, 2, 5]).state_dict()
    theirs = from_ours(state, layout)
    assert list(to_ours(theirs, layout, state)) == list(state)
    assert infer_config(state)["n_attn_blocks"] == [1, 2, 5]
    if layout == "cvnets":
        assert {"layer_3.1.global_rep.1.weight", "layer_5.1.global_rep.5.weight"} <= theirs.keys()


@pytest.mark.parametrize("wrapper", ["module.", "model.", "_orig_mod.", "model._orig_mod."])
@pytest.mark.parametrize("layout", layouts.LAYOUTS)
def test_a_wrapper_around_all_keys_is_taken_off(layout, wrapper):
    state = ours().state_dict()
    wrapped = {wrapper + key: tensor for key, tensor in from_ours(state, layout).items()}
    assert recognize(wrapped) == layout
    assert list(to_ours(wrapped, layout, state)) == list(state)


def test_a_wrapper_around_some_keys_only_is_not_guessed_at():
    state = from_ours(ours().state_dict(), "timm")
    state["module.stem.conv.weight"] = state["stem.conv.weight"]
    with pytest.raises(CheckpointError, match=r"1 unexpected: module\.stem\.conv\.weight"):
        to_ours(state, "timm", ours().state_dict())


def test_one_tensor_under_two_spellings_is_reported():
    state = from_ours(ours().state_dict(), "timm")
    state["stages_0.0.conv1_1x1.bn.bias"] = torch.zeros(32)
    with pytest.raises(CheckpointError, match=r"1 unexpected: stages_0\.0"):
        to_ours(state, "timm", ours().state_dict())


def test_timms_feature_extractor_is_recognized():
    state = timm.create_model("mobilevitv2_050", features_only=True).state_dict()
    assert recognize(state) == "timm"
    assert task_of(state) == "backbone"
    backbone = {k: t for k, t in ours().state_dict().items() if k.startswith("mobilevitv2.")}
    assert list(to_ours(state, "timm", backbone)) == list(backbone)


def test_transformers_bare_backbone_is_recognized():
    config = transformers.MobileViTV2Config(width_multiplier=0.5)
    with torch.device("meta"):
        state = transformers.MobileViTV2Model(config).state_dict()
    assert recognize(state) == "transformers"
    backbone = {k: t for k, t in ours().state_dict().items() if k.startswith("mobilevitv2.")}
    assert list(to_ours(state, "transformers", backbone)) == list(backbone)


@pytest.mark.parametrize(
    ("name", "layout", "task"),
    [
        ("cvnets_seg_voc_deeplabv3_w1.00", "cvnets", "segmentation"),
        ("cvnets_seg_voc_pspnet_w1.00", "cvnets", "segmentation"),
        ("cvnets_det_ssd_w1.00", "cvnets", "detection"),
        ("hf_seg_deeplabv3_w0.50", "transformers", "segmentation"),
    ],
)
def test_dense_checkpoints_are_recognized_with_their_task(shared_data, name, layout, task):
    state = published(shared_data, name)
    assert recognize(state) == layout
    assert task_of(state) == task


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (
            lambda: timm.create_model("resnet18").state_dict(),
            "isn't a MobileViTv2 checkpoint.*conv1",
        ),
        (lambda: timm.create_model("mobilenetv3_small_050").state_dict(), "begins with conv_stem"),
        (lambda: timm.create_model("mobilevit_xxs").state_dict(), "version 1"),
        (
            lambda: transformers.MobileViTModel(transformers.MobileViTConfig()).state_dict(),
            "version 1",
        ),
        (dict, "begins with nothing"),
    ],
)
def test_other_models_are_refused_with_what_was_seen(keys, said):
    with torch.device("meta"):
        state = keys()
    with pytest.raises(CheckpointError, match=said):
        recognize(state)


# What shapes say


@pytest.mark.parametrize("width", [*RELEASED, 0.3, 0.6, 0.85, 1.1, 1.33, 2.35])
def test_the_width_is_read_off_the_shapes(width):
    def shapes(**fields):
        config = transformers.MobileViTV2Config(**fields)
        with torch.device("meta"):
            return transformers.MobileViTV2ForImageClassification(config).state_dict()

    state = shapes(width_multiplier=width, num_labels=3)
    fields = infer_config(state)
    if width in RELEASED:
        assert fields["width_multiplier"] == width
    assert {k: t.shape for k, t in shapes(**fields).items()} == {
        key: tensor.shape for key, tensor in state.items()
    }


@pytest.mark.parametrize("width", RELEASED)
def test_timms_models_give_their_width(width):
    with torch.device("meta"):
        state = timm.create_model(f"mobilevitv2_{width * 100:03.0f}").state_dict()
    fields = infer_config(rename(state, "timm")[0])
    assert (fields["width_multiplier"], fields["num_labels"]) == (width, 1000)


def test_other_fields_are_read_off_the_shapes():
    given = {
        "width_multiplier": 0.5,
        "num_channels": 1,
        "num_labels": 11,
        "n_attn_blocks": [3, 1, 2],
        "ffn_multiplier": 3,
        "expand_ratio": 4.0,
        "conv_kernel_size": 5,
    }
    config = transformers.MobileViTV2Config(**given)
    with torch.device("meta"):
        state = transformers.MobileViTV2ForImageClassification(config).state_dict()
    assert infer_config(state) == given
    assert isinstance(infer_config(state)["ffn_multiplier"], int)  # as transformers wants it


def test_channels_of_no_width_ask_for_a_config():
    state = ours().state_dict()
    for block in (2, 3, 4):
        key = f"mobilevitv2.encoder.layer.{block}.conv_1x1.convolution.weight"
        state[key] = torch.empty(40, state[key].shape[1], 1, 1)
    with pytest.raises(CheckpointError, match=r"no width_multiplier gives .*40, 40, 40.*config"):
        infer_config(state)


def test_a_config_is_not_guessed_from_half_a_checkpoint():
    state = ours().state_dict()
    lost = [key for key in state if "conv_projection" in key]
    for key in lost:
        del state[key]
    with pytest.raises(CheckpointError, match="lacks 18 tensors") as error:
        infer_config(state)
    assert all(key in str(error.value) for key in lost)
