"""Random changes of training images, which depend on (seed, epoch, index) alone."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import blake2b

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2

from mobilevitv2.training.recipe import Recipe


def seed_of(*parts: int | str) -> int:
    """A seed for torch's generators that depends on all parts, and nothing else."""
    digest = blake2b("/".join(map(str, parts)).encode(), digest_size=4).digest()
    return int.from_bytes(digest)  # 32 bits are all that the CPU generator uses


@contextmanager
def seeded(*parts: int | str) -> Iterator[None]:
    """Torch's CPU generator with this seed; restored afterwards."""
    before = torch.get_rng_state()
    torch.default_generator.manual_seed(seed_of(*parts))
    try:
        yield
    finally:
        torch.set_rng_state(before)


class Augment:
    """A Pillow image and its (epoch, index) to pixels, uint8 [3, size, size].

    Crop, flip, rotation and RandAugment work on the Pillow image, which is faster than tensors at
    these sizes; the order is the reference's (ml-cvnets).
    """

    def __init__(self, recipe: Recipe, size: int) -> None:
        self.seed, self.size = recipe.seed, size
        bilinear, bicubic = InterpolationMode.BILINEAR, InterpolationMode.BICUBIC
        whole = recipe.crop_scale == (1.0, 1.0) and recipe.crop_ratio == (1.0, 1.0)
        steps: list[Callable] = [
            v2.Compose([v2.Resize(size, bicubic), v2.CenterCrop(size)])
            if whole
            else v2.RandomResizedCrop(
                size, recipe.crop_scale, recipe.crop_ratio, interpolation=bicubic
            )
        ]
        if recipe.hflip:
            steps.append(v2.RandomHorizontalFlip(recipe.hflip))
        if recipe.vflip:
            steps.append(v2.RandomVerticalFlip(recipe.vflip))
        if recipe.rotate or recipe.shift or recipe.zoom:
            turn, shift = (-recipe.rotate, recipe.rotate), (recipe.shift, recipe.shift)
            zoom = (1 - recipe.zoom, 1 + recipe.zoom)
            steps.append(v2.RandomAffine(turn, shift, zoom, interpolation=bilinear))
        if recipe.randaugment_ops:
            steps.append(
                v2.RandAugment(
                    recipe.randaugment_ops, recipe.randaugment_magnitude, interpolation=bilinear
                )
            )
        steps.append(to_tensor)
        if recipe.random_erasing:
            steps.append(v2.RandomErasing(recipe.random_erasing))
        self.steps = v2.Compose(steps)

    def __call__(self, image: Image.Image, key: tuple[int, int]) -> Tensor:
        with seeded(self.seed, "image", *key):
            return self.steps(image)


def happens(probability: float) -> bool:
    """A random draw from torch's generator."""
    return bool(torch.rand(()) < probability)


def to_tensor(image: Image.Image) -> Tensor:
    """Pillow RGB to uint8 [3, H, W]; copied by numpy, which starts no threads."""
    return torch.from_numpy(np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1)))


class Mix:
    """Mixup or CutMix of a batch [B, C, H, W] with itself, rolled by one; labels become [B, N].

    With both on, each is used half the time. Randomness comes from torch's generators.
    """

    def __init__(self, recipe: Recipe, classes: int) -> None:
        self.probability = recipe.mix_prob
        self.kinds: list[Callable] = []
        if recipe.mixup:
            self.kinds.append(v2.MixUp(alpha=recipe.mixup, num_classes=classes))
        if recipe.cutmix:
            self.kinds.append(v2.CutMix(alpha=recipe.cutmix, num_classes=classes))

    def __call__(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        if not self.kinds or len(images) < 2 or torch.rand(()) >= self.probability:
            return images, targets
        kind = self.kinds[int(torch.randint(len(self.kinds), ()))]
        return kind(images, targets)
