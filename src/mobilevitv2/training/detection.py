"""Training a detector: the loss, what validation counts, how images and boxes become samples."""

# B batch, N classes, a anchors

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from mobilevitv2.data.boxes.opening import BoxedImages, DetectionData
from mobilevitv2.errors import ConfigError, DataError
from mobilevitv2.processor import MobileViTImageProcessor
from mobilevitv2.results.colors import distinct_colors
from mobilevitv2.results.suppression import Detections, detect
from mobilevitv2.scores.detection import DetectionScores
from mobilevitv2.scores.truth import Boxes
from mobilevitv2.training import goal
from mobilevitv2.training.augment_boxes import BoxAugment, Label, label_of
from mobilevitv2.training.module import Training
from mobilevitv2.training.recipe import Recipe

USUAL_SIZE = 320  # px: the published detectors were trained at it
COARSEST = 256  # px, the step of the coarsest map that is normalized


class DetectorTraining(Training):
    """`network(images, labels)` gives an output with a loss, `logits` and `pred_boxes`.

    Those are [B, a, 1 + N] and [B, a, 4], see `MobileViTV2ForObjectDetection`. Targets are a
    `Label` for each image; in validation they also have the true boxes and the image's size.
    """

    def loss_of(self, images: Tensor, targets: list[Label]) -> Tensor:
        return self.network(images, targets).loss

    def validate_batch(self, images: Tensor, targets: list[dict[str, Any]]) -> None:
        output = self.averaged(images, targets)
        self.count_loss(output.loss, len(targets))
        self.goal.count(self.scores, output, targets)


class Goal(goal.Goal[DetectionData]):
    """Boxes, and what is in each."""

    training = DetectorTraining

    def check(self, recipe: Recipe, asked: Iterable[str] = ()) -> None:
        super().check(recipe, asked)
        alone = min(recipe.batch_size, len(self.data.train)) == 1
        if alone and (size := self.image_size(recipe)) <= COARSEST:
            raise ConfigError(
                f"a step has one image of {size} px; one of its maps is a single cell, which "
                f"can't be normalized. Train with batches of two, or more than {COARSEST} px."
            )
        for split, samples in self.data.splits.items():
            if all(sample.boxes.ignored.all() for sample in samples):
                raise DataError(
                    f"no image of the {split} split of {self.data.name} has a box that counts. "
                    "Label some, or split the images anew."
                )

    def usual_size(self) -> int:
        return USUAL_SIZE

    def sized(self, processor: MobileViTImageProcessor, size: int) -> MobileViTImageProcessor:
        """Whole images, stretched to a square as the published detectors expect them."""
        bicubic = int(Image.Resampling.BICUBIC)
        return replace(processor.stretched(size, size), resample=bicubic)

    def preparations(self, recipe: Recipe, processor: MobileViTImageProcessor) -> goal.Preparations:
        def prepare(image: Image.Image, boxes: Boxes, _: tuple[int, int]) -> Any:
            pixels = processor(image).pixel_values[0]
            label = label_of(boxes.some(~boxes.ignored), image.size)
            target = {**label, "truth": boxes, "size": (image.height, image.width)}
            return torch.from_numpy(pixels), target

        return BoxedImages, BoxAugment(recipe, processor.size["height"]), prepare

    def new_scores(self) -> DetectionScores:
        return DetectionScores(self.data.classes)

    def count(self, scores: DetectionScores, output: Any, targets: Any) -> list[float]:
        """Returns each image's F1."""
        found = zip(detected(output, targets), targets, strict=True)
        return [scores.update(detections, target["truth"]) for detections, target in found]

    def figures(self, scores: DetectionScores) -> dict[str, float]:
        summary = scores.summary
        return {name: summary[name] for name in ("map", "map_50")}

    @torch.inference_mode()
    def examples(
        self, network: nn.Module, images: Any, results: dict[int, float], name: Any
    ) -> dict[str, Any]:
        from mobilevitv2.report.detection import BoxedExample
        from mobilevitv2.report.page import told_of

        device = next(network.parameters()).device
        examples = []
        for index in told_of(results):
            pixels, target, _ = images[index]
            (found,) = detected(network(pixels[None].to(device)), [target])
            picture, truth = images.image(index), target["truth"]
            examples.append(BoxedExample(name(index), picture, truth, found, results[index]))
        return {"colors": distinct_colors(len(self.data.classes)), "examples": examples}


def detected(output: Any, targets: list[dict[str, Any]]) -> list[Detections]:
    """What was found in each image, in px of it: all that COCO's evaluation considers."""
    logits, boxes = (values.float().cpu().numpy() for values in (output.logits, output.pred_boxes))
    sizes = [target["size"] for target in targets]
    return [detect(*of_image) for of_image in zip(logits, boxes, sizes, strict=True)]
