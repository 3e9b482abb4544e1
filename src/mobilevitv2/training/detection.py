"""Training a detector: the loss, what validation counts, how images and boxes become samples."""

# B batch, C channels, H W height and width, N classes, a anchors, n boxes

from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader

from mobilevitv2.data.boxes.opening import DetectionData
from mobilevitv2.data.boxes.samples import BoxedImages
from mobilevitv2.errors import ConfigError, DataError
from mobilevitv2.model.detection import MobileViTV2ForObjectDetection
from mobilevitv2.processor import MobileViTImageProcessor
from mobilevitv2.results import distinct_colors
from mobilevitv2.results.suppression import Detections, detect
from mobilevitv2.scores.detection import DetectionScores
from mobilevitv2.scores.truth import Boxes
from mobilevitv2.training import goal
from mobilevitv2.training.augment_boxes import BoxAugment, Label, label_of
from mobilevitv2.training.folder import name_of
from mobilevitv2.training.module import Training
from mobilevitv2.training.recipe import Recipe

if TYPE_CHECKING:
    from mobilevitv2.report.boxed_panels import BoxedExample

USUAL_SIZE = 320  # px: the published detectors were trained at it
COARSEST = 256  # px, the step of the coarsest map that is normalized


class DetectorTraining(Training):
    """`network(images, labels)` gives an output with a loss, `logits` and `pred_boxes`.

    Those are [B, a, 1 + N] and [B, a, 4], see `MobileViTV2ForObjectDetection`. Targets are a
    `Label` for each image; in validation with the true boxes and the image's size besides.
    """

    def __init__(
        self, network: nn.Module, recipe: Recipe, *, classes: list[str], **how: Any
    ) -> None:
        super().__init__(network, recipe, **how)
        self.scores = DetectionScores(classes)

    def loss_of(self, images: Tensor, targets: list[Label]) -> Tensor:
        return self.network(images, targets).loss

    def validate_batch(self, images: Tensor, targets: list[dict[str, Any]]) -> None:
        output = self.averaged(images, targets)
        self.count_loss(output.loss, len(targets))
        for found, target in zip(detected(output, targets), targets, strict=True):
            self.scores.update(found, target["truth"])

    def take_scores(self) -> dict[str, float]:
        summary = self.scores.summary
        self.scores = DetectionScores(self.scores.classes)
        return {name: summary[name] for name in ("map", "map_50")}


class Goal(goal.Goal[DetectionData]):
    """Boxes, and what is in each."""

    name = "detection"
    metric = "map"
    model_class = MobileViTV2ForObjectDetection

    def check(self, recipe: Recipe, asked: Iterable[str] = ()) -> None:
        super().check(recipe, asked)
        alone = min(recipe.batch_size, len(self.data.train)) == 1
        if alone and (size := self.image_size(recipe)) <= COARSEST:
            raise ConfigError(
                f"a step has one image of {size} px, of which a map of one cell is left, which "
                f"can't be normalized. Train with batches of two, or more than {COARSEST} px."
            )
        for split, samples in self.data.splits.items():
            if all(sample.boxes.ignored.all() for sample in samples):
                raise DataError(
                    f"no image of the {split} split of {self.data.name} has a box that counts. "
                    "Label some, or split the images anew."
                )

    def image_size(self, recipe: Recipe) -> int:
        """The recipe's, or 320 px."""
        return recipe.image_size or USUAL_SIZE

    def config(self, recipe: Recipe, image_size: int) -> dict[str, Any]:
        return {}

    def sized(self, processor: MobileViTImageProcessor, size: int) -> MobileViTImageProcessor:
        """Whole images, stretched to a square as the published detectors want them."""
        bicubic = int(Image.Resampling.BICUBIC)
        return replace(processor.stretched(size, size), resample=bicubic)

    def image_sets(
        self, recipe: Recipe, processor: MobileViTImageProcessor
    ) -> dict[str, BoxedImages]:
        size = processor.size["height"]
        augment = BoxAugment(recipe, size)

        def prepare(image: Image.Image, boxes: Boxes, _: tuple[int, int]) -> Any:
            pixels = processor(image).pixel_values[0]
            label = label_of(boxes.some(~boxes.ignored), image.size)
            target = {**label, "truth": boxes, "size": (image.height, image.width)}
            return torch.from_numpy(pixels), target

        return {
            name: BoxedImages(samples, augment, short_side=2 * size)
            if name == "train"
            else BoxedImages(samples, prepare, keep_pixels=True, replace_broken=False)
            for name, samples in self.data.splits.items()
        }

    def module(self, network: nn.Module, recipe: Recipe, **how: Any) -> DetectorTraining:
        return DetectorTraining(network, recipe, classes=self.data.classes, **how)

    def conclude(self, network: nn.Module, loaders: dict[str, DataLoader]) -> goal.Conclusion:
        found = {name: measure(network, loaders[name], self.data) for name in loaders}
        scores = {name: total.summary["map"] for name, (total, _) in found.items()}

        def report(
            out: Path, recipe: Recipe, history: list[dict[str, float]], timing: dict[str, Any]
        ) -> Path:
            from mobilevitv2.report.detection import write_detection_report

            split = "test" if "test" in found else "val"
            total, of_images = found[split]
            told = {f"{n} mAP@0.5": s.summary["map_50"] for n, (s, _) in found.items()}
            return write_detection_report(
                out,
                history=history,
                classes=self.data.classes,
                colors=distinct_colors(len(self.data.classes)),
                scores=total,
                examples=list(self._examples(network, loaders[split], split, of_images)),
                title=f"{self.data.name}, {split} images",
                settings=asdict(recipe) | {f"{n} mAP": s for n, s in scores.items()} | told,
                timing=timing,
            )

        return goal.Conclusion(scores, report)

    def _examples(
        self, network: nn.Module, loader: DataLoader, split: str, of_images: dict[int, float]
    ) -> "Iterator[BoxedExample]":
        from mobilevitv2.report.boxed_panels import BoxedExample
        from mobilevitv2.report.page import told_of

        images: Any = loader.dataset
        for index in told_of(of_images):
            pixels, target, _ = images[index]
            yield BoxedExample(
                name=name_of(self.data, split, index),
                image=images.image(index),
                truth=target["truth"],
                found=_predicted(network, pixels[None], [target])[0],
                f1=of_images[index],
            )


def detected(output: Any, targets: list[dict[str, Any]]) -> list[Detections]:
    """What was found in each image, in px of it; all that COCO's evaluation looks at."""
    logits, boxes = (values.float().cpu().numpy() for values in (output.logits, output.pred_boxes))
    sizes = [target["size"] for target in targets]
    return [detect(*of_image) for of_image in zip(logits, boxes, sizes, strict=True)]


def measure(
    network: nn.Module, loader: DataLoader, data: DetectionData
) -> tuple[DetectionScores, dict[int, float]]:
    """The scores over all images, and each image's own F1 by its index."""
    total = DetectionScores(data.classes)
    of_images: dict[int, float] = {}
    first = 0
    for images, targets, broken in loader:
        known = [i for i in range(len(targets)) if broken[i] < 0]
        truths = [targets[i] for i in known]
        for i, found in zip(known, _predicted(network, images[known], truths), strict=True):
            of_images[first + i] = total.update(found, targets[i]["truth"])
        first += len(targets)
    return total, of_images


@torch.inference_mode()
def _predicted(
    network: nn.Module, images: Tensor, targets: list[dict[str, Any]]
) -> list[Detections]:
    if not targets:
        return []
    return detected(network(images.to(next(network.parameters()).device)), targets)
