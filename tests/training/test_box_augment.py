"""An image and its boxes move together, whatever is done to them."""

import numpy as np
import pytest
import torch
from PIL import Image

from mobilevitv2.scores.truth import Boxes
from mobilevitv2.training import Recipe
from mobilevitv2.training.augment_boxes import BoxAugment, label_of

COLORS = ((220, 40, 30), (30, 200, 40), (30, 40, 220))
SIZE = 96


def scene(size=(200, 160)) -> tuple[Image.Image, Boxes]:
    """Three rectangles of one color each on black, and where they are."""
    corners = [(10, 20, 70, 80), (90, 30, 180, 70), (60, 100, 150, 150)]
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    for color, (x1, y1, x2, y2) in zip(COLORS, corners, strict=True):
        pixels[y1:y2, x1:x2] = color
    return Image.fromarray(pixels), Boxes.of([0, 1, 2], corners)


def seen(pixels: torch.Tensor, color: tuple[int, int, int]) -> np.ndarray | None:
    """x1, y1, x2, y2 of what has the color, in parts of the image."""
    mask = (np.abs(pixels.permute(1, 2, 0).numpy().astype(int) - color) < 60).all(-1)
    rows, columns = np.nonzero(mask)
    if not len(rows):
        return None
    low, high = (columns.min(), rows.min()), (columns.max() + 1, rows.max() + 1)
    return np.array([*low, *high]) / SIZE


def corners_of(label: dict[str, torch.Tensor]) -> dict[int, np.ndarray]:
    boxes = label["boxes"].numpy()
    low, high = boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2
    corners = np.concatenate([low, high], 1)
    return dict(zip(label["class_labels"].tolist(), corners, strict=True))


def largest_miss(augment: BoxAugment) -> float:
    """How far boxes are from what they are of, at most, over many draws."""
    image, boxes = scene()
    misses = [0.0]
    for index in range(60):
        pixels, label = augment(image, boxes, (0, index))
        for number, corners in corners_of(label).items():
            there = seen(pixels, COLORS[number])
            misses.append(1.0 if there is None else float(np.abs(there - corners).max()))
    return max(misses)


def test_boxes_stay_on_what_they_are_of_through_crops_and_flips():
    assert largest_miss(BoxAugment(Recipe(box_crop=1, hflip=0.5, vflip=0.5), SIZE)) < 2 / SIZE


@pytest.mark.parametrize("move", ["hflip", "vflip", "box_crop"])
def test_boxes_that_are_left_behind_would_be_noticed(move, monkeypatch):
    augment = BoxAugment(Recipe.load(Recipe(), **{move: 1.0}), SIZE)
    if move == "box_crop":
        crop = augment.crop
        monkeypatch.setattr(augment, "crop", lambda image, boxes: (crop(image, boxes)[0], boxes))
    else:
        monkeypatch.setattr(Image.Image, "transpose", lambda image, method: image)
    assert largest_miss(augment) > 0.1


def test_crops_keep_boxes_by_their_centers_and_at_least_one():
    image, boxes = scene()
    augment = BoxAugment(Recipe(box_crop=1), SIZE)
    counts = [len(augment(image, boxes, (0, i))[1]["class_labels"]) for i in range(100)]
    assert min(counts) >= 1
    assert {1, 2, 3} == set(counts)


def test_two_of_seven_draws_leave_the_image_whole():
    image, boxes = scene()
    augment = BoxAugment(Recipe(box_crop=1), SIZE)
    plain, _ = BoxAugment(Recipe(), SIZE)(image, boxes, (0, 0))
    whole = [torch.equal(augment(image, boxes, (1, i))[0], plain) for i in range(120)]
    assert 2 / 7 - 0.12 < np.mean(whole) < 2 / 7 + 0.15  # overlaps that can't be had are redrawn


def test_what_is_drawn_depends_on_seed_epoch_and_index_alone():
    image, boxes = scene()
    recipe = Recipe(box_crop=1, hflip=0.5, photometric=0.5)
    augment = BoxAugment(recipe, SIZE)
    torch.manual_seed(1)
    first = augment(image, boxes, (3, 5))
    torch.manual_seed(2)
    assert torch.equal(first[0], augment(image, boxes, (3, 5))[0])
    assert not torch.equal(first[0], augment(image, boxes, (4, 5))[0])
    other = BoxAugment(recipe.with_(seed=1), SIZE)
    assert not torch.equal(first[0], other(image, boxes, (3, 5))[0])


def test_an_image_without_boxes_stays_whole():
    image, _ = scene()
    nothing = Boxes.of([], np.empty((0, 4)))
    pixels, label = BoxAugment(Recipe(box_crop=1), SIZE)(image, nothing, (0, 0))
    assert pixels.shape == (3, SIZE, SIZE)
    assert label["boxes"].shape == (0, 4)
    assert label["class_labels"].shape == (0,)


def test_what_is_to_be_ignored_is_not_trained_on():
    image, boxes = scene()
    ignored = Boxes.of(boxes.labels, boxes.corners, ignored=[True, False, False])
    _, label = BoxAugment(Recipe(), SIZE)(image, ignored, (0, 0))
    assert label["class_labels"].tolist() == [1, 2]


def test_labels_are_centers_and_sizes_in_parts_of_the_image():
    boxes = Boxes.of([4, 2], [(10, 20, 30, 60), (5, 5, 5.01, 50)])
    label = label_of(boxes, (100, 200))
    assert label["class_labels"].tolist() == [4]  # the other is thinner than anything can be seen
    torch.testing.assert_close(label["boxes"], torch.tensor([[0.2, 0.2, 0.2, 0.2]]))
