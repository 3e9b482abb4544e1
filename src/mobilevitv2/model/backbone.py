"""MobileViTv2 top to bottom: stem, two convolutional stages, three stages with attention.

Each stage but the first halves the map. Stages 3, 4 and 5 filter it locally with a depthwise
convolution, then let every pixel see all pixels of its patch position by separable self-attention.
"""

# B batch, C channels, H W height and width of a feature map, d channels inside the attention

from collections.abc import Sequence
from functools import partial

import torch.fx
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mobilevitv2.config import SMALLEST, MobileViTV2Config
from mobilevitv2.model.attention import TransformerLayer, other_positions
from mobilevitv2.model.layers import ConvLayer, InvertedResidual
from mobilevitv2.model.outputs import BackboneFeatures, BaseModelOutput
from mobilevitv2.model.pretrained import MobileViTV2PreTrainedModel


class ConvStage(nn.Module):
    """Inverted residuals, the first with the stage's stride: [B, C, H, W] to the next map."""

    def __init__(self, blocks: Sequence[InvertedResidual]) -> None:
        super().__init__()
        self.layer = nn.ModuleList(blocks)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.layer:
            x = block(x)
        return x


class Transformer(nn.Module):
    """A stage's attention layers: [B, d, H, W] to the same."""

    def __init__(self, layers: Sequence[TransformerLayer]) -> None:
        super().__init__()
        self.layer = nn.ModuleList(layers)
        self.gradient_checkpointing = False

    def forward(self, x: Tensor, other: Tensor) -> Tensor:
        for layer in self.layer:
            if self.gradient_checkpointing and self.training:
                x = checkpoint(layer, x, other, use_reentrant=False)  # pyright: ignore[reportAssignmentType]
            else:
                x = layer(x, other)
        return x


class AttentionStage(nn.Module):
    """Inverted residual, then the MobileViTv2 block: local filter, transformer, projection.

    [B, C_in, H, W] to [B, C_out, H/s, W/s] with the stage's stride s. A map that patches don't
    divide is first stretched to the next size that they do, and stays so, as in the reference
    (ml-cvnets), with which the published weights were trained, and in timm; transformers drops the
    last row and column instead.
    """

    def __init__(
        self,
        downsampling: InvertedResidual,
        channels: int,
        dim: int,
        layers: Sequence[TransformerLayer],
        *,
        config: MobileViTV2Config,
        dilation: int,
    ) -> None:
        super().__init__()
        self.patch = config.patch
        self.downsampling_layer = downsampling
        size, act = config.conv_kernel_size, config.hidden_act
        self.conv_kxk = ConvLayer(
            channels, channels, size, groups=channels, dilation=dilation, activation=act
        )
        self.conv_1x1 = ConvLayer(channels, dim, 1, norm=False)
        self.transformer = Transformer(layers)
        self.layernorm = nn.GroupNorm(1, dim, eps=config.layer_norm_eps)
        self.conv_projection = ConvLayer(dim, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = stretch_to_patches(self.downsampling_layer(x), self.patch)
        x = self.conv_1x1(self.conv_kxk(x))  # [B, d, H, W]
        x = self.transformer(x, other_positions(x, self.patch))
        return self.conv_projection(self.layernorm(x))


def stretch_to_patches(x: Tensor, patch: int) -> Tensor:
    """The map [B, C, H, W], stretched so that patches divide it; the same map if they do."""
    height, width = x.shape[2:]
    # A symbolic size (torch.export) may be either; stretching to the same size changes nothing.
    if all(isinstance(side, int) and side % patch == 0 for side in (height, width)):
        return x
    size = [(side + patch - 1) // patch * patch for side in (height, width)]
    return F.interpolate(x, size=size, mode="bilinear", align_corners=True)


class Encoder(nn.Module):
    """The five stages, after the stem."""

    def __init__(self, config: MobileViTV2Config) -> None:
        super().__init__()
        channels = (config.stem_channels, *config.stage_channels)
        options = {"expand_ratio": config.expand_ratio, "activation": config.hidden_act}
        inverted = partial(InvertedResidual, **options)
        blocks = 6 + sum(config.n_attn_blocks)  # stochastic depth grows from block to block
        drop = iter([config.drop_path_rate * i / (blocks - 1) for i in range(blocks)])
        first = inverted(*channels[:2], stride=1, drop_path=next(drop))
        halving = inverted(*channels[1:3], stride=2, drop_path=next(drop))
        third = inverted(channels[2], channels[2], stride=1, drop_path=next(drop))
        stages: list[nn.Module] = [ConvStage([first]), ConvStage([halving, third])]
        dilation = 1
        for i, dim in enumerate(config.attention_dims):
            before, stride = dilation, 2
            if config.stage_strides[i + 2] == config.stage_strides[i + 1]:
                stride, dilation = 1, 2 * dilation  # see further instead of halving
            into, out = channels[i + 2], channels[i + 3]
            downsampling = inverted(into, out, stride=stride, dilation=before, drop_path=next(drop))
            layers = [
                TransformerLayer(dim, config, drop_path=next(drop))
                for _ in range(config.n_attn_blocks[i])
            ]
            stages.append(
                AttentionStage(downsampling, out, dim, layers, config=config, dilation=dilation)
            )
        self.layer = nn.ModuleList(stages)


class MobileViTV2Model(MobileViTV2PreTrainedModel):
    """Images to a feature map, with `expand_output` its mean, and on request all stages'."""

    def __init__(self, config: MobileViTV2Config, expand_output: bool = True) -> None:
        super().__init__(config)
        self.expand_output = expand_output
        self.conv_stem = ConvLayer(
            config.num_channels, config.stem_channels, 3, stride=2, activation=config.hidden_act
        )
        self.encoder = Encoder(config)
        self._frozen: tuple[nn.Module, ...] = ()

    def forward(
        self,
        pixel_values: Tensor | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> BaseModelOutput | tuple:
        """`pixel_values` [B, num_channels, H, W] in [0, 1], 32 px or more a side."""
        all_maps = self._gives_hidden_states(output_hidden_states)
        maps = self.stages(pixel_values, range(5) if all_maps else [4])
        mean = maps[-1].mean((2, 3), keepdim=True).flatten(1) if self.expand_output else None
        output = BaseModelOutput(
            last_hidden_state=maps[-1], pooler_output=mean, hidden_states=maps if all_maps else None
        )
        return output if self._returns_dict(return_dict) else output.to_tuple()

    def stages(
        self, pixel_values: Tensor | None, indices: Sequence[int] = range(5)
    ) -> tuple[Tensor, ...]:
        """Maps [B, C, H, W] of the stages `indices`, ascending from 0 to 4; no others are kept."""
        x = self.conv_stem(checked(pixel_values, self.config.num_channels))
        maps = []
        for i, stage in enumerate(self.encoder.layer[: indices[-1] + 1]):
            x = stage(x)
            if i in indices:
                maps.append(x)
        return tuple(maps)

    def freeze(self, stages: int = 5) -> None:
        """Freeze the stem and the first `stages` stages: no gradients, BatchNorm fixed."""
        if not 0 <= stages <= 5:
            raise ValueError(f"stages is {stages}; expected 0 (the stem only) to 5.")
        self.unfreeze()
        self._frozen = (self.conv_stem, *self.encoder.layer[:stages])
        for part in self._frozen:
            part.requires_grad_(False)
        self.train(self.training)

    def unfreeze(self) -> None:
        for part in self._frozen:
            part.requires_grad_(True)
        self._frozen = ()
        self.train(self.training)

    def train(self, mode: bool = True) -> "MobileViTV2Model":
        super().train(mode)
        for part in self._frozen:
            part.eval()
        return self


def checked(pixel_values: Tensor | None, channels: int) -> Tensor:
    """The images. Raises ValueError for what isn't [B, channels, H, W] or is too small."""
    if pixel_values is None:
        raise ValueError("pixel_values is missing: pass images as [B, C, H, W].")
    shape = pixel_values.shape
    if len(shape) != 4 or shape[1] != channels:
        raise ValueError(f"pixel_values is {list(shape)}; expected [B, {channels}, H, W].")
    if shape[2] < SMALLEST or shape[3] < SMALLEST:
        raise ValueError(
            f"the image is {shape[2]}x{shape[3]} px; MobileViTv2 halves it five times and "
            f"needs {SMALLEST}x{SMALLEST}. Resize it, or let MobileViTImageProcessor do so."
        )
    if not pixel_values.is_floating_point():
        raise ValueError(
            f"pixel_values is {pixel_values.dtype}; expected floats in [0, 1]. Divide by "
            "255, or let MobileViTImageProcessor do so."
        )
    return pixel_values


for _about_sizes in ("checked", "other_positions", "stretch_to_patches"):
    torch.fx.wrap(_about_sizes)  # which a symbolic trace doesn't know


class MobileViTV2Backbone(MobileViTV2Model):
    """Feature maps only, for your own head: those of the stages in `out_indices` (0 to 4).

    Stages past the last of them don't run. `channels` and `strides` describe the maps.
    """

    def __init__(
        self, config: MobileViTV2Config, out_indices: Sequence[int] = (0, 1, 2, 3, 4)
    ) -> None:
        super().__init__(config)
        if not out_indices or any(not -5 <= i < 5 for i in out_indices):
            raise ValueError(f"out_indices is {list(out_indices)}; expected numbers from -5 to 4.")
        self.out_indices = tuple(i % 5 for i in out_indices)
        self.channels = tuple(config.stage_channels[i] for i in self.out_indices)
        self.strides = tuple(config.stage_strides[i] for i in self.out_indices)

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, pixel_values: Tensor | None = None, return_dict: bool | None = None
    ) -> BackboneFeatures | tuple:
        """`pixel_values` [B, num_channels, H, W] in [0, 1] to maps [B, C, H/stride, W/stride]."""
        indices = sorted(set(self.out_indices))
        maps = dict(zip(indices, self.stages(pixel_values, indices), strict=True))
        output = BackboneFeatures(feature_maps=tuple(maps[i] for i in self.out_indices))
        return output if self._returns_dict(return_dict) else output.to_tuple()
