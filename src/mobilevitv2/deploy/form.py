"""`ExportForm`: what goes into a file, one module from its input to its outputs."""

# B batch, C channels, H W height and width

import torch
from torch import Tensor, nn

from mobilevitv2.deploy.fuse import fuse
from mobilevitv2.deploy.request import Request
from mobilevitv2.model.opening import TaskModel
from mobilevitv2.processor import MobileViTImageProcessor
from mobilevitv2.tasks import task_named


class ExportForm(nn.Module):
    """A fused model, with its input and output as requested.

    Input: float, prepared pixels [B, 3, H, W]; or uint8, RGB pixels [B, H, W, 3], which it scales
    and whose channels it orders as the processor would. Output: what the `stage` of the task's
    module gives.
    """

    def __init__(
        self, model: TaskModel, processor: MobileViTImageProcessor, request: Request
    ) -> None:
        super().__init__()
        fixed = request.sizes[0] if request.sizes and len(request.sizes) == 1 else None
        elementary = request.target.elementary_norms
        self.model = fuse(model.cpu().float(), fixed, products=True, elementary=elementary)
        self.model.to(memory_format=torch.contiguous_format)  # pyright: ignore[reportCallIssue]
        self.takes_bytes = request.input == "uint8"
        if self.takes_bytes:
            self._prepare_in_stem(processor)
        part = task_named(request.task).part("deploy")
        self.stage = part.stage(self.model, request)
        self.output = request.output
        self.output_names: list[str] = part.OUTPUT_NAMES[request.output]
        """In the order of the outputs."""

    def forward(self, pixels: Tensor) -> Tensor | tuple[Tensor, ...]:
        if self.takes_bytes:
            pixels = pixels.permute(0, 3, 1, 2).to(self.model.dtype)
        return self.stage(pixels)

    def _prepare_in_stem(self, processor: MobileViTImageProcessor) -> None:
        """Scale and channel order as part of the first convolution, where they cost nothing."""
        weight = self.model.mobilevitv2.conv_stem.convolution.weight
        scale = processor.rescale_factor if processor.do_rescale else 1 / 255
        ordered = weight.flip(1) if processor.do_flip_channel_order else weight
        weight.data.copy_((ordered.double() * scale).to(weight.dtype))

    def example(self, size: tuple[int, int], batch: int = 2) -> Tensor:
        """An input of this image size; noise, so that no branch depends on it."""
        height, width = size
        generator = torch.Generator().manual_seed(0)
        noise = torch.rand(batch, 3, height, width, generator=generator)
        if self.takes_bytes:
            return (noise * 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()
        return noise
