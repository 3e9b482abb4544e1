"""Try an installed wheel with numpy alone: a small classifier with random weights on random pixels.

All of the processor's instruction sets must give the same scores. Exits with 1 if one doesn't, or
if the wheel has no engine.
"""

import ctypes
import json
import sys
import tempfile
from importlib import import_module
from pathlib import Path

import numpy as np

from mobilevitv2 import MobileViTV2Config, runtime

LABELS = ["red", "green", "blue"]
COUNTER = "num_batches_tracked"
SIDE = 64  # of the photo, in px
FLOATS = ctypes.POINTER(ctypes.c_float)


class Options(ctypes.Structure):
    """mv2_options."""

    _fields_ = (
        ("threads", ctypes.c_int),
        ("precision", ctypes.c_int),
        ("instructions", ctypes.c_char_p),
    )


def shapes(config: MobileViTV2Config) -> dict[str, list[int]]:
    """Every tensor of the classifier, by its name in a bundle."""
    found: dict[str, list[int]] = {}

    def convolution(name: str, out: int, inputs: int, side: int = 1) -> None:
        found[f"{name}.convolution.weight"] = [out, inputs, side, side]

    def norm(name: str, channels: int, running: bool = True) -> None:
        kinds = ["weight", "bias"] + ["running_mean", "running_var"] * running
        found.update({f"{name}.{kind}": [channels] for kind in kinds})
        if running:
            found[f"{name}.{COUNTER}"] = []

    def unit(name: str, out: int, inputs: int, side: int = 1) -> None:
        convolution(name, out, inputs, side)
        norm(f"{name}.normalization", out)

    def biased(name: str, out: int, inputs: int) -> None:
        convolution(name, out, inputs)
        found[f"{name}.convolution.bias"] = [out]

    def residual(name: str, out: int, inputs: int) -> None:
        wide = int(round(inputs * config.expand_ratio / 8) * 8)
        unit(f"{name}.expand_1x1", wide, inputs)
        unit(f"{name}.conv_3x3", wide, 1, 3)
        unit(f"{name}.reduce_1x1", out, wide)

    channels = [config.stem_channels, *config.stage_channels]
    unit("mobilevitv2.conv_stem", channels[0], 3, 3)
    layers = "mobilevitv2.encoder.layer"
    residual(f"{layers}.0.layer.0", channels[1], channels[0])
    residual(f"{layers}.1.layer.0", channels[2], channels[1])
    residual(f"{layers}.1.layer.1", channels[2], channels[2])
    blocks = zip(config.attention_dims, config.n_attn_blocks, strict=True)
    for stage, (dim, depth) in enumerate(blocks, 2):
        block, out = f"{layers}.{stage}", channels[stage + 1]
        residual(f"{block}.downsampling_layer", out, channels[stage])
        unit(f"{block}.conv_kxk", out, 1, 3)
        convolution(f"{block}.conv_1x1", dim, out)
        hidden = int(config.ffn_multiplier * dim // 16 * 16)
        for i in range(depth):
            layer = f"{block}.transformer.layer.{i}"
            norm(f"{layer}.layernorm_before", dim, running=False)
            biased(f"{layer}.attention.qkv_proj", 1 + 2 * dim, dim)
            biased(f"{layer}.attention.out_proj", dim, dim)
            norm(f"{layer}.layernorm_after", dim, running=False)
            biased(f"{layer}.ffn.conv1", hidden, dim)
            biased(f"{layer}.ffn.conv2", dim, hidden)
        norm(f"{block}.layernorm", dim, running=False)
        unit(f"{block}.conv_projection", out, dim)
    found |= {"classifier.weight": [len(LABELS), channels[5]], "classifier.bias": [len(LABELS)]}
    return found


def write_bundle(folder: Path) -> None:
    """Write weights that keep activations at their size, as trained ones do."""
    config = MobileViTV2Config(width_multiplier=0.5, id2label=dict(enumerate(LABELS)))
    numbers = np.random.default_rng(0)
    header, data, end = {}, [], 0
    for name, shape in shapes(config).items():
        if len(shape) > 1:
            value = numbers.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))
        else:
            value = np.full(shape, float("norm" in name and name.endswith(("weight", "_var"))))
        counter = name.endswith(COUNTER)
        data.append(value.astype("<i8" if counter else "<f4").tobytes())
        begin, end = end, end + len(data[-1])
        header[name] = {
            "dtype": "I64" if counter else "F32",
            "shape": shape,
            "data_offsets": [begin, end],
        }
    text = json.dumps(header).encode()
    whole = b"".join([len(text).to_bytes(8, "little"), text, *data])
    (folder / "model.safetensors").write_bytes(whole)
    described = {**config.to_dict(), "architectures": ["MobileViTV2ForImageClassification"]}
    (folder / "config.json").write_text(json.dumps(described))
    processor = {"size": {"shortest_edge": SIDE}, "crop_size": {"height": SIDE, "width": SIDE}}
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))


def logits(library: ctypes.CDLL, folder: Path, instructions: bytes) -> np.ndarray:
    """The classifier's logits for the photo, with this instruction set."""
    message = ctypes.create_string_buffer(1024)

    def check(error: int) -> None:
        if error:
            raise SystemExit(f"{instructions.decode()}: {message.value.decode()}")

    model = ctypes.c_void_p()
    options = Options(1, 0, instructions)
    check(
        library.mv2_open(
            str(folder).encode(),
            ctypes.byref(options),
            ctypes.byref(model),
            message,
            ctypes.c_size_t(1024),
        )
    )
    photo = np.random.default_rng(1).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    result = np.full(len(LABELS), np.nan, np.float32)
    check(
        library.mv2_run_photo(
            model,
            photo.ctypes.data_as(ctypes.c_void_p),
            SIDE,
            SIDE,
            ctypes.c_ssize_t(3 * SIDE),
            (FLOATS * 1)(result.ctypes.data_as(FLOATS)),
            (ctypes.c_size_t * 1)(result.size),
            1,
            message,
            ctypes.c_size_t(1024),
        )
    )
    library.mv2_close(model)
    return result


def main() -> None:
    """Find the engine in the installed package, run it, compare."""
    found = [path for folder in runtime.__path__ for path in Path(folder).glob("_engine.*")]
    if not found:
        raise SystemExit(f"no engine in {list(runtime.__path__)}.")
    import_module("mobilevitv2.runtime.native")
    library = ctypes.CDLL(str(found[0]))
    library.mv2_instructions.restype = ctypes.c_char_p
    sets = library.mv2_instructions(0).split()
    if not sets:
        raise SystemExit(f"{found[0]} has no instruction set for this processor.")
    with tempfile.TemporaryDirectory() as folder:
        write_bundle(Path(folder))
        answers = {name.decode(): logits(library, Path(folder), name) for name in sets}
    first = next(iter(answers.values()))
    for name, answer in answers.items():
        print(name, answer)
        if not np.allclose(answer, first, rtol=1e-3, atol=1e-3):  # NaN isn't close to anything
            sys.exit(f"{name} gives {answer}, but {next(iter(answers))} gives {first}.")


if __name__ == "__main__":
    main()
