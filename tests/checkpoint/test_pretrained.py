"""Loading a model from whatever it comes in, the fate of the head, saving, and the hub."""

import json
from pathlib import Path

import pytest
import timm
import torch
import transformers
from peers import randomize
from torch import nn

from mobilevitv2.checkpoint.files import write_weights
from mobilevitv2.checkpoint.layouts import from_ours
from mobilevitv2.config import MobileViTV2Config
from mobilevitv2.errors import CheckpointError
from mobilevitv2.model.backbone import MobileViTV2Backbone, MobileViTV2Model
from mobilevitv2.model.classification import MobileViTV2ForImageClassification

NAMES = ["ant", "bee", "cat", "dog"]


@pytest.fixture(scope="module")
def model() -> MobileViTV2ForImageClassification:
    config = MobileViTV2Config(width_multiplier=0.5, id2label=dict(enumerate(NAMES)))
    made = MobileViTV2ForImageClassification(config)
    randomize(made)
    return made


@pytest.fixture(scope="module")
def bundle(model, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.rand(2, 3, 128, 128, generator=torch.Generator().manual_seed(1))


def load(source, **options) -> MobileViTV2ForImageClassification:
    return MobileViTV2ForImageClassification.from_pretrained(source, **options)


def outputs(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        out = model(images)
    if isinstance(out, torch.Tensor):
        return out
    return out.logits if "logits" in out else out.pooler_output


def head(model: nn.Module) -> torch.Tensor:
    return model.state_dict()["classifier.weight"]


def assert_same(one: torch.Tensor, other: torch.Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


def assert_equal_states(one: nn.Module, other: nn.Module) -> None:
    assert list(one.state_dict()) == list(other.state_dict())
    for key, tensor in one.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[key]), key


# Sources


def test_a_bundle_comes_back_bit_for_bit_with_its_labels_in_eval_mode(bundle, model):
    loaded = load(bundle)
    assert_equal_states(loaded, model)
    assert loaded.config.id2label == dict(enumerate(NAMES))
    assert not loaded.training
    assert loaded.checkpoint_layout == "transformers"
    assert model.checkpoint_layout is None


def test_our_bundle_opens_in_transformers_with_the_same_logits(bundle, model, images):
    theirs = transformers.AutoModelForImageClassification.from_pretrained(bundle)
    assert isinstance(theirs, transformers.MobileViTV2ForImageClassification)
    assert not theirs.training
    assert theirs.config.id2label == dict(enumerate(NAMES))
    assert theirs.dtype == torch.float32
    assert_same(outputs(theirs, images), outputs(model, images))


def test_a_bundle_of_transformers_opens_here_with_the_same_logits(tmp_path, images):
    config = transformers.MobileViTV2Config(width_multiplier=0.5, id2label=dict(enumerate(NAMES)))
    theirs = transformers.MobileViTV2ForImageClassification(config)
    randomize(theirs)
    theirs.save_pretrained(tmp_path)
    ours = load(tmp_path)
    assert ours.config.id2label == dict(enumerate(NAMES))
    assert_same(outputs(ours, images), outputs(theirs, images))
    ours.save_pretrained(tmp_path)  # over it
    again = transformers.MobileViTV2ForImageClassification.from_pretrained(tmp_path)
    assert_equal_states(again, theirs)


def test_a_live_transformers_model_keeps_its_config(images):
    config = transformers.MobileViTV2Config(width_multiplier=0.5, output_stride=16)
    config.num_labels = 3
    theirs = randomize(transformers.MobileViTV2ForImageClassification(config))
    ours = load(theirs)
    assert (ours.config.output_stride, ours.config.num_labels) == (16, 3)
    assert_equal_states(ours, theirs)


@pytest.mark.parametrize("name", ["mobilevitv2_050", "mobilevitv2_100"])
def test_a_live_timm_model_gives_the_same_logits(name, images):
    theirs = randomize(timm.create_model(name, num_classes=5))
    ours = load(theirs)
    assert ours.checkpoint_layout == "timm"
    assert_same(outputs(ours, images), outputs(theirs, images))


def test_a_live_timm_models_output_stride_is_kept(images):
    theirs = randomize(timm.create_model("mobilevitv2_050", num_classes=5, output_stride=16))
    assert_same(outputs(load(theirs), images), outputs(theirs, images))


def test_timms_image_size_is_kept():
    theirs = timm.create_model("mobilevitv2_150.cvnets_in22k_ft_in1k_384", pretrained=False)
    assert MobileViTV2Model.from_pretrained(theirs).config.image_size == 384


def test_timms_feature_maps_are_ours(images):
    theirs = randomize(timm.create_model("mobilevitv2_050", features_only=True, output_stride=16))
    ours = MobileViTV2Backbone.from_pretrained(theirs, out_indices=(1, 4))
    with torch.no_grad():
        wanted = theirs(images)
        maps = ours(images).feature_maps
    for ours_map, their_map in zip(maps, (wanted[1], wanted[4]), strict=True):
        scale = their_map.abs().max()
        torch.testing.assert_close(ours_map / scale, their_map / scale, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("layout", "name"),
    [("timm", "w.safetensors"), ("timm", "w.pth"), ("cvnets", "w.pt"), ("transformers", "bundle")],
)
def test_every_layout_that_is_written_is_read_back(model, tmp_path, layout, name, images):
    model.save_as(tmp_path / name, layout=layout)
    loaded = load(tmp_path / name)
    assert_equal_states(loaded, model)
    assert loaded.checkpoint_layout == layout


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth"])
def test_timm_opens_the_file_we_write_for_it(model, tmp_path, name, images):
    model.save_as(tmp_path / name, layout="timm")
    theirs = timm.create_model(
        "mobilevitv2_050", num_classes=4, checkpoint_path=str(tmp_path / name)
    )
    assert_same(outputs(theirs.eval(), images), outputs(model, images))


def test_a_layout_that_is_not_known_is_refused(model, tmp_path):
    with pytest.raises(ValueError, match="'keras'; one of transformers, timm, cvnets"):
        model.save_as(tmp_path / "w.pt", layout="keras")


def test_a_bundles_weights_file_alone_stands_for_the_bundle(bundle):
    assert load(bundle / "model.safetensors").config.id2label == dict(enumerate(NAMES))


def test_a_file_beside_a_strangers_config_is_read_off_its_own_shapes(bundle, model, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    model.save_as(tmp_path / "mobilevitv2-0.5.pt", layout="cvnets")
    assert_equal_states(load(tmp_path / "mobilevitv2-0.5.pt"), model)


def test_a_folder_of_timms_is_opened_with_its_label_names(model, tmp_path, images):
    theirs = randomize(timm.create_model("mobilevitv2_050", num_classes=4))
    write_weights(theirs.state_dict(), tmp_path / "model.safetensors")
    config = {"architecture": "mobilevitv2_050", "num_classes": 4}
    (tmp_path / "config.json").write_text(
        json.dumps(config | {"pretrained_cfg": {"label_names": NAMES}})
    )
    ours = load(tmp_path)
    assert ours.config.id2label == dict(enumerate(NAMES))
    assert_same(outputs(ours, images), outputs(theirs, images))


def test_a_given_config_counts_and_not_the_files(bundle, model):
    config = MobileViTV2Config(width_multiplier=0.5, num_labels=4, layer_norm_eps=1e-3)
    assert load(bundle, config=config).config.layer_norm_eps == 1e-3


def test_overrides_of_config_fields_and_class_arguments_count(bundle):
    assert load(bundle, output_stride=16).config.output_stride == 16
    assert not MobileViTV2Model.from_pretrained(bundle, expand_output=False).expand_output


def test_a_misspelled_override_is_refused(bundle):
    with pytest.raises(TypeError, match="doesn't know num_label:"):
        load(bundle, num_label=3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_the_dtype_asked_for_is_that_of_the_model_and_of_what_it_saves(bundle, dtype, tmp_path):
    loaded = load(bundle, dtype=dtype)
    assert loaded.dtype == dtype
    loaded.save_pretrained(tmp_path)
    theirs = transformers.MobileViTV2ForImageClassification.from_pretrained(tmp_path)
    assert theirs.dtype == dtype
    theirs.save_pretrained(tmp_path)
    again = load(tmp_path)  # in float32, whatever the config says that it came with
    assert again.dtype == torch.float32
    again.save_pretrained(tmp_path)
    theirs = transformers.MobileViTV2ForImageClassification.from_pretrained(tmp_path)
    assert theirs.dtype == torch.float32


# The head


def test_num_labels_brings_a_fresh_head_and_says_so(bundle, model, caplog):
    loaded = load(bundle, num_labels=7)
    assert head(loaded).shape == (7, 256)
    assert "classifier.weight, classifier.bias: newly initialized" in caplog.text
    assert_equal_states(loaded.mobilevitv2, model.mobilevitv2)


def test_id2label_brings_a_fresh_head_with_names(bundle):
    assert load(bundle, id2label={0: "x", 1: "y"}).config.id2label == {0: "x", 1: "y"}


def test_as_many_labels_as_the_file_has_keep_the_head(bundle, model, caplog):
    loaded = load(bundle, id2label=dict(enumerate("wxyz")))
    assert torch.equal(head(loaded), head(model))
    assert caplog.text == ""
    assert load(bundle, num_labels=4).config.id2label == dict(enumerate(NAMES))


@pytest.mark.parametrize("layout", ["transformers", "cvnets"])
def test_no_labels_leave_the_head_out(model, tmp_path, images, layout):
    model.save_as(tmp_path / "w.pt", layout=layout)
    headless = load(tmp_path / "w.pt", num_labels=0)
    assert_same(outputs(headless, images), outputs(model.mobilevitv2, images))


def test_a_config_of_another_number_of_labels_is_an_error_that_names_the_way(bundle):
    config = MobileViTV2Config(width_multiplier=0.5, num_labels=7)
    with pytest.raises(CheckpointError, match=r"classifier\.weight is \[4, 256\].*pass num_labels"):
        load(bundle, config=config)
    assert load(bundle, config=config, ignore_mismatched_sizes=True).num_labels == 7


def test_a_backbone_of_another_shape_is_an_error_also_with_a_new_head(bundle):
    with pytest.raises(CheckpointError, match=r"conv_stem\.convolution\.weight is \[16, 3, 3, 3\]"):
        load(bundle, num_labels=7, num_channels=4)


def test_ignored_sizes_are_fresh_and_named(bundle, model, caplog):
    loaded = load(bundle, num_channels=4, ignore_mismatched_sizes=True)
    assert "mobilevitv2.conv_stem.convolution.weight: newly initialized" in caplog.text
    assert torch.equal(head(loaded), head(model))


def test_a_backbone_gets_a_fresh_head_and_says_so(bundle, tmp_path, model, caplog):
    MobileViTV2Model.from_pretrained(bundle).save_pretrained(tmp_path)
    assert "leaving out its classification head" in caplog.text
    caplog.clear()
    loaded = load(tmp_path)
    assert_equal_states(loaded.mobilevitv2, model.mobilevitv2)
    assert "classifier.weight, classifier.bias: newly initialized" in caplog.text


@pytest.mark.parametrize("layout", ["timm", "cvnets"])
def test_a_backbone_is_written_and_read_in_every_layout(model, tmp_path, layout):
    model.mobilevitv2.save_as(tmp_path / "w.pt", layout=layout)
    loaded = MobileViTV2Model.from_pretrained(tmp_path / "w.pt")
    assert_equal_states(loaded, model.mobilevitv2)


def test_our_backbone_opens_in_transformers(model, tmp_path, images):
    model.mobilevitv2.save_pretrained(tmp_path)
    theirs = transformers.AutoModel.from_pretrained(tmp_path).eval()
    assert_same(outputs(theirs, images), outputs(model.mobilevitv2, images))


def dense(model, prefix: str) -> dict[str, torch.Tensor]:
    """What ml-cvnets saves of a dense model: the encoder under a prefix, and a head."""
    state = from_ours(model.mobilevitv2.state_dict(), "cvnets")
    return {f"encoder.{key}": t for key, t in state.items()} | {
        f"{prefix}.block.conv.weight": torch.zeros(21, 512, 1, 1)
    }


@pytest.mark.parametrize(
    ("prefix", "task"), [("seg_head.classifier", "segmentation"), ("ssd_heads.5", "detection")]
)
def test_of_a_dense_checkpoint_the_backbone_is_taken(model, tmp_path, caplog, prefix, task):
    torch.save(dense(model, prefix), tmp_path / "dense.pt")
    loaded = MobileViTV2Model.from_pretrained(tmp_path / "dense.pt")
    assert_equal_states(loaded, model.mobilevitv2)
    assert f"leaving out its {task} head" in caplog.text
    with pytest.raises(CheckpointError, match=f"is a {task} checkpoint.*pass num_labels"):
        load(tmp_path / "dense.pt")


def test_a_surplus_tensor_is_an_error_for_a_backbone_too(model, tmp_path):
    state = dense(model, "seg_head.classifier") | {"encoder.surplus": torch.zeros(1)}
    torch.save(state, tmp_path / "dense.pt")
    with pytest.raises(CheckpointError, match=r"1 unexpected: encoder\.surplus"):
        MobileViTV2Model.from_pretrained(tmp_path / "dense.pt")


# Saving


def test_other_weights_can_be_saved_and_must_fit(model, tmp_path):
    average = {key: torch.zeros_like(t) for key, t in model.state_dict().items()}
    model.save_pretrained(tmp_path, state_dict=average)
    assert head(load(tmp_path)).abs().max() == 0
    del average["classifier.bias"]
    with pytest.raises(CheckpointError, match=r"1 missing: classifier\.bias"):
        model.save_pretrained(tmp_path, state_dict=average)


def test_what_is_saved_says_nothing_of_where_it_came_from(bundle, tmp_path):
    theirs = transformers.MobileViTV2ForImageClassification.from_pretrained(bundle)
    load(theirs).save_pretrained(tmp_path)
    assert str(bundle) not in (tmp_path / "config.json").read_text()


def test_gradient_checkpointing_changes_memory_and_not_gradients(bundle, images):
    def gradients(model) -> tuple[torch.Tensor, int]:
        kept = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, id_):
            loss = model.train()(images).logits.square().mean()
        loss.backward()
        return model.mobilevitv2.conv_stem.convolution.weight.grad, sum(kept)

    def id_(tensor):
        return tensor

    lean = load(bundle)
    lean.gradient_checkpointing_enable()
    plain = load(bundle)
    plain.gradient_checkpointing_enable()
    plain.gradient_checkpointing_disable()
    (one, fewer), (other, more) = gradients(lean), gradients(plain)
    torch.testing.assert_close(one, other)
    assert fewer < more


def test_parameters_are_counted_as_transformers_counts_them(bundle):
    ours, theirs = (
        load(bundle),
        transformers.AutoModelForImageClassification.from_pretrained(bundle),
    )
    assert ours.num_parameters() == theirs.num_parameters()
    ours.freeze()
    assert ours.num_parameters(only_trainable=True) == 4 * 256 + 4
