"""Continuous data: p(x | z_0) = N(x; z_0 / alpha_0, (sigma_0 / alpha_0)^2 I), q(z_0 | x) as a density of x.

With F(x, 0) = x its expected log is -(1 + ln 2 pi + gamma_0) / 2 nats per dimension, whatever the data.
"""

from math import log, pi

import torch
from torch import Tensor

from ndm.decoders._base import Decoder


class Gaussian(Decoder):
    def encode(self, raw: Tensor) -> Tensor:
        return raw.to(torch.float32)

    def decode(self, x: Tensor) -> Tensor:
        return x.to(torch.float32)

    def log_prob(self, x: Tensor, z_0: Tensor, alpha_0: Tensor, sigma_0: Tensor) -> Tensor:
        scale = sigma_0 / alpha_0
        return (-((x - z_0 / alpha_0) / scale).square() / 2 - scale.log() - log(2 * pi) / 2).flatten(1).sum(1)
