"""The engine's numbers: PyTorch's, timm's and transformers', for all heads, shapes and threads."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import transformers as hf
from engine_bundles import (
    MODELS,
    TINY,
    answers,
    change_weights,
    every_output,
    images,
    largest_error,
    need_engine,
    random_model,
    same_bits,
    save,
    tiny_bundle,
)
from peers import copy_weights, randomize
from safetensors.numpy import load_file, save_file

from mobilevitv2 import MobileViTV2Config, MobileViTV2ForImageClassification
from mobilevitv2.config import round_channels
from mobilevitv2.errors import UnsupportedError
from mobilevitv2.runtime.native import PRECISIONS, NativeRuntime, instructions_for, missing

transformers: Any = hf  # its classes hide their arguments from a type checker

CLOSE = 2e-5  # of fp32, as a part of the largest value
ROUNDED = {"bf16": 0.06, "int8": 0.15}
CONFIGS: dict[str, dict[str, Any]] = {
    "classifier": {"head": "classifier"},
    "narrow": {"head": "classifier", "width_multiplier": 0.25},
    "backbone": {"head": "backbone"},
    "detector": {"head": "detector"},
    "deeplabv3": {"head": "segmenter"},
    "deeplabv3 at stride 16": {"head": "segmenter", "output_stride": 16},
    "deeplabv3 at stride 8": {"head": "segmenter", "output_stride": 8, "use_auxiliary_head": True},
    "pspnet": {"head": "segmenter", "segmentation_head": "pspnet", "output_stride": 16},
    "pspnet, other scales": {
        "head": "segmenter",
        "segmentation_head": "pspnet",
        "pool_scales": [1, 5, 2],
    },
    "one class": {"head": "classifier", "num_labels": 1},
    "gray": {"head": "classifier", "num_channels": 1},
    "other epsilon": {"head": "classifier", "layer_norm_eps": 0.1},
    "other widening": {"head": "classifier", "expand_ratio": 3.3, "ffn_multiplier": 1.25},
}
SIZES = [(64, 64), (97, 130), (33, 32)]
FP32 = instructions_for("fp32") if missing() is None else ["avx512", "avx2", "portable"]


@pytest.fixture(autouse=True)
def engine() -> None:
    need_engine()


def made(folder: Path, fields: dict[str, Any]) -> Any:
    """A model of one of CONFIGS, saved as a bundle."""
    fields = {"width_multiplier": 0.5, "num_labels": 7, "aspp_out_channels": 48, **fields}
    model = random_model(**fields)
    save(model, folder)
    return model


def every_runtime(folder: Path) -> list[NativeRuntime]:
    """The bundle in every precision, with every instruction set that is here."""
    return [
        NativeRuntime(folder, precision=precision, instructions=instructions)
        for precision in PRECISIONS
        for instructions in instructions_for(precision)
    ]


def test_every_instruction_set_of_this_processor_is_tested():
    assert instructions_for("fp32") == FP32
    assert FP32[-1] == "portable"


# PyTorch


@pytest.mark.parametrize("name", CONFIGS)
def test_every_output_is_pytorchs(name, tmp_path):
    model = made(tmp_path, CONFIGS[name])
    runtimes = {i: NativeRuntime(tmp_path, threads=2, instructions=i) for i in FP32}
    for size in SIZES:
        pixels = images(2, model.config.num_channels, *size)
        wanted = answers(model, pixels)
        errors = {i: largest_error(every_output(r, pixels), wanted) for i, r in runtimes.items()}
        assert max(errors.values())[0] < CLOSE, (size, errors)


@pytest.mark.parametrize("precision", ["bf16", "int8"])
@pytest.mark.parametrize("name", ["classifier", "detector", "deeplabv3", "pspnet"])
def test_fewer_bits_come_near(name, precision, tmp_path):
    if not instructions_for(precision):
        pytest.skip(f"this processor has no {precision}")
    model = made(tmp_path, CONFIGS[name])
    pixels = images(2, 3, 97, 130)
    for instructions in instructions_for(precision):
        runtime = NativeRuntime(tmp_path, precision=precision, instructions=instructions)
        error = largest_error(every_output(runtime, pixels), answers(model, pixels))
        assert CLOSE < error[0] < ROUNDED[precision], error


def random_case(random: np.random.Generator) -> tuple[dict[str, Any], dict[str, Any]]:
    """Any config and any shape, small."""

    def some(low: int, high: int, count: int) -> list[int]:
        return random.integers(low, high + 1, count).tolist()

    head = str(random.choice(list(MODELS)))
    fields = {
        "head": head,
        "seed": int(random.integers(1000)),
        "width_multiplier": float(random.uniform(0.05, 0.5)),
        "expand_ratio": float(random.uniform(0.5, 4)),
        "ffn_multiplier": float(random.uniform(2, 3)),
        "layer_norm_eps": float(random.choice([1e-5, 1e-3, 0.1])),
        "n_attn_blocks": some(1, 3, 3),
        "base_attn_unit_dims": some(40, 400, 3),
        "output_stride": 32 if head == "detector" else int(random.choice([8, 16, 32])),
        "num_channels": int(random.choice([1, 2, 3, 3, 3, 5])),
        "num_labels": int(random.integers(1, 40)),
        "segmentation_head": str(random.choice(["deeplabv3", "pspnet"])),
        "aspp_out_channels": int(random.integers(1, 70)),
        "atrous_rates": some(1, 9, 3),
        "pool_scales": some(1, 7, int(random.integers(1, 5))),
        "use_auxiliary_head": bool(head == "segmenter" and random.random() < 0.3),
    }
    run = {
        "batch": int(random.choice([1, 1, 2, 3, 5])),
        "size": tuple(some(32, 150, 2)),
        "threads": int(random.integers(1, 4)),
        "instructions": str(random.choice(FP32)),
    }
    return fields, run


def check_case(seed: int, folder: Path) -> None:
    fields, run = random_case(np.random.default_rng(seed))
    model = random_model(**fields)
    save(model, folder)
    runtime = NativeRuntime(folder, threads=run["threads"], instructions=run["instructions"])
    pixels = images(run["batch"], fields["num_channels"], *run["size"], seed=seed)
    error = largest_error(every_output(runtime, pixels), answers(model, pixels))
    assert error[0] < CLOSE, (seed, error, fields, run)


@pytest.mark.parametrize("part", range(6))
def test_random_configs_and_shapes(part, tmp_path):
    for seed in range(10 * part, 10 * part + 10):
        check_case(seed, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(10))
def test_500_random_configs_and_shapes(part, tmp_path):
    for seed in range(1000 + 50 * part, 1050 + 50 * part):
        check_case(seed, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("width", [0.75, 1.0, 1.25, 1.5, 1.75, 2.0])
def test_every_published_width(width, tmp_path):
    model = made(tmp_path, {"head": "classifier", "width_multiplier": width})
    pixels = images(1, 3, 256, 256)
    for instructions in FP32:
        runtime = NativeRuntime(tmp_path, instructions=instructions)
        assert largest_error(every_output(runtime, pixels), answers(model, pixels))[0] < CLOSE


# What others wrote


def test_the_numbers_are_timms(tmp_path):
    theirs: Any = randomize(timm.create_model("mobilevitv2_050", num_classes=10))
    ours = MobileViTV2ForImageClassification(MobileViTV2Config(width_multiplier=0.5, num_labels=10))
    copy_weights(theirs, ours)
    pixels = images(2, 3, 97, 130)
    with torch.inference_mode():
        final, maps = theirs.forward_intermediates(torch.from_numpy(pixels))
        logits = theirs.forward_head(final)
    wanted = {f"stage_{i}": stage.numpy() for i, stage in enumerate(maps)}
    runtime = NativeRuntime(save(ours, tmp_path))
    found = every_output(runtime, pixels)
    assert largest_error(found, {**wanted, "logits": logits.numpy()})[0] < CLOSE
    swapped = every_output(runtime, pixels[:, ::-1])
    assert largest_error(swapped, {**wanted, "logits": logits.numpy()})[0] > 100 * CLOSE


@pytest.mark.parametrize("name", ["MobileViTV2ForImageClassification", "MobileViTV2Model"])
def test_a_folder_that_transformers_wrote_opens_and_has_its_numbers(name, tmp_path):
    torch.manual_seed(0)
    config = transformers.MobileViTV2Config(width_multiplier=0.5, num_labels=6)
    theirs: Any = randomize(getattr(transformers, name)(config))
    theirs.save_pretrained(tmp_path)
    pixels = images(1, 3, 128, 64)
    wanted = answers(theirs, pixels)
    runtime = NativeRuntime(tmp_path)
    assert largest_error(every_output(runtime, pixels), wanted)[0] < CLOSE
    moved = np.roll(pixels, 1, axis=3)
    assert largest_error(every_output(runtime, moved), wanted)[0] > 100 * CLOSE


# Mutants: what these comparisons would find


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    "name",
    [
        "classifier",
        "deeplabv3",
        pytest.param("pspnet", marks=SLOW),
        pytest.param("detector", marks=SLOW),
    ],
)
def test_every_tensor_counts(name, tmp_path):
    """A change of any tensor of the file changes what comes out, just as it changes PyTorch's."""
    model = made(tmp_path, {**TINY, **CONFIGS[name]})
    pixels = images(1, 3, 64, 64)
    before = every_output(NativeRuntime(tmp_path), pixels)
    path = tmp_path / "model.safetensors"
    tensors = load_file(path)
    parameters = model.state_dict()
    random = np.random.default_rng(0)
    for key, values in tensors.items():
        if key.endswith("num_batches_tracked"):
            continue
        shape = (len(values), *[1] * (values.ndim - 1))
        changed = values * random.uniform(1.5, 2.5, shape).astype(np.float32)
        save_file({**tensors, key: changed}, path)
        parameters[key].copy_(torch.from_numpy(changed))
        found, wanted = every_output(NativeRuntime(tmp_path), pixels), answers(model, pixels)
        parameters[key].copy_(torch.from_numpy(values))
        assert largest_error(found, wanted)[0] < CLOSE, key
        assert largest_error(found, before)[0] > 10 * CLOSE, key


def test_other_orders_of_classes_and_shifted_pixels_are_other_numbers(tmp_path):
    model = made(tmp_path, CONFIGS["classifier"])
    pixels = images(1, 3, 64, 64)
    wanted = answers(model, pixels)
    runtime = NativeRuntime(tmp_path)
    for other in (
        np.roll(pixels, 1, axis=2),
        np.roll(pixels, 1, axis=3),
        pixels[:, ::-1],
        pixels.transpose(0, 1, 3, 2),
        pixels * np.float32(1.01),
    ):
        assert largest_error(every_output(runtime, other), wanted)[0] > 10 * CLOSE
    rows = [1, 0, *range(2, 7)]

    def swap(tensors: dict[str, np.ndarray]) -> None:
        for name in ("classifier.weight", "classifier.bias"):
            tensors[name] = tensors[name][rows].copy()

    found = every_output(NativeRuntime(change_weights(tmp_path, swap)), pixels)
    assert largest_error(found, wanted)[0] > 100 * CLOSE
    found["logits"] = found["logits"][:, rows]
    assert largest_error(found, wanted)[0] < CLOSE


def test_the_configs_formulas_are_those_of_python(tmp_path):
    """Channels at widths where rounding decides: a wrong one would not find its tensors' shapes."""
    for width in np.arange(0.05, 0.7, 0.045).tolist():
        fields = {**TINY, "n_attn_blocks": [1, 1, 1], "width_multiplier": width}
        NativeRuntime(save(random_model(expand_ratio=1.5, **fields), tmp_path))
        channels = [round_channels(b * width, 8) for b in (128, 256, 384, 512)]
        shapes = [o.shape[0] for o in NativeRuntime(tmp_path).outputs(32, 32)[2:]]
        assert shapes == channels


# The same bits


@pytest.mark.parametrize("name", ["classifier", "detector", "deeplabv3", "pspnet"])
def test_threads_and_batches_change_no_bit(name, tmp_path):
    made(tmp_path, CONFIGS[name])
    pixels = images(7, 3, 75, 97)
    precisions: list[Any] = [p for p in PRECISIONS if instructions_for(p)]
    for precision in precisions:
        kinds = {t: NativeRuntime(tmp_path, threads=t, precision=precision) for t in (1, 2, 3, 7)}
        wanted = every_output(kinds[1], pixels)
        for threads, runtime in kinds.items():
            for batch in (7, 4, 3, 2, 1):
                found = every_output(runtime, pixels[-batch:])
                last = {n: a[-batch:] for n, a in wanted.items()}
                assert same_bits(found, last), (precision, threads, batch)


def test_what_is_wanted_and_what_was_before_change_no_bit(tmp_path):
    for name in ("classifier", "detector", "deeplabv3", "backbone"):
        made(tmp_path, CONFIGS[name])
        runtime = NativeRuntime(tmp_path, threads=2)
        pixels = images(1, 3, 64, 97)
        wanted = every_output(runtime, pixels)
        for output in wanted:
            assert same_bits(runtime(pixels, [output]), {output: wanted[output]}), output
        assert runtime(pixels, []) == {}
        for side in range(32, 160, 11):
            every_output(runtime, images(1, 3, side, 64, seed=side))
        for spoilt in (np.nan, np.inf, -np.inf, 3e38, -1e30):
            others = np.full_like(pixels, spoilt)
            runtime(others)
            batch = every_output(runtime, np.concatenate([others, pixels, others]))
            assert same_bits({n: a[1:2] for n, a in batch.items()}, wanted), spoilt
        assert same_bits(every_output(runtime, pixels), wanted)


@pytest.mark.parametrize("name", ["classifier", "detector", "deeplabv3", "pspnet", "backbone"])
def test_an_image_of_no_numbers_gives_no_numbers(name, tmp_path):
    model = made(tmp_path, {**TINY, **CONFIGS[name]})
    pixels = images(4, 3, 64, 64)
    pixels[1:, 1, 20, 30] = np.nan, np.inf, 3e38  # the last overflows on its way
    wanted = answers(model, pixels)
    for runtime in every_runtime(tmp_path):
        for output, values in runtime(pixels).items():
            assert np.isfinite(values[0]).all(), output
            assert not np.isfinite(wanted[output][1:]).any(), output
            assert not np.isfinite(values[1:]).any(), (runtime.instructions, output)


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("deeplabv3", "aspp.convs.0"),
        ("deeplabv3", "aspp.project"),
        ("pspnet", "pyramid.branches.0"),
        ("detector", "extra_layers.0.conv_1x1"),
        ("detector", "predictors.0.projection"),
    ],
)
def test_what_overflows_in_a_head_does_not_become_a_number_again(name, place, tmp_path):
    model = random_model(**{**TINY, **CONFIGS[name]})
    with torch.no_grad():
        for parameter, values in model.named_parameters():
            if f"{place}.normalization" in parameter:  # its weight and its bias
                values[:] = 3.3e38
    save(model, tmp_path)
    pixels = images(1, 3, 64, 64)
    finite = np.isfinite(answers(model, pixels)["logits"])
    assert not finite.all()
    for runtime in every_runtime(tmp_path):
        found = np.isfinite(runtime(pixels)["logits"])
        assert not found[~finite].any(), runtime.instructions


def test_calls_at_the_same_time_change_no_bit(tmp_path):
    made(tmp_path, CONFIGS["detector"])
    runtimes = [NativeRuntime(tmp_path, threads=t) for t in (1, 2, 3)]
    shapes = [(1 + i % 3, 3, 32 + 7 * i, 64) for i in range(8)]
    wanted = [every_output(runtimes[0], images(*shape)) for shape in shapes]

    def right(i: int) -> bool:
        found = every_output(runtimes[i % 3], images(*shapes[i % len(shapes)]))
        return same_bits(found, wanted[i % len(shapes)])

    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(right, range(120)))


def test_photos_and_prepared_pixels_give_the_same_bits(tmp_path):
    runtime = NativeRuntime(tiny_bundle(tmp_path))
    for size in ((300, 200), (40, 500), (256, 256)):
        photo = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
        whole = runtime.run_photo(photo)
        parts = runtime(runtime.prepare(photo)[None])
        assert same_bits(whole, {n: a[0] for n, a in parts.items()})


def test_products_too_deep_for_int8_are_refused_and_those_at_the_limit_computed(tmp_path):
    if not instructions_for("int8"):
        pytest.skip("this processor has no int8")
    fields = {**TINY, "width_multiplier": 0.5, "expand_ratio": 21.3}  # of 192 channels
    pixels = images(1, 3, 64, 64)
    model = made(tmp_path, fields)
    error = largest_error(
        every_output(NativeRuntime(tmp_path, precision="int8"), pixels), answers(model, pixels)
    )
    assert error[0] < ROUNDED["int8"], error
    made(tmp_path, {**fields, "expand_ratio": 22.0})
    with pytest.raises(UnsupportedError, match="int8 supports at most 4096"):
        NativeRuntime(tmp_path, precision="int8")
    assert NativeRuntime(tmp_path)(pixels)["logits"].shape == (1, 5)
