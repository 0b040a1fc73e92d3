"""Diffusion transformer for images: patches as tokens, attention and perceptrons modulated by time (adaLN-Zero).

Peebles and Xie, Scalable Diffusion Models with Transformers (arXiv 2212.09748). With e(t) the time features, a block is

h <- h + g_1 attention(m_1(h)), h <- h + g_2 mlp(m_2(h)), m(h) = layernorm(h) (1 + scale) + shift,

where the gates g, scales and shifts are linear in e(t) and start at zero: every block starts as the identity. Positions
are fixed sines and cosines of the patch's row and column. Without time the modulation is a learned constant.
"""

from typing import Any, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from ndm import registry
from ndm.errors import UserError
from ndm.networks._dropout import Dropout
from ndm.networks._fourier import with_fourier
from ndm.networks._recompute import Call, Segmented
from ndm.networks._time import TimeEmbedding

EXPANSION = 4
"""Hidden width of the blocks' perceptrons over the width of a token."""
EPSILON = 1e-6
"""Added to the variance of a token under the root of layernorm."""
LONGEST = 10_000.0
"""The angle of a position runs from one radian per patch down to one in about this many patches."""


class Config(registry.Config):
    kind: Literal["dit"] = "dit"
    patch: int = Field(2, gt=0, examples=[1])
    """Side of a patch in pixels; the cost of attention grows with (pixels / patch^2)^2."""
    width: int = Field(128, gt=0, examples=[16])
    """Length of a token: a multiple of `heads`, and of 4 for the positions."""
    depth: int = Field(4, gt=0)
    heads: int = Field(4, gt=0)
    fourier: tuple[float, ...] = Field((), examples=[(1.0, 4.0)])
    """Frequencies f of extra inputs, see `_fourier`."""
    dropout: float = Field(0.0, ge=0, le=0.9, examples=[0.25])
    """Probability that an element is dropped, see `_dropout`; at the end of each branch of a block."""
    recompute: bool = Field(False, examples=[True])
    """Compute activations again in the backward pass instead of keeping them: less memory, the same gradients but for
    the order of sums."""

    @model_validator(mode="after")
    def _divisible(self) -> Self:
        if self.width % self.heads or self.width % 4:
            raise ValueError(f"width ({self.width}) must be a multiple of heads ({self.heads}) and of 4")
        return self

    def build(self, shape: tuple[int, ...], outputs: int = 1, timed: bool = True) -> "DiT":
        return DiT(self, shape, outputs, timed)


def patches(x: Tensor, side: int) -> Tensor:
    """Images [B, C, H, W] as tokens [B, H W / side^2, C side^2], row by row."""
    b, c, h, w = x.shape
    x = x.reshape(b, c, h // side, side, w // side, side)
    return x.permute(0, 2, 4, 1, 3, 5).reshape(b, h * w // side**2, c * side**2)


def image(tokens: Tensor, side: int, height: int, width: int) -> Tensor:
    """The images [B, C, height, width] of those patches: the inverse of `patches`."""
    x = tokens.reshape(len(tokens), height // side, width // side, -1, side, side)
    return x.permute(0, 3, 1, 4, 2, 5).reshape(len(tokens), -1, height, width)


def positions(rows: int, columns: int, width: int) -> Tensor:
    """[rows * columns, width]: sines and cosines of the row, then of the column, at width / 4 frequencies."""
    frequencies = LONGEST ** -(torch.arange(width // 4, dtype=torch.float64) / (width // 4))
    places = torch.cartesian_prod(torch.arange(rows), torch.arange(columns))
    angles = places[:, :, None] * frequencies
    return torch.stack([angles.sin(), angles.cos()], dim=2).reshape(rows * columns, width).float()


def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(d)) v for [..., tokens, d]. Written out: fused kernels have no forward mode."""
    return torch.softmax(q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5, dim=-1) @ v


class Modulation(nn.Module):
    """n vectors of length `width` from the time features, or learned constants without; zero at the start."""

    def __init__(self, features: int, width: int, n: int) -> None:
        super().__init__()
        self.n = n
        self.constant = nn.Parameter(torch.zeros(n * width))
        self.time = nn.Linear(features, n * width, bias=False) if features else None
        if self.time is not None:
            nn.init.zeros_(self.time.weight)

    def forward(self, features: Tensor | None) -> tuple[Tensor, ...]:
        """Each of shape [B, 1, width], or [1, width] without time."""
        vectors = self.constant if self.time is None else self.constant + self.time(features)
        return vectors[..., None, :].chunk(self.n, dim=-1)


def modulated(h: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """layernorm(h) (1 + scale) + shift.

    Written out: gradients through the forward mode of torch's layer_norm are wrong (pytorch issue 196700).
    """
    centred = h - h.mean(-1, keepdim=True)
    return centred * (centred.square().mean(-1, keepdim=True) + EPSILON).rsqrt() * (1 + scale) + shift


class Block(nn.Module):
    """Tokens [B, N, width] to the same."""

    def __init__(self, width: int, heads: int, features: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.modulation = Modulation(features, width, 6)
        self.qkv, self.merge = nn.Linear(width, 3 * width), nn.Linear(width, width)
        hidden = EXPANSION * width
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(approximate="tanh"), nn.Linear(hidden, width))
        self.dropout_1, self.dropout_2 = Dropout(dropout), Dropout(dropout)

    def forward(self, h: Tensor, features: Tensor | None) -> Tensor:
        scale_1, shift_1, gate_1, scale_2, shift_2, gate_2 = self.modulation(features)
        qkv = self.qkv(modulated(h, scale_1, shift_1))
        q, k, v = qkv.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        h = h + gate_1 * self.dropout_1(self.merge(attention(q, k, v).transpose(1, 2).flatten(2)))
        return h + gate_2 * self.dropout_2(self.mlp(modulated(h, scale_2, shift_2)))


class DiT(Segmented):
    """For images [C, H, W] whose sides are multiples of `patch`; UserError for others."""

    positions: Tensor

    def __init__(self, config: Config, shape: tuple[int, ...], outputs: int, timed: bool) -> None:
        super().__init__()
        if len(shape) != 3:
            raise UserError(f"kind dit takes images, not data of shape {shape}; use kind mlp")
        side, width, features = config.patch, config.width, config.width if timed else 0
        channels, self.height, self.width = shape
        if self.height % side or self.width % side:
            raise UserError(
                f"patch {side} of the dit must divide both sides of the image, {self.height} and {self.width}; "
                "give another patch"
            )
        self.side, self.fourier, self.recompute = side, config.fourier, config.recompute
        self.embedding = TimeEmbedding(features) if timed else None
        self.first = nn.Linear(channels * (1 + 2 * len(config.fourier)) * side**2, width)
        self.register_buffer("positions", positions(self.height // side, self.width // side, width), persistent=False)
        self.blocks = nn.ModuleList(Block(width, config.heads, features, config.dropout) for _ in range(config.depth))
        self.modulation = Modulation(features, width, 2)
        self.last = nn.Linear(width, outputs * channels * side**2)
        for parameter in self.last.parameters():
            nn.init.zeros_(parameter)

    def walk(self, call: Call, x: Any, t: Any) -> Any:
        features = None if self.embedding is None else call(self.embedding, t)
        h = call(self.enter, x)
        for block in self.blocks:
            h = call(block, h, features)
        return call(self.leave, h, features)

    def enter(self, x: Tensor) -> Tensor:
        return self.first(patches(with_fourier(x, self.fourier), self.side)) + self.positions

    def leave(self, h: Tensor, features: Tensor | None) -> Tensor:
        return image(self.last(modulated(h, *self.modulation(features))), self.side, self.height, self.width)
