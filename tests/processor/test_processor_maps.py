"""Segmentation maps as the processor prepares them, and masks as it makes them of logits."""

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pixels import agree, street_scenes
from transformers import MobileViTImageProcessorPil
from transformers.modeling_outputs import SemanticSegmenterOutput

from mobilevitv2.processor import MobileViTImageProcessor


@pytest.fixture(scope="module")
def scenes(shared_data) -> tuple[list[Image.Image], list[Image.Image]]:
    return street_scenes(shared_data / "camvid")


SEGMENTATION_CONFIGS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "reduced": {"do_reduce_labels": True},
    "published": {
        "size": {"shortest_edge": 544},
        "crop_size": {"height": 512, "width": 512},
        "resample": 2,
    },
    "no crop": {"do_center_crop": False, "do_reduce_labels": True},
}


@pytest.mark.parametrize("config", SEGMENTATION_CONFIGS.values(), ids=SEGMENTATION_CONFIGS.keys())
def test_segmentation_maps_are_those_of_transformers(scenes, config):
    images, maps = scenes
    ours = MobileViTImageProcessor(**config)(images, maps, return_tensors="np")
    theirs = MobileViTImageProcessorPil(**config)(images, maps, return_tensors="np")
    assert ours.labels.dtype == np.int64
    np.testing.assert_array_equal(ours.labels, theirs["labels"])
    assert agree(list(ours.pixel_values), list(theirs["pixel_values"]))


def test_reduced_labels_are_those_of_transformers_for_every_byte():
    numbers = np.arange(256, dtype=np.uint8).reshape(16, 16)
    image = np.zeros((16, 16, 3), np.uint8)
    settings = {"do_reduce_labels": True, "do_resize": False, "do_center_crop": False}
    transformers: Any = MobileViTImageProcessorPil.from_dict(settings)
    theirs = transformers(image, numbers.copy())["labels"][0]
    np.testing.assert_array_equal(
        MobileViTImageProcessor.from_dict(settings)(image, numbers).labels[0], theirs
    )
    assert numbers[0, 0] == 0  # transformers writes into the map that it is given
    assert (theirs != np.where(numbers == 0, 255, numbers - 1)).any()  # the mutant: 255 reduced


def test_the_comparison_of_maps_sees_a_mixing_filter_and_a_forgotten_reduction(scenes):
    images, maps = scenes
    theirs = MobileViTImageProcessorPil()(images, maps, return_tensors="np")["labels"]
    mixed = [m.resize((298, 224), Image.Resampling.BILINEAR) for m in maps]
    wrong = MobileViTImageProcessor(do_resize=False)(mixed, mixed, return_tensors="np")
    assert wrong.labels.shape == theirs.shape
    assert (wrong.labels != theirs).any()
    reduced = MobileViTImageProcessor(do_reduce_labels=True)(images, maps, return_tensors="np")
    assert (reduced.labels != theirs).any()


def test_a_map_may_hold_numbers_beyond_a_byte_and_below_zero():
    numbers = np.array([[-1, 700], [255, 0]]).repeat(4, 0).repeat(4, 1)
    image = np.zeros((8, 8, 3), np.uint8)
    processor = MobileViTImageProcessor(
        size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16}
    )
    labels = processor(image, numbers).labels[0]
    np.testing.assert_array_equal(labels, numbers.repeat(2, 0).repeat(2, 1))


@pytest.mark.parametrize("target", [(480, 360), (7, 5), (33, 64), (16, 16)])
def test_post_processing_of_arrays_and_tensors_is_that_of_transformers(target):
    logits = torch.randn(2, 5, 16, 16, generator=torch.manual_seed(0))
    sizes = [target, (20, 10)]
    outputs = SemanticSegmenterOutput(logits=logits)  # pyright: ignore[reportArgumentType]
    theirs: Any = MobileViTImageProcessorPil().post_process_semantic_segmentation(
        outputs, sizes, return_segmentation_scores=True
    )
    processor = MobileViTImageProcessor()
    for given in (outputs, logits.numpy()):
        ours = processor.post_process_semantic_segmentation(given, sizes, True)
        for our, their in zip(ours, theirs, strict=True):
            assert type(our.segmentation) is type(given if given is not outputs else logits)
            scores = np.asarray(our.segmentation_scores)
            np.testing.assert_allclose(scores, their["segmentation_scores"], rtol=0, atol=1e-5)
            np.testing.assert_array_equal(our.segmentation, their["segmentation"])
    aligned = torch.nn.functional.interpolate(
        logits, target, mode="bilinear", align_corners=True
    )  # the mutant
    same = np.allclose(aligned[0], theirs[0]["segmentation_scores"], rtol=0, atol=1e-5)
    assert same == (target == (16, 16))


def test_post_processing_without_sizes_stays_on_the_grid_of_the_logits():
    logits = np.random.default_rng(0).normal(size=(2, 4, 6, 8)).astype(np.float32)
    ours = MobileViTImageProcessor().post_process_semantic_segmentation(logits)
    np.testing.assert_array_equal(np.stack(ours), logits.argmax(1))


@pytest.mark.parametrize(
    ("logits", "sizes"),
    [
        (np.zeros((2, 3, 4, 4)), [(8, 8)]),
        (np.zeros((3, 4, 4)), None),
        (np.zeros((1, 3, 4, 4)), [(0, 8)]),
    ],
)
def test_post_processing_refuses_what_does_not_match(logits, sizes):
    with pytest.raises(ValueError, match=r"target size|Logits"):
        MobileViTImageProcessor().post_process_semantic_segmentation(logits, sizes)
