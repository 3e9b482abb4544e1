"""The engine's photos are those of MobileViTImageProcessor and of Pillow, bit for bit."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine_bundles import need_engine
from PIL import Image, features

from mobilevitv2 import MobileViTImageProcessor, MobileViTV2Config, MobileViTV2Model
from mobilevitv2.errors import ImageError
from mobilevitv2.runtime.native import NativeRuntime

FILTERS = list(Image.Resampling)
COLUMNS_FIRST = int(str(features.version("pil")).split(".")[0]) >= 13  # Pillow's rule since 13.0
SIZES = [  # of the photo, (height, width)
    (2, 2),
    (5, 3),
    (3, 64),
    (31, 33),
    (64, 64),
    (100, 61),
    (97, 240),
    (480, 640),
    (641, 427),
]
SETTINGS: list[dict[str, Any]] = [
    {},
    {"size": {"shortest_edge": 72}, "crop_size": {"height": 64, "width": 64}},
    {"size": {"shortest_edge": 33}, "crop_size": {"height": 70, "width": 20}},
    {"size": {"shortest_edge": 40, "longest_edge": 55}, "do_center_crop": False},
    {"size": {"height": 17, "width": 90}, "crop_size": {"height": 16, "width": 32}},
    {"size": {"max_height": 50, "max_width": 31}, "do_center_crop": False},
    {"do_resize": False, "crop_size": {"height": 50, "width": 51}, "do_flip_channel_order": False},
    {"do_rescale": False, "do_center_crop": False, "size": {"shortest_edge": 300}},
    {"rescale_factor": 1 / 127.5, "size": {"height": 1, "width": 1}},
]

Prepare = Callable[[MobileViTImageProcessor, np.ndarray], np.ndarray]


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle's folder without its preprocessor_config.json."""
    folder = tmp_path_factory.mktemp("engine")
    MobileViTV2Model(MobileViTV2Config(width_multiplier=0.25, image_size=64)).save_pretrained(
        folder
    )
    return folder


@pytest.fixture(scope="session")
def prepare(weights: Path) -> Prepare:
    """What the engine makes of a photo with the settings of a processor."""
    need_engine()
    opened: dict[str, Any] = {}

    def prepared(processor: MobileViTImageProcessor, photo: np.ndarray) -> np.ndarray:
        settings = processor.to_json_string()
        if settings not in opened:
            processor.save_pretrained(weights)
            opened[settings] = NativeRuntime(weights)
        return opened[settings].prepare(photo)

    return prepared


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Black and white: where filters ring most, and every clipping is needed."""
    values = np.random.default_rng(seed).integers(0, 2, (height, width, 3)) * 255
    return values.astype(np.uint8)


def expected(processor: MobileViTImageProcessor, photo: np.ndarray) -> np.ndarray:
    image = Image.fromarray(photo)
    return processor(image, return_tensors="np").pixel_values[0]


def same_order(processor: MobileViTImageProcessor, photo: np.ndarray) -> bool:
    """Whether this Pillow makes its two passes in the order of 13.0."""
    height, width = photo.shape[:2]
    to_width, to_height = processor.target_size(width, height)
    return COLUMNS_FIRST or height - to_height <= max(0, 2 * (width - to_width))


@pytest.mark.parametrize("resample", FILTERS, ids=lambda resample: resample.name.lower())
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_prepares_as_the_processor_does(
    prepare: Prepare, resample: Image.Resampling, settings: dict[str, Any]
) -> None:
    processor = MobileViTImageProcessor(resample=resample.value, **settings)
    for height, width in SIZES:
        photo = noise(height, width)
        if same_order(processor, photo):
            pixels = prepare(processor, photo)
            assert pixels.dtype == np.float32
            np.testing.assert_array_equal(pixels, expected(processor, photo), strict=True)


def test_prepares_random_sizes_as_the_processor_does(prepare: Prepare) -> None:
    chance = random.Random(0)
    for seed in range(100):
        photo = noise(chance.randint(2, 400), chance.randint(2, 400), seed)
        processor = MobileViTImageProcessor(
            resample=chance.choice(FILTERS).value,
            size={"height": chance.randint(1, 200), "width": chance.randint(1, 200)},
            crop_size={"height": chance.randint(1, 200), "width": chance.randint(1, 200)},
        )
        if same_order(processor, photo):
            np.testing.assert_array_equal(prepare(processor, photo), expected(processor, photo))


@pytest.mark.skipif(not COLUMNS_FIRST, reason="this Pillow passes along the rows first, always")
def test_tall_photos_are_resized_along_the_columns_first(prepare: Prepare) -> None:
    processor = MobileViTImageProcessor(
        size={"height": 40, "width": 50}, do_center_crop=False, do_flip_channel_order=False
    )
    photo = noise(300, 90)
    pixels = prepare(processor, photo)
    image = Image.fromarray(photo)
    np.testing.assert_array_equal(pixels, expected(processor, photo))
    mutant = image.resize((50, 300)).resize((50, 40))  # along the rows first
    assert not np.array_equal(pixels, expected(processor, np.asarray(mutant)))


def test_resizes_as_pillow_down_to_single_pixels(prepare: Prepare) -> None:
    for height, width in [(1, 1), (1, 7), (9, 1), (1, 300)]:  # which the processor refuses
        for resample in FILTERS:
            processor = MobileViTImageProcessor(
                size={"height": 8, "width": 5},
                resample=resample.value,
                do_center_crop=False,
                do_rescale=False,
                do_flip_channel_order=False,
            )
            photo = noise(height, width)
            resized = np.asarray(Image.fromarray(photo).resize((5, 8), resample))
            if same_order(processor, photo):
                np.testing.assert_array_equal(prepare(processor, photo), resized.transpose(2, 0, 1))


def test_prepares_real_photos_as_the_processor_does(prepare: Prepare, shared_data: Path) -> None:
    paths = [
        path
        for name in ("bccd", "camvid", "flowers")
        for path in sorted((shared_data / name).rglob("*.[jp][pn]g"))[:5]
    ]
    assert len(paths) > 5
    for path in paths:
        photo = np.asarray(Image.open(path).convert("RGB"))
        for layout in ("transformers", "timm"):
            processor = MobileViTImageProcessor.for_checkpoint(layout)
            if same_order(processor, photo):
                np.testing.assert_array_equal(prepare(processor, photo), expected(processor, photo))


def test_rows_may_lie_apart(prepare: Prepare) -> None:
    processor = MobileViTImageProcessor(size={"shortest_edge": 40})
    part = noise(90, 130)[5:75, 20:120]
    np.testing.assert_array_equal(
        prepare(processor, part), expected(processor, np.ascontiguousarray(part))
    )


@pytest.mark.parametrize(
    "change",
    [
        {"resample": Image.Resampling.BILINEAR.value},
        {"size": {"shortest_edge": 73}},
        {"crop_size": {"height": 64, "width": 62}},  # one column of offset
        {"crop_size": {"height": 62, "width": 64}},  # one row
        {"do_flip_channel_order": False},
        {"rescale_factor": 1 / 256},
    ],
    ids=str,
)
def test_every_wrong_setting_would_be_seen(prepare: Prepare, change: dict[str, Any]) -> None:
    settings: dict[str, Any] = {
        "size": {"shortest_edge": 72},
        "crop_size": {"height": 64, "width": 64},
    }
    photo = noise(150, 200)
    pixels = prepare(MobileViTImageProcessor(**settings), photo)
    wrong = expected(MobileViTImageProcessor(**(settings | change)), photo)
    rows, columns = min(pixels.shape[1], wrong.shape[1]), min(pixels.shape[2], wrong.shape[2])
    assert not np.array_equal(pixels[:, :rows, :columns], wrong[:, :rows, :columns])


def test_photos_that_are_too_large_are_refused_in_a_sentence(prepare: Prepare) -> None:
    processor = MobileViTImageProcessor()
    with pytest.raises(ImageError, match="65,535 px"):
        prepare(processor, np.zeros((1, 65536, 3), np.uint8))
    with pytest.raises(ImageError, match="crop the photo"):
        prepare(processor, np.zeros((1, 65535, 3), np.uint8))
