"""Image classification: the backbone, the mean over its last map, one linear layer."""

# B batch

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mobilevitv2.config import MobileViTV2Config
from mobilevitv2.model.backbone import MobileViTV2Model
from mobilevitv2.model.outputs import ImageClassifierOutput
from mobilevitv2.model.pretrained import MobileViTV2TaskModel


class MobileViTV2ForImageClassification(MobileViTV2TaskModel):
    """Images to class scores. With `num_labels=0` there is no head: logits are pooled features."""

    def __init__(self, config: MobileViTV2Config) -> None:
        super().__init__(config)
        self.num_labels = config.num_labels
        self.mobilevitv2 = MobileViTV2Model(config)
        self.classifier = self._new_classifier()

    def forward(
        self,
        pixel_values: Tensor | None = None,
        output_hidden_states: bool | None = None,
        labels: Tensor | None = None,
        return_dict: bool | None = None,
    ) -> ImageClassifierOutput | tuple:
        """`pixel_values` [B, C, H, W] in [0, 1]; `labels` int64 [B], or floats.

        With labels there is a loss, by `config.problem_type`; without that, at each call, MSE for
        `num_labels=1`, cross-entropy for integers, binary cross-entropy for floats [B, num_labels].
        """
        features = self.mobilevitv2(pixel_values, output_hidden_states, return_dict=True)
        logits = self.classifier(features.pooler_output)
        output = ImageClassifierOutput(
            loss=None if labels is None else self._loss(logits, labels),
            logits=logits,
            hidden_states=features.hidden_states,
        )
        return output if self._returns_dict(return_dict) else output.to_tuple()

    def _reset_scores(self) -> None:
        self.classifier = self._new_classifier().to(self.device, self.dtype)

    def _new_classifier(self) -> nn.Module:
        if not self.config.num_labels:
            return nn.Identity()
        head = nn.Linear(self.config.stage_channels[-1], self.config.num_labels)
        nn.init.xavier_uniform_(head.weight)  # as ml-cvnets
        nn.init.zeros_(head.bias)
        return head

    def _loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        problem = self.config.problem_type
        if problem is None:
            whole_numbers = labels.dtype in (torch.int64, torch.int32, torch.int16, torch.uint8)
            kinds = "single_label_classification" if whole_numbers else "multi_label_classification"
            problem = "regression" if self.config.num_labels == 1 else kinds
        if problem == "regression":
            return F.mse_loss(logits.squeeze(), labels.squeeze().to(logits.dtype))
        if problem == "single_label_classification":
            return F.cross_entropy(logits.view(-1, logits.shape[-1]), labels.view(-1).long())
        return F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype))
