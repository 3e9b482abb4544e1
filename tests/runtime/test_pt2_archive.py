"""A .pt2 is opened by torch, which runs what such a file says. None of that happens here."""

import contextlib
import io
import json
import pickle
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from mobilevitv2.errors import CheckpointError
from mobilevitv2.runtime import open_runtime

RAN = "ran"  # the file that code in an archive makes
CODE = f"__import__('pathlib').Path('{RAN}').touch()"
pytestmark = pytest.mark.filterwarnings("ignore")  # what torch.export's own code warns of


class Code:
    def __reduce__(self):
        return exec, (CODE,)


class Doubler(torch.nn.Module):
    def forward(self, pixels):
        return (pixels * torch.arange(1, pixels.shape[3] + 1),)


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> Path:
    """A program with a free side, whose sizes are formulas."""
    width = torch.export.Dim("width", min=2, max=64)
    example = (torch.ones(1, 3, 4, 2 * 4),)
    program = torch.export.export(Doubler(), example, dynamic_shapes=({3: 2 * width},))
    path = tmp_path_factory.mktemp("sound") / "sound.pt2"
    torch.export.save(program, path)
    return path


def pickled(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def changed(sound: Path, path: Path, change) -> Path:
    """The archive with what `change` makes of each member; None leaves it out."""
    done = False
    with zipfile.ZipFile(sound) as archive, zipfile.ZipFile(path, "w") as written:
        for name in archive.namelist():
            data = archive.read(name)
            inner = change(name.split("/", 1)[1], data)
            done |= inner != data
            if inner is not None:
                written.writestr(name, inner)
        assert done
    return path


def in_program(old: str, new: str):
    return lambda name, data: (
        data.replace(old.encode(), new.encode()) if name == "models/model.json" else data
    )


def in_file(end: str, content: bytes):
    return lambda name, data: content if name.endswith(end) else data


def with_payload(name: str, pickle_it: bool):
    meta = {"path_name": name, "is_param": False, "use_pickle": pickle_it, "tensor_meta": None}
    return in_file("constants_config.json", json.dumps({"config": {"c": meta}}).encode())


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_a_sound_program_answers_as_torch_opens_it(sound):
    runtime = open_runtime(sound)
    assert runtime.input_shape[:3] == (1, 3, 4)
    for width in (4, 10):
        pixels = np.random.default_rng(0).random((1, 3, 4, width), np.float32)
        wanted = torch.export.load(sound).module()(torch.from_numpy(pixels))[0]
        assert np.array_equal(runtime(pixels)[0], wanted.numpy())


# What torch.export.load, or the program that it gives, runs.
HOSTILE = {
    "a pickle of the sample inputs": in_file("sample_inputs/model.pt", pickled(((Code(),), {}))),
    "a pickle without torch's archive": in_file("sample_inputs/model.pt", pickle.dumps(Code())),
    "Python among the sizes": in_program('"expr_str": "', f'"expr_str": "{CODE} or '),
    "Python in a string of a size": in_program("Integer(2)", f'Add(\\"{CODE}\\")'),
    "Python as a guard": lambda name, data: (
        json.dumps({**json.loads(data), "guards_code": [CODE]}).encode()
        if name == "models/model.json"
        else data
    ),
}


@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE)
def test_no_code_of_an_archive_runs(sound, change, tmp_path):
    path = changed(sound, tmp_path / "evil.pt2", change)
    with contextlib.suppress(CheckpointError):
        open_runtime(path)(np.ones((1, 3, 4, 8), np.float32))
    assert not Path(RAN).exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (HOSTILE["a pickle of the sample inputs"], "sample_inputs/model.pt is a pickle of more"),
        (HOSTILE["Python in a string of a size"], "isn't a formula of sizes"),
        (HOSTILE["Python among the sizes"], "isn't a formula of sizes"),
        (in_program("torch.ops.aten.mul.Tensor", "torch.hub.os.system"), "calls torch.hub.os.sys"),
        (in_program("torch.ops.aten.mul.Tensor", "torch.ops.load_library"), "calls torch.ops.load"),
        (in_program("torch.ops.aten.mul.Tensor", "torch.ops.aten.from_file.default"), "from_file"),
        (in_program("torch.ops.aten.mul.Tensor", "_operator.methodcaller"), "methodcaller"),
        (in_program("torch.ops.aten.mul.Tensor", "#made:up"), "calls #made:up"),
        (in_program("builtins.dict", "collections.defaultdict"), "a collections.defaultdict"),
        (with_payload("opaque_obj_0", pickle_it=False), "c is a pickled object"),
        (with_payload("tensor_0", pickle_it=True), "c is a pickled object"),
    ],
)
def test_what_could_run_code_is_refused_in_one_sentence(sound, change, said, tmp_path):
    path = changed(sound, tmp_path / "evil.pt2", change)
    with pytest.raises(CheckpointError, match="is refused, because torch could run") as caught:
        open_runtime(path)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["data/aotinductor/model/model.so", "data/weights/other.pt"])
def test_libraries_and_unknown_files_are_refused(sound, name, tmp_path):
    path = shutil.copy(sound, tmp_path / "evil.pt2")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(f"sound/{name}", b"\x7fELF")
    with pytest.raises(CheckpointError, match=f"{name} isn't part of a program of tensors"):
        open_runtime(path)


@pytest.mark.parametrize("how", ["cut", "no archive"])
def test_a_damaged_file_is_said_to_be_damaged(sound, how, tmp_path):
    data = sound.read_bytes()
    (tmp_path / "cut.pt2").write_bytes(data[: len(data) // 2] if how == "cut" else b"x" * 99)
    with pytest.raises(CheckpointError, match="is damaged or no program"):
        open_runtime(tmp_path / "cut.pt2")
