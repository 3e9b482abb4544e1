"""Files that nobody vouches for: each is refused with a sentence, and saving leaves no debris."""

import argparse
import json
import os
import struct
import warnings
from pathlib import Path

import pytest
import safetensors.torch
import torch
import transformers

from mobilevitv2.checkpoint.files import read_weights, write_weights
from mobilevitv2.checkpoint.layouts import from_ours
from mobilevitv2.config import MobileViTV2Config
from mobilevitv2.errors import CheckpointError, ConfigError
from mobilevitv2.model.classification import MobileViTV2ForImageClassification

SMALL = {"width_multiplier": 0.5, "num_labels": 4}


@pytest.fixture(scope="module")
def model() -> MobileViTV2ForImageClassification:
    return MobileViTV2ForImageClassification(MobileViTV2Config(**SMALL)).eval()


@pytest.fixture
def bundle(model, tmp_path) -> Path:
    model.save_pretrained(tmp_path / "bundle")
    return tmp_path / "bundle"


def load(source, **options):
    return MobileViTV2ForImageClassification.from_pretrained(source, **options)


def head(model: torch.nn.Module) -> torch.Tensor:
    return model.state_dict()["classifier.weight"]


def change_config(bundle: Path, **fields) -> None:
    path = bundle / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def change_weights(bundle: Path, change) -> None:
    path = bundle / "model.safetensors"
    state = safetensors.torch.load(path.read_bytes())
    change(state)
    safetensors.torch.save_file(state, path, {"format": "pt"})


# Tensors


NORM = "mobilevitv2.conv_stem.normalization.bias"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s.pop(NORM), rf"1 missing: {NORM}"),
        (lambda s: s.update(surplus=torch.zeros(1)), "1 unexpected: surplus"),
        (lambda s: s.update({NORM: torch.zeros(3)}), rf"{NORM} is \[3\].* expected \[16\]"),
        (lambda s: s.update({NORM: torch.zeros(16, dtype=torch.int8)}), r"is \[16\] of int8"),
    ],
)
def test_a_tensor_missing_surplus_or_misshapen_is_named(bundle, change, said):
    change_weights(bundle, change)
    with pytest.raises(CheckpointError, match=said):
        load(bundle)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize(
    "key", ["classifier.bias", "mobilevitv2.conv_stem.normalization.running_var"]
)
def test_weights_with_nan_or_infinity_are_refused_by_name(bundle, key, value):
    change_weights(bundle, lambda state: state[key].view(-1)[1].fill_(value))
    with pytest.raises(CheckpointError, match=rf"1 tensors .* NaN or infinity.*: {key}\."):
        load(bundle)


def test_a_diverged_live_model_is_refused():
    live = MobileViTV2ForImageClassification(MobileViTV2Config(**SMALL))
    live.state_dict()["classifier.weight"][0, 0] = float("nan")
    with pytest.raises(CheckpointError, match=r"live .* NaN or infinity.*classifier\.weight"):
        load(live)


# Safetensors files


def truncated(data: bytes) -> bytes:
    return data[: len(data) // 2]


def with_header(**changes):
    """The file with a header that says something else of the stem's bias."""

    def change(data: bytes) -> bytes:
        length = struct.unpack("<Q", data[:8])[0]
        header = json.loads(data[8 : 8 + length])
        header[NORM] |= changes
        text = json.dumps(header).encode()
        return struct.pack("<Q", len(text)) + text + data[8 + length :]

    return change


@pytest.mark.parametrize(
    "damage",
    [
        truncated,
        lambda data: data[:100],
        lambda data: data[:5],
        lambda data: data + b"more",
        lambda data: struct.pack("<Q", 2**62) + data[8:],
        lambda data: struct.pack("<Q", 10) + data[8:],
        lambda data: data[:8] + b"x" * (len(data) - 8),
        with_header(shape=[2**60, 2**60]),
        with_header(shape=[17]),
        with_header(dtype="I64"),
        with_header(dtype="nonsense"),
        with_header(data_offsets=[0, 64]),
        with_header(data_offsets=[-64, 0]),
        with_header(data_offsets=[2**40, 2**40 + 64]),
        lambda data: b"<html>not found</html>",
    ],
)
def test_a_damaged_or_lying_safetensors_file_is_refused(bundle, damage):
    path = bundle / "model.safetensors"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CheckpointError, match=r"model\.safetensors is (cut off|damaged)"):
        load(bundle)


def test_the_undamaged_file_does_load(bundle):
    """What the refusals above are worth: nothing else is wrong with these files."""
    path = bundle / "model.safetensors"
    path.write_bytes(with_header(shape=[16])(path.read_bytes()))
    load(bundle)


def test_an_empty_file_a_folder_and_a_strange_suffix_are_refused(tmp_path):
    empty = tmp_path / "empty.safetensors"
    empty.touch()
    with pytest.raises(CheckpointError, match="is empty"):
        load(empty)
    with pytest.raises(CheckpointError, match="is a folder"):
        read_weights(tmp_path)
    (tmp_path / "weights.onnx").write_bytes(b"onnx")
    with pytest.raises(CheckpointError, match=r"expected one of \.safetensors"):
        load(tmp_path / "weights.onnx")
    with pytest.raises(ValueError, match="must end in"):
        write_weights({}, tmp_path / "weights.onnx")


# Pickles


class Opened:
    """A pickle that leaves a mark when it is opened carelessly."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


def test_a_pickle_that_runs_code_is_refused_and_not_run(tmp_path):
    torch.save({"state_dict": Opened(tmp_path / "mark")}, tmp_path / "evil.pt")
    with pytest.raises(CheckpointError, match=r"pickled object.* run code from (posix|nt)\."):
        load(tmp_path / "evil.pt")
    assert not (tmp_path / "mark").exists()


def test_that_pickle_would_have_run_code(tmp_path):
    """What the refusal above is worth."""
    torch.save({"state_dict": Opened(tmp_path / "mark")}, tmp_path / "evil.pt")
    torch.load(tmp_path / "evil.pt", weights_only=False)
    assert (tmp_path / "mark").exists()


def test_a_pickled_model_is_refused_with_the_way_out(model, tmp_path):
    torch.save(model, tmp_path / "model.pth")
    with pytest.raises(
        CheckpointError, match=r"run code from mobilevitv2\.model.*save model\.state_dict\(\)"
    ):
        load(tmp_path / "model.pth")


def test_a_torchscript_program_is_refused_with_the_way_out(tmp_path):
    with warnings.catch_warnings(action="ignore"):  # torch would rather have another format
        program = torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2))
        torch.jit.save(program, tmp_path / "program.pt")
    with pytest.raises(CheckpointError, match=r"TorchScript program.*save model\.state_dict\(\)"):
        load(tmp_path / "program.pt")


@pytest.mark.parametrize("damage", [truncated, lambda d: b"x" * 1000, lambda d: d[:30] + d[500:]])
@pytest.mark.parametrize("suffix", [".pt", ".pth"])
def test_a_damaged_torch_file_is_refused(model, tmp_path, damage, suffix):
    path = tmp_path / f"model{suffix}"
    model.save_as(path, layout="timm")
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CheckpointError, match=r"is damaged, or torch\.save didn't write it"):
        load(path)


@pytest.mark.parametrize("content", [{}, {"epoch": 3}, [1, 2], {"state_dict": {}}, {"ema": None}])
def test_a_torch_file_without_weights_is_refused_with_what_is_in_it(tmp_path, content):
    torch.save(content, tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match="not a state dict"):
        load(tmp_path / "model.pt")


# Configs


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"width_multiplier": "wide"}, "width_multiplier is the str 'wide'"),
        ({"width_multiplier": -1}, "width_multiplier is -1"),
        ({"output_stride": 7}, "output_stride is 7"),
        ({"n_attn_blocks": [2, 4]}, "n_attn_blocks is"),
        ({"model_type": "mobilevit"}, "'mobilevit'"),
        ({"hidden_act": "sine"}, "hidden_act"),
    ],
)
def test_a_wrong_config_value_is_named(bundle, fields, said):
    change_config(bundle, **fields)
    with pytest.raises(ConfigError, match=said):
        load(bundle)


@pytest.mark.parametrize("content", ["", "{", "[1]", "null", '{"a": \x00}'])
def test_a_config_that_is_no_json_object_is_refused(bundle, content):
    (bundle / "config.json").write_text(content)
    with pytest.raises(ConfigError, match=r"config\.json"):
        load(bundle)


def test_a_config_of_another_width_is_told_from_the_weights(bundle):
    change_config(bundle, width_multiplier=1.0)
    with pytest.raises(CheckpointError, match=r"conv_stem\.convolution\.weight is \[16, .*\[32,"):
        load(bundle)


def test_unknown_config_fields_are_kept(bundle, tmp_path):
    change_config(bundle, mlp_ratio=2.0, my_note={"made": "by hand"})
    load(bundle).save_pretrained(tmp_path / "again")
    saved = json.loads((tmp_path / "again" / "config.json").read_text())
    assert (saved["mlp_ratio"], saved["my_note"]) == (2.0, {"made": "by hand"})
    again = transformers.MobileViTV2Config.from_pretrained(tmp_path / "again")
    assert again.my_note == {"made": "by hand"}


def test_a_folder_of_mobilevit_version_1_is_refused(tmp_path):
    config = transformers.MobileViTConfig(hidden_sizes=[32, 32, 32], neck_hidden_sizes=[8] * 7)
    transformers.MobileViTModel(config).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="MobileViT version 1"):
        load(tmp_path)


# Split weights


def split(bundle: Path) -> Path:
    path = bundle / "model.safetensors"
    state = safetensors.torch.load(path.read_bytes())
    path.unlink()
    parts = {
        "model-1-of-2.safetensors": list(state)[:100],
        "model-2-of-2.safetensors": list(state)[100:],
    }
    for name, keys in parts.items():
        safetensors.torch.save_file({key: state[key] for key in keys}, bundle / name)
    index = {"weight_map": {key: name for name, keys in parts.items() for key in keys}}
    (bundle / "model.safetensors.index.json").write_text(json.dumps(index))
    return bundle / "model.safetensors.index.json"


def test_split_weights_are_put_together(bundle, model):
    split(bundle)
    state = load(bundle).state_dict()
    assert all(torch.equal(state[key], tensor) for key, tensor in model.state_dict().items())


def test_split_weights_without_a_part_are_refused(bundle):
    index = split(bundle)
    (bundle / "model-2-of-2.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"model-2-of-2\.safetensors"):
        load(bundle)
    with pytest.raises(CheckpointError, match=r"model-2-of-2\.safetensors, which .* is missing"):
        read_weights(index)


@pytest.mark.parametrize("name", ["../secret.safetensors", "/etc/passwd", 3, None])
def test_an_index_can_not_point_out_of_its_folder(bundle, name):
    index = split(bundle)
    index.write_text(json.dumps({"weight_map": {NORM: name}}))
    with pytest.raises(CheckpointError, match="no weight_map"):
        load(bundle)


def test_an_index_that_promises_more_than_its_parts_hold_is_refused(bundle):
    index = split(bundle)
    content = json.loads(index.read_text())
    content["weight_map"]["phantom"] = "model-1-of-2.safetensors"
    index.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match="disagree on: phantom"):
        load(bundle)


# What training scripts save around the weights


def test_the_plain_weights_are_taken_where_there_is_a_moving_average_too(model, tmp_path, caplog):
    state = from_ours(model.state_dict(), "timm")
    ema = {key: torch.zeros_like(tensor) for key, tensor in state.items()}
    training = {
        "epoch": 3,
        "args": argparse.Namespace(lr=0.1),  # as timm's training script has it
        "state_dict_ema": ema,
        "state_dict": state,
        "optimizer": {"state": {0: {"exp_avg": torch.ones(3)}}},
    }
    torch.save(training, tmp_path / "last.pth.tar")
    with caplog.at_level("INFO"):
        loaded = load(tmp_path / "last.pth.tar")
    assert torch.equal(head(loaded), head(model))
    assert "using the weights under 'state_dict'" in caplog.text


@pytest.mark.parametrize("key", ["ema_model_state_dict", "model_ema", "ema", "state_dict_ema"])
def test_a_moving_average_alone_is_taken(model, tmp_path, key):
    torch.save({key: from_ours(model.state_dict(), "cvnets"), "epoch": 3}, tmp_path / "ema.pt")
    assert torch.equal(head(load(tmp_path / "ema.pt")), head(model))


def test_weights_inside_two_dicts_are_found(model, tmp_path):
    torch.save({"ema": {"module": model.state_dict()}}, tmp_path / "ema.ckpt")
    assert torch.equal(head(load(tmp_path / "ema.ckpt")), head(model))


def test_class_names_beside_the_weights_become_the_labels(model, tmp_path):
    names = ["ant", "bee", "cat", "dog"]
    torch.save({"model_state_dict": model.state_dict(), "class_names": names}, tmp_path / "m.pt")
    assert read_weights(tmp_path / "m.pt").labels == names
    assert load(tmp_path / "m.pt").config.id2label == dict(enumerate(names))


def test_class_names_of_another_number_are_not_used(model, tmp_path, caplog):
    torch.save({"model": model.state_dict(), "class_names": ["ant"]}, tmp_path / "m.pt")
    assert load(tmp_path / "m.pt").config.label2id == {f"LABEL_{i}": i for i in range(4)}
    assert "its 1 class names don't fit its head" in caplog.text
