"""U-Net for images: residual blocks (GroupNorm, SiLU, convolution, twice) conditioned on time, and skips.

Ho, Jain, Abbeel (arXiv 2006.11239), appendix B, in a plain form: skips by concatenation, halving by averages,
doubling by nearest neighbours, one attention layer at the lowest level. With multipliers (1,) nothing is
halved, which is the network of Kingma et al., Variational Diffusion Models (arXiv 2107.00630), whose Fourier
features of the input (appendix C) are the key `fourier`, and its dropout the key `dropout`.
"""

from functools import partial
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, silu

from ndm import registry
from ndm.errors import UserError
from ndm.networks._dropout import Dropout
from ndm.networks._fourier import with_fourier
from ndm.networks._recompute import Call, Segmented
from ndm.networks._time import TimeEmbedding

CHANNELS_PER_GROUP = 4
"""Least size of a normalisation group: one channel of a 1x1 image, normalised alone, would always be zero."""


class Config(registry.Config):
    kind: Literal["unet"] = "unet"
    channels: int = Field(32, gt=0, examples=[8])
    multipliers: tuple[Annotated[int, Field(gt=0)], ...] = Field((1, 2), min_length=1, examples=[(1,)])
    """Channels of each level over `channels`; the image halves from one level to the next."""
    blocks: int = Field(2, gt=0)
    """Residual blocks per level, on the way down and again on the way up."""
    attention: bool = Field(True, examples=[False])
    groups: int = Field(8, gt=0)
    """Most groups of a GroupNorm; fewer where the channels are few or do not divide."""
    fourier: tuple[float, ...] = Field((), examples=[(1.0, 4.0)])
    """Frequencies f of extra inputs, see `_fourier`."""
    dropout: float = Field(0.0, ge=0, le=0.9, examples=[0.25])
    """Probability that an element is dropped, see `_dropout`; before the second convolution of a block."""
    recompute: bool = Field(False, examples=[True])
    """Compute activations again in the backward pass instead of keeping them: less memory, the same gradients but for
    the order of sums."""

    def build(self, shape: tuple[int, ...], outputs: int = 1, timed: bool = True) -> "UNet":
        return UNet(self, shape, outputs, timed)


def group_norm(groups: int, channels: int) -> nn.GroupNorm:
    """The finest GroupNorm that `groups`, the divisors of `channels` and CHANNELS_PER_GROUP allow."""
    most = max(1, min(groups, channels // CHANNELS_PER_GROUP))
    return nn.GroupNorm(max(n for n in range(1, most + 1) if channels % n == 0), channels)


class Block(nn.Module):
    """[B, before, H, W] -> [B, after, H, W]; the residual branch starts at zero."""

    def __init__(self, before: int, after: int, features: int, groups: int, dropout: float) -> None:
        super().__init__()
        self.norm_1, self.norm_2 = group_norm(groups, before), group_norm(groups, after)
        self.conv_1, self.conv_2 = (nn.Conv2d(n, after, 3, padding=1) for n in (before, after))
        self.time = nn.Linear(features, after) if features else None
        self.dropout = Dropout(dropout)
        self.skip = nn.Conv2d(before, after, 1) if before != after else nn.Identity()
        for parameter in self.conv_2.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor, features: Tensor | None) -> Tensor:
        h = self.conv_1(silu(self.norm_1(x)))
        if self.time is not None:
            h = h + self.time(features)[:, :, None, None]
        return self.skip(x) + self.conv_2(self.dropout(silu(self.norm_2(h))))


class Attention(nn.Module):
    """Self-attention over pixels, one head. The softmax is explicit: fused kernels have no forward mode."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.norm = group_norm(groups, channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.last = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm(x)).flatten(2).chunk(3, dim=1)
        weights = torch.softmax(q.transpose(1, 2) @ k / q.shape[1] ** 0.5, dim=-1)
        return x + self.last((v @ weights.transpose(1, 2)).reshape(x.shape))


class UNet(Segmented):
    """For images [C, H, W] whose height and width halve exactly from level to level; UserError for others."""

    def __init__(self, config: Config, shape: tuple[int, ...], outputs: int, timed: bool) -> None:
        super().__init__()
        factor = 2 ** (len(config.multipliers) - 1)
        if len(shape) != 3:
            raise UserError(f"kind unet takes images, not data of shape {shape}; use kind mlp")
        if shape[1] % factor or shape[2] % factor:
            raise UserError(
                f"multipliers {list(config.multipliers)} of the unet need sides divisible by {factor}, "
                f"not {shape[1]} and {shape[2]}; give fewer multipliers"
            )
        features = 4 * config.channels if timed else 0
        groups, dropout = config.groups, config.dropout
        self.blocks, self.fourier, self.recompute = config.blocks, config.fourier, config.recompute
        # Channels after each block; on the way up each block also takes the output of its mirror image.
        down = [config.channels * m for m in config.multipliers for _ in range(config.blocks)]
        up = down[::-1]
        self.embedding = TimeEmbedding(features) if timed else None
        self.first = nn.Conv2d(shape[0] * (1 + 2 * len(config.fourier)), down[0], 3, padding=1)
        self.down = nn.ModuleList(
            Block(before, after, features, groups, dropout)
            for before, after in zip(down[:1] + down, down, strict=False)
        )
        self.middle_1, self.middle_2 = (Block(down[-1], down[-1], features, groups, dropout) for _ in range(2))
        self.attention = Attention(down[-1], groups) if config.attention else nn.Identity()
        self.up = nn.ModuleList(
            Block(before + after, after, features, groups, dropout)
            for before, after in zip(up[:1] + up, up, strict=False)
        )
        self.norm = group_norm(groups, down[0])
        self.last = nn.Conv2d(down[0], outputs * shape[0], 3, padding=1)
        for parameter in self.last.parameters():
            nn.init.zeros_(parameter)

    def walk(self, call: Call, x: Any, t: Any) -> Any:
        features = None if self.embedding is None else call(self.embedding, t)
        h = call(self.enter, x)
        skips: list[Any] = []
        for i, block in enumerate(self.down):
            if i and i % self.blocks == 0:
                h = call(halved, h)
            h = call(block, h, features)
            skips.append(h)
        h = call(self.middle_1, h, features)
        h = call(self.middle_2, call(self.attention, h), features)
        for i, block in enumerate(self.up):
            h = call(partial(joined, block, i > 0 and i % self.blocks == 0), h, skips.pop(), features)
        return call(self.leave, h)

    def enter(self, x: Tensor) -> Tensor:
        return self.first(with_fourier(x, self.fourier))

    def leave(self, h: Tensor) -> Tensor:
        return self.last(silu(self.norm(h)))


def halved(h: Tensor) -> Tensor:
    return avg_pool2d(h, 2)


def joined(block: nn.Module, double: bool, h: Tensor, skip: Tensor, features: Tensor | None) -> Tensor:
    """A block on the way up; doubling and joining belong to its segment, as their results are the largest arrays."""
    if double:
        h = interpolate(h, scale_factor=2.0)
    return block(torch.cat([h, skip], dim=1), features)
