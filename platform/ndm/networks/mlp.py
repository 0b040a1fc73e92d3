"""Residual multilayer perceptron on flattened data: h <- h + W_i silu(h + U_i e(t)), e(t) the time features.

For vectors, and for images of a few dozen pixels. There is no normalisation: the scale of the input is
information.
"""

from math import prod
from typing import Literal

from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import silu

from ndm import registry
from ndm.networks._base import Network
from ndm.networks._dropout import Dropout
from ndm.networks._fourier import with_fourier
from ndm.networks._time import TimeEmbedding


class Config(registry.Config):
    kind: Literal["mlp"] = "mlp"
    width: int = Field(256, gt=0)
    depth: int = Field(3, gt=0)
    """Number of hidden layers, besides the maps into and out of the width."""
    fourier: tuple[float, ...] = Field((), examples=[(1.0, 4.0)])
    """Frequencies f of extra inputs, see `_fourier`."""
    dropout: float = Field(0.0, ge=0, le=0.9, examples=[0.25])
    """Probability that an element is dropped, see `_dropout`; before each hidden layer."""

    def build(self, shape: tuple[int, ...], outputs: int = 1, timed: bool = True) -> "MLP":
        return MLP(self, shape, outputs, timed)


class MLP(Network):
    def __init__(self, config: Config, shape: tuple[int, ...], outputs: int, timed: bool) -> None:
        super().__init__()
        width, size = config.width, prod(shape)
        self.shape = (outputs * shape[0], *shape[1:])
        self.embedding = TimeEmbedding(width) if timed else None
        self.times = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(config.depth) if timed)
        self.fourier = config.fourier
        self.first = nn.Linear(size * (1 + 2 * len(config.fourier)), width)
        self.hidden = nn.ModuleList(nn.Linear(width, width) for _ in range(config.depth))
        self.dropouts = nn.ModuleList(Dropout(config.dropout) for _ in range(config.depth))
        self.last = nn.Linear(width, outputs * size)
        for parameter in self.last.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        h = self.first(with_fourier(x.flatten(1), self.fourier))
        if self.embedding is None:
            for hidden, dropout in zip(self.hidden, self.dropouts, strict=True):
                h = h + hidden(dropout(silu(h)))
        else:
            features = self.embedding(t)
            for hidden, time, dropout in zip(self.hidden, self.times, self.dropouts, strict=True):
                h = h + hidden(dropout(silu(h + time(features))))
        return self.last(silu(h)).reshape(x.shape[0], *self.shape)
