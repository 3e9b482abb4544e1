"""What the engine is given that is damaged or absurd: one sentence, never a crash."""

import json
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine_bundles import (
    change_config,
    change_weights,
    every_output,
    images,
    need_engine,
    same_bits,
    tiny_bundle,
)

from mobilevitv2 import MobileViTImageProcessor
from mobilevitv2.errors import CheckpointError, ConfigError, UnsupportedError
from mobilevitv2.runtime.native import NativeRuntime

POSIX = pytest.mark.skipif(os.name != "posix", reason="needs named pipes and permissions of POSIX")


@pytest.fixture(autouse=True)
def engine() -> None:
    need_engine()


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    need_engine()
    return tiny_bundle(tmp_path_factory.mktemp("whole"))


@pytest.fixture
def bundle(whole, tmp_path) -> Path:
    """A copy to be damaged."""
    return Path(shutil.copytree(whole, tmp_path / "bundle"))


# Weights


def test_every_tensor_must_be_there_in_its_shape_and_finite(whole, bundle):
    from safetensors.numpy import load_file

    names = [n for n in load_file(whole / "model.safetensors") if "num_batches" not in n]
    damages: list[Callable[[dict[str, np.ndarray], str], Any]] = [
        lambda tensors, name: tensors.pop(name),
        lambda tensors, name: tensors.update({name: tensors[name][:-1].copy()}),
        lambda tensors, name: tensors.update({name: tensors[name][..., None]}),
        lambda tensors, name: tensors.update({name: tensors[name].reshape(-1)[:0]}),
        lambda tensors, name: tensors.update({name: tensors[name].astype(np.int32)}),
        lambda tensors, name: tensors[name].reshape(-1).__setitem__(-1, np.nan),
        lambda tensors, name: tensors[name].reshape(-1).__setitem__(0, np.inf),
    ]
    for i, name in enumerate(names):
        damage = damages[i % len(damages)]
        shutil.copy(whole / "model.safetensors", bundle)
        change_weights(bundle, lambda tensors, d=damage, n=name: d(tensors, n))
        with pytest.raises(CheckpointError, match=r"model\.safetensors") as raised:
            NativeRuntime(bundle)
        assert name in str(raised.value)


def test_tensors_of_another_model_are_refused(bundle):
    one = {"mobilevitv2.strange": np.zeros(3, np.float32)}
    with pytest.raises(CheckpointError, match=r"1 tensor that .* mobilevitv2\.strange"):
        NativeRuntime(change_weights(bundle, lambda tensors: tensors.update(one)))


def test_a_negative_variance_is_refused(bundle):
    name = "mobilevitv2.conv_stem.normalization.running_var"
    with pytest.raises(CheckpointError, match=r"conv_stem.*running_var has negative values"):
        NativeRuntime(change_weights(bundle, lambda t: t[name].__setitem__(1, -1e-3)))


def test_weights_in_other_floats_are_the_same_weights(bundle):
    pixels = images(1, 3, 64, 64)

    def halved(tensors: dict[str, np.ndarray]) -> None:
        for name, values in tensors.items():
            if values.dtype == np.float32:
                tensors[name] = values.astype(np.float16)

    half = every_output(NativeRuntime(change_weights(bundle, halved)), pixels)
    for dtype in (np.float32, np.float64):

        def widened(tensors: dict[str, np.ndarray], dtype: Any = dtype) -> None:
            for name, values in tensors.items():
                if values.dtype == np.float16:
                    tensors[name] = values.astype(dtype)

        shutil.copytree(bundle, other := bundle.parent / str(np.dtype(dtype)))
        assert same_bits(every_output(NativeRuntime(change_weights(other, widened)), pixels), half)


def header_and_data(path: Path) -> tuple[dict[str, Any], bytes]:
    content = path.read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def write(path: Path, header: dict[str, Any], data: bytes, length: int | None = None) -> None:
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)


LIES: dict[str, Callable[[dict[str, Any], str, str], Any]] = {
    "overlap": lambda h, a, b: h[b].update(data_offsets=h[a]["data_offsets"]),
    "beyond the end": lambda h, a, b: h[a].update(data_offsets=[0, 2**52]),
    "beyond 64 bits": lambda h, a, b: h[a].update(data_offsets=[0, 2**70]),
    "backwards": lambda h, a, b: h[a].update(data_offsets=h[a]["data_offsets"][::-1]),
    "negative": lambda h, a, b: h[a].update(data_offsets=[-4, 0]),
    "a fraction": lambda h, a, b: h[a].update(data_offsets=[0, 0.5]),
    "one offset": lambda h, a, b: h[a].update(data_offsets=[0]),
    "no shape": lambda h, a, b: h[a].pop("shape"),
    "a huge shape": lambda h, a, b: h[a].update(shape=[2**31, 2**31, 2**31, 2**31]),
    "a product that overflows to 0": lambda h, a, b: h[a].update(shape=[2**32, 2**32]),
    "a shape of texts": lambda h, a, b: h[a].update(shape=["1"]),
    "an unknown dtype": lambda h, a, b: h[a].update(dtype="F128"),
    "another dtype": lambda h, a, b: h[a].update(dtype="F64"),
    "no dtype": lambda h, a, b: h[a].update(dtype=None),
    "an entry of a number": lambda h, a, b: h.update({a: 5}),
    "a gap": lambda h, a, b: h.pop(a),
    "metadata of numbers": lambda h, a, b: h.update(__metadata__={"a": 1}),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_header_that_lies_is_found_out(lie, whole, bundle):
    path = bundle / "model.safetensors"
    header, data = header_and_data(path)
    names = [name for name in header if name != "__metadata__" and header[name]["dtype"] == "F32"]
    for a, b in ((names[0], names[1]), (names[-1], names[0]), (names[5], names[9])):
        changed = json.loads(json.dumps(header))
        LIES[lie](changed, a, b)
        write(path, changed, data)
        with pytest.raises(CheckpointError, match=r"model\.safetensors"):
            NativeRuntime(bundle)


def test_a_file_cut_anywhere_is_refused(whole, bundle):
    path = bundle / "model.safetensors"
    content = path.read_bytes()
    header = 8 + struct.unpack("<Q", content[:8])[0]
    random = np.random.default_rng(0)
    ends = [0, 1, 7, 8, 9, header - 1, header, header + 1, len(content) - 1]
    for end in [*ends, *random.integers(0, len(content), 30).tolist()]:
        path.write_bytes(content[:end])
        with pytest.raises(CheckpointError, match=r"model\.safetensors"):
            NativeRuntime(bundle)
    path.write_bytes(content + b"\0")
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        NativeRuntime(bundle)
    for length in (0, 2**40, 2**63, 2**64 - 1, 2**64 - 8):
        write(path, {}, content[header:], length)
        with pytest.raises(CheckpointError, match=r"model\.safetensors"):
            NativeRuntime(bundle)


def test_bytes_changed_at_random_are_refused_or_computed_with(whole, bundle):
    """Nothing but these errors; each model that opens still answers."""
    random = np.random.default_rng(0)
    content = {n: (whole / n).read_bytes() for n in ("model.safetensors", "config.json")}
    opened = 0
    for i in range(300):
        name = "config.json" if i % 3 == 0 else "model.safetensors"
        damaged = bytearray(content[name])
        # mostly in the header, which is where harm is done
        end = min(len(damaged), 30_000 if i % 3 == 1 else 10**9)
        for at in random.integers(0, end, 1 + i % 4):
            damaged[at] = random.integers(0, 256)
        for other, old in content.items():
            (bundle / other).write_bytes(bytes(damaged) if other == name else old)
        try:
            NativeRuntime(bundle)(images(1, 3, 32, 32))
            opened += 1
        except (CheckpointError, UnsupportedError):
            pass
    assert 20 < opened < 250


# Configs


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"hidden_act": "gelu"}, UnsupportedError),
        ({"conv_kernel_size": 5}, UnsupportedError),
        ({"patch_size": 4}, UnsupportedError),
        ({"patch_size": [2, 4]}, UnsupportedError),
        ({"architectures": ["ViTModel"]}, UnsupportedError),
        ({"architectures": None}, UnsupportedError),  # PyTorch tells by the weights
        ({"architectures": []}, CheckpointError),
        ({"architectures": "MobileViTV2Model"}, CheckpointError),
        ({"model_type": "vit"}, CheckpointError),
        ({"hidden_act": 5}, CheckpointError),
        ({"width_multiplier": 1e9}, CheckpointError),
        ({"width_multiplier": 0.2}, CheckpointError),
        ({"width_multiplier": "1"}, CheckpointError),
        ({"width_multiplier": True}, CheckpointError),
        ({"width_multiplier": [1]}, CheckpointError),
        ({"expand_ratio": -1}, CheckpointError),
        ({"ffn_multiplier": 0}, CheckpointError),
        ({"layer_norm_eps": -1e-5}, CheckpointError),
        ({"num_channels": 0}, CheckpointError),
        ({"num_channels": 2**40}, CheckpointError),
        ({"num_channels": 3.5}, CheckpointError),
        ({"num_channels": 4}, CheckpointError),
        ({"output_stride": 24}, CheckpointError),
        ({"n_attn_blocks": [1, 2]}, CheckpointError),
        ({"n_attn_blocks": [1, 2, 0]}, CheckpointError),
        ({"n_attn_blocks": [1, 2, 2]}, CheckpointError),
        ({"n_attn_blocks": [1, 2, 10**9]}, CheckpointError),
        ({"n_attn_blocks": {}}, CheckpointError),
        ({"base_attn_unit_dims": [80, 120, 65536]}, CheckpointError),
        ({"base_attn_unit_dims": [65537] * 3}, CheckpointError),
        ({"width_multiplier": 16, "base_attn_unit_dims": [65536] * 3}, CheckpointError),
        ({"id2label": {"0": "a"}}, CheckpointError),
        ({"id2label": {str(i): "a" for i in range(6)}}, CheckpointError),
        ({"id2label": {str(i): "a" for i in range(1, 6)}}, CheckpointError),
        ({"id2label": {str(i): i for i in range(5)}}, CheckpointError),
        ({"id2label": {"-1": "a", "x": "b", "": "c", "9" * 30: "d", "1e0": "e"}}, CheckpointError),
        ({"id2label": 5}, CheckpointError),
        ({"id2label": {}}, UnsupportedError),
        ({"id2label": {str(i): "" for i in range(400_000)}}, CheckpointError),
        ({"id2label": {str(i): "" for i in range(1_000_000)}}, CheckpointError),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_config_that_makes_no_sense_is_refused(fields, error, bundle):
    with pytest.raises(error) as raised:
        NativeRuntime(change_config(bundle, **fields))
    assert 20 < len(str(raised.value)) < 1000


@pytest.mark.parametrize(
    "fields",
    [
        {"segmentation_head": "unet"},
        {"segmentation_head": None, "atrous_rates": [1, 2]},
        {"atrous_rates": [10**6] * 3},
        {"segmentation_head": "pspnet"},
        {"segmentation_head": "pspnet", "pool_scales": [1024] * 64},
        {"segmentation_head": "pspnet", "pool_scales": []},
        {"aspp_out_channels": 65536},
        {"aspp_out_channels": 0},
    ],
    ids=str,
)
def test_a_segmenters_config_that_makes_no_sense_is_refused(fields, tmp_path):
    folder = tiny_bundle(tmp_path, "segmenter")
    with pytest.raises((CheckpointError, UnsupportedError)):
        NativeRuntime(change_config(folder, **fields))


def test_pools_of_millions_of_cells_are_left_to_pytorch(tmp_path):
    """A small file would ask for gigabytes for each image."""
    folder = tiny_bundle(tmp_path, "segmenter", segmentation_head="pspnet", pool_scales=[1024] * 64)
    with pytest.raises(UnsupportedError, match="65536 cells"):
        NativeRuntime(folder)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"null",
        b"[]",
        b'"text"',
        b"{",
        b"\xff\xfe{\0}\0",
        b"[" * 1_000_000,
        b'{"a":' * 100_000,
        b'{"a": NaN}',
        b'{"a": "\xed\xa0\x80"}',
        b"{}" + b" " * (65 << 20),
    ],
    ids=lambda text: repr(text[:12]),
)
@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json"])
def test_what_is_no_json_is_refused(name, text, bundle):
    (bundle / name).write_bytes(text)
    with pytest.raises((CheckpointError, ConfigError), match=name):
        NativeRuntime(bundle)


def test_an_empty_object_is_a_processor_with_its_defaults_but_no_config(bundle):
    (bundle / "preprocessor_config.json").write_text("{}")
    assert NativeRuntime(bundle).description["processor"] == {}
    (bundle / "config.json").write_text("{}")
    with pytest.raises(UnsupportedError, match=r"config\.json"):
        NativeRuntime(bundle)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_file_that_is_missing_or_no_file_is_refused(name, bundle):
    (bundle / name).unlink()
    with pytest.raises(CheckpointError, match=name):
        NativeRuntime(bundle)
    (bundle / name).mkdir()
    with pytest.raises(CheckpointError, match=name):
        NativeRuntime(bundle)
    for folder in (bundle / "none", bundle / name / "none", "", "x" * 10_000):
        with pytest.raises(CheckpointError):
            NativeRuntime(folder)


@POSIX
@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "preprocessor_config.json"])
def test_pipes_and_devices_are_no_files_and_nobody_waits_for_them(name, bundle):
    path = bundle / name
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    with pytest.raises(CheckpointError, match=name):
        NativeRuntime(bundle)
    for target in ("/dev/zero", "/dev/null", bundle):
        path.unlink()
        path.symlink_to(target)
        with pytest.raises(CheckpointError, match=name):
            NativeRuntime(bundle)


@POSIX
def test_a_processor_that_may_not_be_read_is_no_missing_one(bundle):
    path = bundle / "preprocessor_config.json"
    path.unlink(missing_ok=True)
    path.symlink_to(path)  # a circle: there, and can't be opened, not even by root
    with pytest.raises(CheckpointError, match=r"preprocessor_config\.json"):
        NativeRuntime(bundle)


def test_folders_of_any_name_open(whole, tmp_path):
    for name in ("with space", "ümläut-日本-🙂", "a" * 200):
        assert NativeRuntime(shutil.copytree(whole, tmp_path / name)).labels


def test_a_processor_of_nonsense_is_refused(bundle):
    MobileViTImageProcessor().save_pretrained(bundle)
    path = bundle / "preprocessor_config.json"
    good = json.loads(path.read_text())
    assert NativeRuntime(bundle).description["processor"]
    for fields in (
        {"size": {"shortest_edge": -5}},
        {"size": {"shortest_edge": 10**9}},
        {"size": "224"},
        {"crop_size": {"height": 0, "width": 10}},
        {"resample": 77},
        {"rescale_factor": "1/255"},
        {"do_resize": "yes"},
    ):
        path.write_text(json.dumps({**good, **fields}))
        with pytest.raises((CheckpointError, UnsupportedError, ConfigError)):
            NativeRuntime(bundle)
