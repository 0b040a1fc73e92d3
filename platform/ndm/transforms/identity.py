"""F(x, t) = x: the fixed forward process of DDPM and VDM, the baseline of every comparison."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from ndm import registry
from ndm.transforms._base import Transform


class Config(registry.Config):
    kind: Literal["identity"] = "identity"

    def build(self, shape: tuple[int, ...]) -> "Identity":
        del shape
        return Identity()


class Identity(Transform):
    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        del t
        return x

    def dual(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        del t
        return x, torch.zeros_like(x)

    def path(self, x: Tensor, times: Sequence[Tensor]) -> list[Tensor]:
        return [x for _ in times]
