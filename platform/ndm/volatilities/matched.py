"""The volatility that makes the bound of F(x, t) = a(t) x tight: g^2 = sigma^2 gamma_eff', gamma_eff = gamma - 2 ln a.

The latents of a scaled F are those of F = identity under the log SNR -gamma_eff, whose own volatility this is; hence
eta = 1 - 2 a' / (a gamma'). With the nominal g, eta = 1, the bound stays above the negative log-likelihood even for an
optimal denoiser. Where gamma_eff falls, no volatility is tight: eta is kept above 0.001 there.
"""

from typing import Literal

import torch
from torch import Tensor

from ndm import registry
from ndm.errors import UserError
from ndm.schedules import ScheduleValue
from ndm.transforms import Transform
from ndm.transforms.identity import Identity
from ndm.transforms.scale import Scale
from ndm.volatilities._base import Volatility

LEAST = 1e-3


class Config(registry.Config):
    kind: Literal["matched"] = "matched"

    def build(self, transform: Transform, shape: tuple[int, ...]) -> "Matched":
        del shape
        if not isinstance(transform, Identity | Scale):
            raise UserError(
                "volatility.kind=matched needs transform.kind=scale or identity, for which it is known; "
                "give volatility.kind=learned"
            )
        return Matched(transform)


class Matched(Volatility):
    def __init__(self, transform: Identity | Scale) -> None:
        super().__init__()
        self._transform = (transform,)  # in a tuple: its weights belong to the process, and are saved there

    def forward(self, t: Tensor, value: ScheduleValue) -> Tensor:
        (transform,) = self._transform
        if isinstance(transform, Identity):
            return torch.ones_like(value.gamma)
        a, d_a = transform.multiplier(t)
        return (1 - 2 * d_a / (a * value.d_gamma)).clamp_min(LEAST)
