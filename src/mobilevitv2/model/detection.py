"""Object detection: the backbone, coarser and coarser maps, and at every cell a few guesses.

SSDLite (Liu et al., 2016; Sandler et al., 2018) as in ml-cvnets. The backbone's last two maps and
four more each have a small predictor, which says for every anchor of every cell what it shows and
where its box really is. Coarse maps see large objects, fine maps small ones.

The background is the first class; `num_labels` and the labels leave it out. In the loss each anchor
should predict the class and box it belongs to, or background. Nearly all are background, so only
the hardest of those count: SSD's hard negatives.
"""

# B batch, C channels, H W height and width of a feature map, A anchors of a cell, a all anchors,
# N classes without the background, n boxes of an image; boxes are center x, center y, width, height
# as fractions of the image

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mobilevitv2.config import MobileViTV2Config
from mobilevitv2.errors import ConfigError
from mobilevitv2.model.backbone import MobileViTV2Model
from mobilevitv2.model.boxes import ANCHORS_OF_A_CELL, decode, encode, make_anchors, match
from mobilevitv2.model.layers import ConvLayer, PooledMap
from mobilevitv2.model.outputs import ObjectDetectionOutput
from mobilevitv2.model.pretrained import MobileViTV2TaskModel

STRIDE = 32  # of the backbone's last map
HALVED = (256, 128, 128)  # channels of the next maps, each half as large
POOLED = 64  # channels of the last map, a single cell
PROJECTED = (512, 256, 256, 128, 128, 64)  # channels inside the predictors
BOX = 4  # numbers for a box
NEGATIVES = 3  # for each positive in the loss

Label = Mapping[str, Tensor]  # the objects in an image: `class_labels` int64 [n], `boxes` [n, 4]


class HalvedMap(nn.Module):
    """Every cell filtered with its neighbors, then mixed: [B, C, H, W] to [B, D, H/2, W/2]."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv_3x3 = ConvLayer(in_channels, in_channels, 3, stride=2, groups=in_channels)
        self.conv_1x1 = ConvLayer(in_channels, out_channels, 1, activation="relu")

    def forward(self, x: Tensor) -> Tensor:
        if self.training and x.shape[0] == 1 and max(x.shape[2:]) <= 2:
            raise ValueError(
                "the batch is a single image, so small that a map of one cell is left, which can't "
                "be normalized. Train with batches of two or more, or images of more than 256 px."
            )
        return self.conv_1x1(self.conv_3x3(x))


class Predictor(nn.Module):
    """A map's answers for its anchors: [B, C, H, W] to [B, H * W * A, 4 + 1 + N].

    It is projected to `inside` channels first. `looks_around` filters each cell with its neighbors.
    """

    def __init__(
        self, channels: int, inside: int, answers: int, *, anchors: int, looks_around: bool
    ) -> None:
        super().__init__()
        self.answers = answers
        self.anchors = anchors
        self.projection = (
            ConvLayer(channels, inside, 1, activation="relu") if channels != inside else None
        )
        self.conv_3x3 = ConvLayer(inside, inside, 3, groups=inside) if looks_around else None
        self.conv_1x1 = ConvLayer(inside, anchors * answers, 1, norm=False, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        for layer in (self.projection, self.conv_3x3, self.conv_1x1):
            x = x if layer is None else layer(x)
        return x.permute(0, 2, 3, 1).reshape(x.shape[0], -1, self.answers)

    def reset(self, answers: int) -> None:
        """New class scores, for `answers` per anchor in all; what predicts boxes stays."""
        old = self.conv_1x1.convolution
        new = ConvLayer(old.in_channels, self.anchors * answers, 1, norm=False, bias=True)
        new.apply(start)
        for mine, theirs in zip(new.parameters(), old.parameters(), strict=True):
            by_anchor = theirs.detach().unflatten(0, (self.anchors, -1))
            mine.data.unflatten(0, (self.anchors, -1))[:, :BOX] = by_anchor[:, :BOX]
        self.answers = answers
        self.conv_1x1 = new.to(old.weight.device, old.weight.dtype)


class SSDLite(nn.Module):
    """The last two maps to answers [B, a, 4 + 1 + N], box offsets first, and all maps' sizes."""

    def __init__(self, config: MobileViTV2Config) -> None:
        super().__init__()
        fine, coarse = config.stage_channels[-2:]
        channels = (fine, coarse, *HALVED, POOLED)
        halved = [HalvedMap(a, b) for a, b in zip(channels[1:4], HALVED, strict=True)]
        self.extra_layers = nn.ModuleList([*halved, PooledMap(HALVED[-1], POOLED, norm=False)])
        answers = BOX + 1 + (config.num_labels or 0)
        self.predictors = nn.ModuleList(
            Predictor(into, inside, answers, anchors=anchors, looks_around=inside != POOLED)
            for into, inside, anchors in zip(channels, PROJECTED, ANCHORS_OF_A_CELL, strict=True)
        )
        self.apply(start)

    def forward(self, fine: Tensor, coarse: Tensor) -> tuple[Tensor, list[tuple[int, int]]]:
        maps = [fine, coarse]
        for layer in self.extra_layers:
            maps.append(layer(maps[-1]))
        answers = [predict(x) for predict, x in zip(self.predictors, maps, strict=True)]
        return torch.cat(answers, dim=1), [(x.shape[2], x.shape[3]) for x in maps]


class MobileViTV2ForObjectDetection(MobileViTV2TaskModel):
    """Images of any size to boxes and their scores.

    The published weights were trained at 320x320 px, without keeping the aspect ratio.
    `MobileViTImageProcessor.post_process_object_detection` chooses the boxes worth showing.
    """

    def __init__(self, config: MobileViTV2Config) -> None:
        super().__init__(config)
        check_config(config)
        self.num_labels = config.num_labels
        self.mobilevitv2 = MobileViTV2Model(config, expand_output=False)
        self.detection_head = SSDLite(config)

    def forward(
        self,
        pixel_values: Tensor | None = None,
        labels: Sequence[Label] | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> ObjectDetectionOutput | tuple:
        """`pixel_values` [B, C, H, W] in [0, 1]; `labels` is a dict for each image.

        It has `class_labels`, int64 [n], from 0 and without the background, and `boxes`, float
        [n, 4] of center x, center y, width and height as fractions of the image; n may be 0. With
        labels there is a loss, see `detection_losses`; a single small image raises ValueError.
        """
        all_maps = self._gives_hidden_states(output_hidden_states)
        maps = self.mobilevitv2.stages(pixel_values, range(5) if all_maps else [3, 4])
        answers, sizes = self.detection_head(*maps[-2:])
        at_least_fp32 = torch.promote_types(answers.dtype, torch.float32)
        anchors = make_anchors(sizes, dtype=at_least_fp32, device=answers.device)
        offsets, logits = answers[..., :BOX], answers[..., BOX:]
        losses = None if labels is None else detection_losses(logits, offsets, anchors, labels)
        output = ObjectDetectionOutput(
            loss=None if losses is None else losses["loss_ce"] + losses["loss_bbox"],
            loss_dict=losses,
            logits=logits,
            pred_boxes=decode(offsets, anchors),
            hidden_states=maps if all_maps else None,
        )
        return output if self._returns_dict(return_dict) else output.to_tuple()

    def reset_classifier(
        self, num_labels: int, id2label: Mapping[int, str] | Sequence[str] | None = None
    ) -> None:
        check_config(MobileViTV2Config(num_labels=num_labels))
        super().reset_classifier(num_labels, id2label)

    def _reset_scores(self) -> None:
        for predictor in self.detection_head.predictors:
            assert isinstance(predictor, Predictor)
            predictor.reset(BOX + 1 + (self.config.num_labels or 0))


def check_config(config: MobileViTV2Config) -> None:
    """Raise ConfigError for a config that a detector can't have."""
    if not config.num_labels:
        raise ConfigError("num_labels is 0; a detector needs at least one, without the background.")
    if config.output_stride != STRIDE:
        raise ConfigError(
            f"output_stride is {config.output_stride}; a detector's maps must become coarser step "
            f"by step. Pass output_stride={STRIDE}."
        )


def start(module: nn.Module) -> None:
    """Initial weights of the head, as ml-cvnets draws them."""
    if isinstance(module, nn.Conv2d):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def detection_losses(
    logits: Tensor, offsets: Tensor, anchors: Tensor, labels: Sequence[Label]
) -> dict[str, Tensor]:
    """The two parts of the loss, to be added, under their names in transformers.

    `logits` [B, a, 1 + N], background first; `offsets` [B, a, 4] as `encode` gives them; `anchors`
    [a, 4]. "loss_bbox" is the smooth L1 distance of the positives, the anchors with a box;
    "loss_ce" the cross-entropy of those and of each image's hardest negatives. Both are sums
    divided by the batch's positives, or by 1. An image without boxes counts as many negatives as
    one with a positive; ml-cvnets doesn't train on such images. Raises ValueError for wrong labels.
    """
    logits, offsets, anchors = logits.float(), offsets.float(), anchors.float()
    check_labels(labels, len(logits), logits.shape[-1] - 1)
    targets = [targets_of(anchors, label) for label in labels]
    classes = torch.stack([classes for classes, _ in targets])  # [B, a], 0 is the background
    boxes = torch.stack([boxes for _, boxes in targets])  # [B, a, 4]
    positive = classes > 0
    counted = positive | hard_negatives(logits.detach(), positive)
    distance = F.smooth_l1_loss(offsets[positive], boxes[positive], reduction="sum")
    entropy = F.cross_entropy(logits[counted], classes[counted], reduction="sum")
    number = positive.sum().clamp(min=1)
    return {"loss_ce": entropy / number, "loss_bbox": distance / number}


def hard_negatives(logits: Tensor, positive: Tensor) -> Tensor:
    """The hardest anchors without a box, `NEGATIVES` for each positive or for one, bool [B, a]."""
    hardness = -logits.log_softmax(-1)[..., 0]
    hardness = hardness.masked_fill(positive, -torch.inf)
    order = hardness.argsort(stable=True, dim=-1, descending=True)
    rank = order.argsort(-1)  # 0 for the hardest
    number = NEGATIVES * positive.sum(-1, keepdim=True).clamp(min=1)
    return (rank < number) & ~positive


def targets_of(anchors: Tensor, label: Label) -> tuple[Tensor, Tensor]:
    """Each anchor's class, int64 [a] with the background as 0, and encoded box [a, 4]."""
    boxes = label["boxes"].to(anchors)
    classes = torch.zeros(len(anchors), dtype=torch.int64, device=anchors.device)
    coded = torch.zeros_like(anchors)
    number = match(anchors, boxes)
    found = number >= 0
    classes[found] = label["class_labels"].to(classes)[number[found]] + 1
    coded[found] = encode(boxes[number[found]], anchors[found])
    return classes, coded


def check_labels(labels: Sequence[Label], images: int, classes: int) -> None:
    """Raises ValueError, which names the image, for labels that can't be trained on."""
    if len(labels) != images:
        raise ValueError(
            f"got {images} images and {len(labels)} labels; expected a dict for each image, even "
            "without boxes."
        )
    for index, label in enumerate(labels):
        if wrong := _wrong_with(label, classes):
            raise ValueError(f"the labels of image {index} of the batch: {wrong}")


def _wrong_with(label: Label, classes: int) -> str | None:
    if missing := {"class_labels", "boxes"} - label.keys():
        return f"missing {' and '.join(sorted(missing))}; got {', '.join(label) or 'nothing'}."
    numbers, boxes = label["class_labels"], label["boxes"]
    if numbers.ndim != 1 or boxes.shape != (len(numbers), 4):
        return (
            f"class_labels is {list(numbers.shape)} and boxes {list(boxes.shape)}; expected [n] "
            "and [n, 4]."
        )
    if len(numbers) and (numbers.min() < 0 or numbers.max() >= classes):
        return (
            f"class_labels has {numbers.min()} to {numbers.max()}; {classes} classes are 0 to "
            f"{classes - 1}, without the background."
        )
    inside = (boxes[:, :2] >= 0) & (boxes[:, :2] <= 1)
    if not (inside.all() and (boxes[:, 2:] > 0).all() and boxes.isfinite().all()):
        return (
            "a box is empty, not finite or outside the image; expected center x, center y, width "
            "and height as fractions of the image."
        )
    return None
