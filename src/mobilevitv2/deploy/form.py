"""`ExportForm`: what goes into a file, one module from its input to its outputs."""

# B batch, C channels, H W height and width

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mobilevitv2.deploy.detector import DetectorAnswers
from mobilevitv2.deploy.fuse import fuse
from mobilevitv2.deploy.request import Request
from mobilevitv2.model.detection import MobileViTV2ForObjectDetection
from mobilevitv2.model.opening import TaskModel
from mobilevitv2.processor import MobileViTImageProcessor


class ExportForm(nn.Module):
    """A fused model, with its input and output as requested.

    Input: float, prepared pixels [B, 3, H, W]; or uint8, RGB pixels [B, H, W, 3], which it scales
    and whose channels it orders as the processor would. Output: logits [B, classes], of a segmenter
    [B, classes, h, w]; or top_k, probabilities [B, k], best first, and their class numbers, int64
    [B, k]; or mask, class numbers uint8 [B, H, W] (int64 beyond 256 classes). Of a detector it is
    what `DetectorAnswers` gives.
    """

    def __init__(
        self,
        model: TaskModel,
        processor: MobileViTImageProcessor,
        request: Request,
    ) -> None:
        super().__init__()
        fixed = request.sizes[0] if request.sizes and len(request.sizes) == 1 else None
        elementary = request.target.elementary_norms
        self.model = fuse(model.cpu().float(), fixed, products=True, elementary=elementary)
        self.model.to(memory_format=torch.contiguous_format)  # pyright: ignore[reportCallIssue]
        self.detects = None
        if isinstance(self.model, MobileViTV2ForObjectDetection):
            self.detects = DetectorAnswers(self.model, request)
        self.takes_bytes = request.input == "uint8"
        if self.takes_bytes:
            self._prepare_in_stem(processor)
        self.top_k = min(request.best, len(model.config.id2label or {}))
        self.output = request.output
        self.mask_type = torch.uint8 if len(model.config.id2label or {}) <= 256 else torch.int64

    def forward(self, pixels: Tensor) -> Tensor | tuple[Tensor, ...]:
        if self.takes_bytes:
            pixels = pixels.permute(0, 3, 1, 2).to(self.model.dtype)
        if self.detects is not None:
            return self.detects(pixels)
        logits = self.model(pixels, return_dict=True).logits
        if self.output == "logits":
            return logits
        if self.output == "mask":
            return (
                F.interpolate(logits, pixels.shape[2:], mode="bilinear")
                .argmax(1)
                .to(self.mask_type)
            )
        scores, classes = logits.softmax(-1).topk(self.top_k)
        return scores, classes

    def _prepare_in_stem(self, processor: MobileViTImageProcessor) -> None:
        """Scale and channel order as part of the first convolution, where they cost nothing."""
        weight = self.model.mobilevitv2.conv_stem.convolution.weight
        scale = processor.rescale_factor if processor.do_rescale else 1 / 255
        ordered = weight.flip(1) if processor.do_flip_channel_order else weight
        weight.data.copy_((ordered.double() * scale).to(weight.dtype))

    @property
    def output_names(self) -> list[str]:
        """In the order of the outputs."""
        if self.detects is not None:
            return {
                "logits": ["logits", "boxes"],
                "boxes": ["scores", "corners"],
                "detections": ["scores", "labels", "corners"],
            }[self.output]
        return {"top_k": ["scores", "classes"]}.get(self.output, [self.output])

    def example(self, size: tuple[int, int], batch: int = 2) -> Tensor:
        """An input of this image size; noise, so that no branch depends on it."""
        height, width = size
        generator = torch.Generator().manual_seed(0)
        noise = torch.rand(batch, 3, height, width, generator=generator)
        if self.takes_bytes:
            return (noise * 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()
        return noise
