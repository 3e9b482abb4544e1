"""Random changes of training images and their boxes, as in SSD (Liu et al., 2016)."""

# n boxes

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from mobilevitv2.scores.truth import Boxes
from mobilevitv2.training.augment import happens, seeded, to_tensor
from mobilevitv2.training.recipe import Recipe

OVERLAPS = [0.1, 0.3, 0.5, 0.7, 0.9, 1.0, 1.0]  # the crop's with some box; 1: no crop
LEAST_SIDE = 1e-3  # share of the image; thinner boxes are left out

Label = dict[str, Tensor]
"""`class_labels` int64 [n] and `boxes` float32 [n, 4]: center and size as shares of the image."""


class BoxAugment:
    """An RGB image, its boxes and (epoch, index) to uint8 [3, size, size] and a `Label`.

    Crop, color changes, flips, resize: steps and order are the reference's (ml-cvnets). A crop
    keeps the boxes whose center is inside, and cuts them off at its edge. Ignored boxes are left
    out; the aspect ratio isn't kept.
    """

    def __init__(self, recipe: Recipe, size: int) -> None:
        self.recipe = recipe
        self.size = size
        self.crop = v2.RandomIoUCrop(sampler_options=OVERLAPS)
        self.distort = v2.RandomPhotometricDistort(p=recipe.photometric)

    def __call__(
        self, image: Image.Image, boxes: Boxes, key: tuple[int, int]
    ) -> tuple[Tensor, Label]:
        boxes = boxes.some(~boxes.ignored)
        with seeded(self.recipe.seed, "image", *key):
            if len(boxes.labels) and happens(self.recipe.box_crop):
                image, boxes = self._cropped(image, boxes)
            if self.recipe.photometric:
                image = self.distort(image)
            flips = [share and happens(share) for share in (self.recipe.hflip, self.recipe.vflip)]
        label = label_of(boxes, image.size)
        image = image.resize((self.size, self.size), Image.Resampling.BICUBIC)
        for axis, flipped in enumerate(flips):
            if flipped:
                image = image.transpose(Image.Transpose(axis))  # left and right, top and bottom
                label["boxes"][:, axis] = 1 - label["boxes"][:, axis]
        return to_tensor(image), label

    def _cropped(self, image: Image.Image, boxes: Boxes) -> tuple[Image.Image, Boxes]:
        corners = tv_tensors.BoundingBoxes(
            torch.from_numpy(boxes.corners),  # pyright: ignore[reportCallIssue]
            format=tv_tensors.BoundingBoxFormat.XYXY,
            canvas_size=(image.height, image.width),
        )
        image, corners = self.crop(image, corners)
        cut = np.asarray(corners)
        return image, boxes._replace(corners=cut).some(np.all(cut[:, 2:] > cut[:, :2], axis=1))


def label_of(boxes: Boxes, size: tuple[int, int]) -> Label:
    """The boxes of an image of this (width, height) [px], as the loss expects them."""
    low, high = np.split(boxes.corners / np.tile(size, 2), 2, axis=1)
    seen = (high - low > LEAST_SIDE).all(1)
    centers = np.concatenate([(low + high) / 2, high - low], 1)[seen]
    return {
        "class_labels": torch.from_numpy(boxes.labels[seen]),
        "boxes": torch.from_numpy(centers).float(),
    }
