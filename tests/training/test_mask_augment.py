"""An image and its mask move together, by (seed, epoch, index), and no class number is made up."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from torchvision.transforms import InterpolationMode, v2

from mobilevitv2.data.masks.opening import MaskedImages, open_segmentation
from mobilevitv2.errors import ConfigError
from mobilevitv2.training.augment_masks import MaskAugment
from mobilevitv2.training.recipe import Recipe

SIZE = 64  # px
MOVES = {
    "plain": Recipe(),
    "resize": Recipe(resize_range=(0.5, 2)),
    "flip": Recipe(hflip=1.0),
    "rotate": Recipe(rotate=30),
    "all": Recipe(resize_range=(0.5, 2), class_share=0.9, hflip=0.5, rotate=20, blur=0.5),
}


def painted(seed: int = 0, size: tuple[int, int] = (100, 80)) -> tuple[Image.Image, np.ndarray]:
    """Blocks of 32 px of classes 0 to 4, and an image whose green shows them: 30 + 40 * class."""
    width, height = size
    blocks = np.random.default_rng(seed).integers(0, 5, (-(-height // 32), -(-width // 32)))
    mask = np.kron(blocks, np.ones((32, 32)))[:height, :width].astype(np.uint8)
    image = np.stack([np.full_like(mask, 200), 30 + 40 * mask, np.full_like(mask, 90)], axis=-1)
    return Image.fromarray(image), mask


def inner(mask: np.ndarray, margin: int = 7) -> np.ndarray:
    """Where the mask is of one value for `margin` px to every side, and it has that many."""
    image = Image.fromarray(mask)
    smallest, largest = ImageFilter.MinFilter(2 * margin + 1), ImageFilter.MaxFilter(2 * margin + 1)
    alike = np.asarray(image.filter(smallest)) == np.asarray(image.filter(largest))
    return np.pad(alike[margin:-margin, margin:-margin], margin)


def augmented(recipe: Recipe, pair: tuple[Image.Image, np.ndarray], key=(0, 0), size: int = SIZE):
    pixels, mask = MaskAugment(recipe, size)(*pair, key)
    return pixels.numpy(), mask.numpy()


@pytest.mark.parametrize("name", MOVES)
@pytest.mark.parametrize("size", [(100, 80), (61, 150), (64, 64)])
def test_image_and_mask_move_together(name, size):
    compared = 0
    for index in range(20):
        pair = painted(index, size)
        pixels, mask = augmented(MOVES[name], pair, (3, index))
        assert pixels.shape == (3, SIZE, SIZE)
        assert mask.shape == (SIZE, SIZE)
        assert pixels.dtype == mask.dtype == np.uint8
        shown = np.where(mask == 255, 0, 30 + 40 * mask.astype(int))
        certain = inner(mask)
        assert np.abs(pixels[1].astype(int) - shown)[certain].max(initial=0) <= 3
        compared += certain.sum()
    assert compared > 2 * SIZE * SIZE  # of 20 maps


@pytest.mark.parametrize("name", MOVES)
def test_no_class_number_is_mixed_of_two(name):
    image, mask = painted()
    mask = np.where(mask == 4, 200, mask).astype(np.uint8)
    for index in range(20):
        _, moved = augmented(MOVES[name], (image, mask), (0, index))
        assert set(np.unique(moved)) <= {0, 1, 2, 3, 200, 255}


def test_padding_is_black_and_not_counted_and_the_rest_is_in_the_upper_left_corner():
    image, mask = painted()
    for index in range(10):
        pixels, moved = augmented(Recipe(resize_range=(0.5, 0.5)), (image, mask), (0, index))
        seen = round(100 * 32 / 80)
        assert (moved[32:] == 255).all()
        assert (moved[:, seen:] == 255).all()
        assert (moved[:32, :seen] != 255).all()
        assert not pixels[:, moved == 255].any()


def test_a_rotation_uncovers_corners_that_do_not_count():
    image, mask = painted(size=(64, 64))
    pixels, moved = augmented(Recipe(rotate=45), (image, mask), (0, 1))
    corners = moved[[0, 0, -1, -1], [0, -1, 0, -1]]
    assert (corners == 255).all()
    outside = moved == 255
    assert not pixels[:, inner(outside.astype(np.uint8)) & outside].any()


def test_the_plain_recipe_takes_the_middle_as_torchvision_does(shared_data):
    path = sorted((shared_data / "camvid" / "val").iterdir())[0]
    with Image.open(path) as file:
        image = file.convert("RGB")
    with Image.open(shared_data / "camvid" / "valannot" / path.name) as file:
        mask = np.array(file)
    theirs = v2.CenterCrop(240)(v2.Resize(240, InterpolationMode.BICUBIC)(image))
    pixels, moved = augmented(Recipe(), (image, mask), size=240)
    difference = np.abs(pixels.transpose(1, 2, 0).astype(int) - np.asarray(theirs))[:, 4:-4]
    assert difference.max() <= 2
    nearest = v2.Resize(240, InterpolationMode.NEAREST)(Image.fromarray(mask))
    assert (moved == np.asarray(v2.CenterCrop(240)(nearest))).mean() > 0.999


def test_a_random_crop_is_a_part_of_the_resized_image(shared_data):
    path = sorted((shared_data / "camvid" / "val").iterdir())[0]
    with Image.open(path) as file:
        image = file.convert("RGB")
    mask = np.zeros((360, 480), np.uint8)
    whole = np.asarray(v2.Resize(72, InterpolationMode.BICUBIC)(image)).astype(int)  # 72x96
    starts = set()
    for index in range(8):
        pixels, _ = augmented(Recipe(resize_range=(1.5, 1.5)), (image, mask), (0, index), size=48)
        ours = pixels.transpose(1, 2, 0)[4:-4, 4:-4]
        errors = {
            (top, left): np.abs(whole[top + 4 : top + 44, left + 4 : left + 44] - ours).max()
            for top in range(72 - 47)
            for left in range(96 - 47)
        }
        start = min(errors, key=errors.__getitem__)
        assert errors[start] <= 2
        starts.add(start)
    assert len(starts) == 8


@pytest.mark.parametrize("half_void", [False, True])
def test_crops_are_drawn_again_until_no_class_has_too_large_a_share(half_void):
    """The left seven eighths are of class 0, so most crops hold no other; void has no part."""
    mask = np.zeros((64, 512), np.uint8)
    mask[:, 448:] = 1
    if half_void:
        mask[::2] = 255
    pair = Image.new("RGB", (512, 64)), mask

    def mixed(recipe: Recipe) -> float:
        """The share of crops of which neither class has three quarters."""
        moved = [augmented(recipe, pair, (0, index))[1] for index in range(100)]
        return sum(0.25 < m[m != 255].mean() < 0.75 for m in moved) / len(moved)

    recipe = Recipe(resize_range=(1, 1))
    one = 31 / 449  # a crop begins at 0..448, and from 401 to 431 it is mixed
    assert abs(mixed(recipe) - one) < 0.1
    assert abs(mixed(recipe.with_(class_share=0.75)) - (1 - (1 - one) ** 10)) < 0.15


def test_the_same_seed_epoch_and_index_give_the_same_pair_and_others_another():
    recipe = MOVES["all"].with_(photometric=0.5)
    pair = painted()

    def both(recipe: Recipe, key: tuple[int, int]) -> bytes:
        pixels, mask = augmented(recipe, pair, key)
        return pixels.tobytes() + mask.tobytes()

    first = both(recipe, (1, 2))
    torch.manual_seed(5)  # what else was drawn has no part in it
    before = torch.get_rng_state()
    assert both(recipe, (1, 2)) == first
    assert torch.equal(torch.get_rng_state(), before)
    others = {both(recipe, (2, 2)), both(recipe, (1, 3)), both(recipe.with_(seed=1), (1, 2))}
    assert len(others | {first}) == 4


def test_colors_and_blur_change_the_image_alone():
    image, mask = painted()
    plain, _ = augmented(Recipe(), (image, mask))
    for recipe in (Recipe(photometric=1.0), Recipe(blur=1.0)):
        changed = [augmented(recipe, (image, mask), (0, i)) for i in range(5)]
        assert all(np.array_equal(m, augmented(Recipe(), (image, mask))[1]) for _, m in changed)
        assert sum(not np.array_equal(pixels, plain) for pixels, _ in changed) >= 4
    blurred, _ = augmented(Recipe(blur=1.0), (image, mask), (0, 1))
    certain = inner(augmented(Recipe(), (image, mask))[1], margin=5)
    assert np.abs(blurred.astype(int) - plain)[:, certain].max() <= 1


def test_probabilities_are_those_of_the_recipe():
    image, mask = painted()
    plain, _ = augmented(Recipe(), (image, mask))
    for changes in ({"hflip": 0.3}, {"blur": 0.3}):
        drawn = [augmented(Recipe().with_(**changes), (image, mask), (0, i))[0] for i in range(200)]
        share = sum(not np.array_equal(pixels, plain) for pixels in drawn) / 200
        assert abs(share - 0.3) < 0.1


def test_sizes_are_drawn_from_the_whole_range():
    """A ruler of 1 px steps: how much of it is seen tells the scale."""
    mask = np.tile(np.arange(128, dtype=np.uint8), (128, 1))
    pair = Image.new("RGB", (128, 128)), mask
    recipe = Recipe(resize_range=(1.0, 2.0))
    scales = []
    for index in range(100):
        row = augmented(recipe, pair, (0, index))[1][0].astype(int)
        scales.append(128 / SIZE * (SIZE - 1) / (row[-1] - row[0]))
    assert 0.97 < min(scales) < 1.1
    assert 1.9 < max(scales) < 2.1


def test_the_shipped_recipe_augments_real_street_scenes(shared_data):
    data = open_segmentation(shared_data / "camvid")
    recipe = Recipe.load("segmentation")
    items = MaskedImages(data.train, data.read_mask, MaskAugment(recipe, 96))
    for index in range(10):
        pixels, mask, broken = items[4, index]
        assert pixels.shape == (3, 96, 96)
        assert broken == -1
        assert set(np.unique(mask)) <= {*range(11), 255}
        assert len(np.unique(mask)) > 3


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"resize_range": 2}, "resize_range must be two numbers, low and high, not 2"),
        ({"resize_range": (2, 1)}, "the first can't be larger"),
        ({"resize_range": (0, 1)}, "resize_range must be a number between 0.1 and 10, not 0"),
        ({"class_share": 0}, "class_share must be a number between 0.01 and 1, not 0"),
        ({"photometric": 2}, "photometric must be a number between 0 and 1, not 2"),
        ({"blur": -1}, "not -1"),
    ],
)
def test_settings_out_of_range_are_refused(changes, sentence):
    with pytest.raises(ConfigError, match=sentence):
        Recipe().with_(**changes)
