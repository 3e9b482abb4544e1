"""Semantic segmentation: the backbone, and a head that looks far around each pixel for its class.

There are two published heads: DeepLabV3 looks around at several distances with dilated
convolutions, PSPNet at means over coarse grids. Both end in a 1x1 convolution to class scores on
the last feature map's grid; images are `output_stride` times as large.

The output stride belongs to the weights, although it changes no tensor: 16 for Pascal VOC, 8 for
ADE20K. At either, the later stages' local convolutions are dilated, as in the reference (ml-cvnets)
and in timm; not in transformers, so the same published weights give other scores there.
"""

# B batch, C channels, H W height and width of a feature map, N classes

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mobilevitv2.config import MobileViTV2Config
from mobilevitv2.model import fast
from mobilevitv2.model.backbone import MobileViTV2Model
from mobilevitv2.model.layers import ConvLayer, PooledMap, check_batch
from mobilevitv2.model.outputs import SemanticSegmenterOutput
from mobilevitv2.model.pretrained import MobileViTV2TaskModel


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling (Chen et al., 2017): [B, C, H, W] to [B, D, H, W].

    One pixel, three dilated neighborhoods and the whole map, side by side, then mixed. The whole
    map's part is the same at every pixel, so it is mixed in as a shift and never expanded.
    """

    def __init__(self, config: MobileViTV2Config) -> None:
        super().__init__()
        into, out = config.stage_channels[-1], config.aspp_out_channels
        near = ConvLayer(into, out, 1, activation="relu")
        far = [
            ConvLayer(into, out, 3, dilation=rate, activation="relu")
            for rate in config.atrous_rates
        ]
        self.convs = nn.ModuleList([near, *far, PooledMap(into, out)])
        self.project = ConvLayer((2 + len(far)) * out, out, 1, activation="relu")
        self.dropout = nn.Dropout2d(config.aspp_dropout_prob)

    def forward(self, x: Tensor) -> Tensor:
        *local, pooled = [conv(x) for conv in self.convs]
        if not fast.may_be_read(self.project, ConvLayer):
            everywhere = pooled.expand(-1, -1, *local[0].shape[2:])
            return self.dropout(self.project(torch.cat([*local, everywhere], dim=1)))
        local = torch.cat(local, dim=1)
        weight = self.project.convolution.weight
        near, whole = weight.split([local.shape[1], pooled.shape[1]], dim=1)
        shift = F.conv2d(pooled, whole, self.project.convolution.bias)  # [B, D, 1, 1]
        return self.dropout(self.project.finish(F.conv2d(local, near) + shift))


class PyramidPooling(nn.Module):
    """PSPNet's pyramid (Zhao et al., 2017): the map and its means over grids; to [B, D, H, W]."""

    def __init__(self, config: MobileViTV2Config) -> None:
        super().__init__()
        into, inside = config.stage_channels[-1], config.pool_channels
        self.scales = tuple(config.pool_scales)
        self.branches = nn.ModuleList(
            ConvLayer(into, inside, 1, activation="relu") for _ in self.scales
        )
        self.fusion = ConvLayer(
            into + len(self.scales) * inside, config.aspp_out_channels, 3, activation="relu"
        )
        self.dropout = nn.Dropout2d(config.aspp_dropout_prob)

    def forward(self, x: Tensor) -> Tensor:
        if 1 in self.scales:
            check_batch(self, x)
        parts = [x]
        for scale, branch in zip(self.scales, self.branches, strict=True):
            pooled = branch(F.adaptive_avg_pool2d(x, scale))
            parts.append(F.interpolate(pooled, x.shape[2:], mode="bilinear", align_corners=True))
        return self.dropout(self.fusion(torch.cat(parts, dim=1)))


class Head(nn.Sequential):
    """Features under their published name, dropout, class scores: [B, C, H, W] to [B, N, H, W]."""

    classifier: ConvLayer

    def __init__(
        self, config: MobileViTV2Config, channels: int, dropout: float, **features: nn.Module
    ) -> None:
        last = {"dropout": nn.Dropout2d(dropout), "classifier": scores_of(channels, config)}
        super().__init__(OrderedDict(features | last))


FEATURES = {"deeplabv3": ("aspp", ASPP), "pspnet": ("pyramid", PyramidPooling)}


def auxiliary_head(config: MobileViTV2Config) -> Head:
    """A small head on the fourth stage's map, whose loss helps that stage learn."""
    channels = config.auxiliary_channels
    conv = ConvLayer(config.stage_channels[-2], channels, 3, activation="relu")
    return Head(config, channels, config.aspp_dropout_prob, conv=conv)


class MobileViTV2ForSemanticSegmentation(MobileViTV2TaskModel):
    """Images to class scores for every pixel of the last feature map.

    `config.segmentation_head` chooses the head. `config.classifier_dropout_prob` is transformers'
    dropout before the last convolution; the published weights were trained without it (0).
    """

    def __init__(self, config: MobileViTV2Config) -> None:
        super().__init__(config)
        self.num_labels = config.num_labels
        self.mobilevitv2 = MobileViTV2Model(config, expand_output=False)
        self.auxiliary_head = auxiliary_head(config) if config.use_auxiliary_head else None
        name, features = FEATURES[config.segmentation_head]
        channels, dropout = config.aspp_out_channels, config.classifier_dropout_prob
        self.segmentation_head = Head(config, channels, dropout, **{name: features(config)})

    def forward(
        self,
        pixel_values: Tensor | None = None,
        labels: Tensor | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> SemanticSegmenterOutput | tuple:
        """`pixel_values` [B, C, H, W] in [0, 1]; `labels` int64 [B, height, width], class numbers.

        With labels there is a loss: cross-entropy at the labels' size, without pixels labeled
        `config.semantic_loss_ignore_index`; in training, plus the auxiliary head's. Training on a
        single image raises ValueError.
        """
        if labels is not None and self.config.num_labels == 1:
            raise ValueError("num_labels is 1; a loss needs at least two classes to choose from.")
        all_maps = self._gives_hidden_states(output_hidden_states)
        helper = self.auxiliary_head if self.training else None
        indices = range(5) if all_maps else [4] if helper is None else [3, 4]
        maps = self.mobilevitv2.stages(pixel_values, indices)
        auxiliary = None if helper is None else helper(maps[-2])
        logits = self.segmentation_head(maps[-1])
        output = SemanticSegmenterOutput(
            loss=None if labels is None else self._loss(logits, auxiliary, labels),
            logits=logits,
            hidden_states=maps if all_maps else None,
            auxiliary_logits=auxiliary,
        )
        return output if self._returns_dict(return_dict) else output.to_tuple()

    def _reset_scores(self) -> None:
        for head in (self.auxiliary_head, self.segmentation_head):
            if head is not None:
                channels = head.classifier.convolution.in_channels
                head.classifier = scores_of(channels, self.config).to(self.device, self.dtype)

    def _loss(self, logits: Tensor, auxiliary: Tensor | None, labels: Tensor) -> Tensor:
        ignored = self.config.semantic_loss_ignore_index
        loss = segmentation_loss(logits, labels, ignored)
        if auxiliary is None:
            return loss
        beside = segmentation_loss(auxiliary, labels, ignored)
        return loss + self.config.auxiliary_loss_weight * beside


def segmentation_loss(
    logits: Tensor,
    labels: Tensor,
    ignored: int = 255,
    weight: Tensor | None = None,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Mean cross-entropy of logits [B, N, h, w], resized to labels [B, H, W] (bilinear).

    Pixels labeled `ignored` don't count; with none left it is 0. `weight` [N] is for each class.
    """
    resized = F.interpolate(logits.float(), labels.shape[-2:], mode="bilinear")
    labels = labels.long()
    options = {"ignore_index": ignored, "reduction": "sum", "label_smoothing": label_smoothing}
    total = F.cross_entropy(resized, labels, weight, **options)
    counted = labels != ignored
    if weight is None:
        return total / counted.sum().clamp(min=1)
    weights = weight[labels.where(counted, 0)] * counted
    return total / weights.sum().clamp(min=1e-6)


def scores_of(channels: int, config: MobileViTV2Config) -> ConvLayer:
    """A head's last convolution, to class scores."""
    return ConvLayer(channels, config.num_labels or 0, 1, norm=False, bias=True)
