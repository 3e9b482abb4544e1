"""`ExportedModule`: what goes into a file, one module from its input to its outputs."""

# B batch, C channels, H W height and width

import torch
from torch import Tensor, nn

from mobilevitv2.deploy.fuse import fuse
from mobilevitv2.deploy.request import Request
from mobilevitv2.model.opening import TaskModel
from mobilevitv2.processor import MobileViTImageProcessor
from mobilevitv2.tasks import task_named


class ExportedModule(nn.Module):
    """A fused model, with its input and output as requested.

    Input: float, prepared pixels [B, 3, H, W]; or uint8, RGB pixels [B, H, W, 3], which it scales
    and orders as the processor would. Output: what the task's `stage` gives.
    """

    def __init__(
        self, model: TaskModel, processor: MobileViTImageProcessor, request: Request
    ) -> None:
        super().__init__()
        self.request = request
        elementary, size = request.target.elementary_norms, request.fixed_size
        self.model = fuse(model.cpu().float(), size, products=True, elementary=elementary)
        self.model.to(memory_format=torch.contiguous_format)  # pyright: ignore[reportCallIssue]
        self.takes_bytes = request.input == "uint8"
        if self.takes_bytes:
            self._prepare_in_stem(processor)
        part = task_named(request.task).part("deploy")
        self.stage = part.stage(self.model, request)
        self.output_names: list[str] = part.OUTPUT_NAMES[request.output]

    def forward(self, pixels: Tensor) -> Tensor | tuple[Tensor, ...]:
        if self.takes_bytes:
            pixels = pixels.permute(0, 3, 1, 2).to(self.model.dtype)
        return self.stage(pixels)

    def _prepare_in_stem(self, processor: MobileViTImageProcessor) -> None:
        """Scale and order the channels in the first convolution, where it costs nothing."""
        weight = self.model.mobilevitv2.conv_stem.convolution.weight
        scale = processor.rescale_factor if processor.do_rescale else 1 / 255
        ordered = weight.flip(1) if processor.do_flip_channel_order else weight
        weight.data.copy_((ordered.double() * scale).to(weight.dtype))

    def example(self) -> Tensor:
        """An input to trace with; noise, so that no branch depends on it."""
        generator = torch.Generator().manual_seed(0)
        shape = self.request.batch or 2, 3, *self.request.example_size
        noise = torch.rand(shape, generator=generator)
        if self.takes_bytes:
            return (noise * 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()
        return noise
