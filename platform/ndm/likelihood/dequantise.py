"""From an image to the latents at which a density of z_0 says something of it: z_0 ~ r(z_0 | x), and what that costs.

For every way here -ln p(x) <= E[cost - ln p(z_0)], and K draws tighten it to -ln mean_k exp(ln p(z_0^k) - cost_k):

- "uniform": r uniform over the cell of x, alpha_0 x +- alpha_0 / K per dimension, cost = ln r. With K levels on [-1, 1]
  it is the usual offset: bits per dimension of the density of z_0 / alpha_0 plus log2(K / 2), 7 for bytes.
- "tn": r = N(alpha_0 x, sigma_0^2) cut to that cell, cost = ln r: i-DODE (Zheng et al., arXiv 2305.03935), here for
  any K. The model was trained on such latents, so nothing has to be learned between the levels.
- "variational": r = N(alpha_0 x, (w sigma_0)^2) cut to that cell, with the width w that makes the bound least, of a few
  tried on validation images (`fitted_width` of `importance`). w = 1 is "tn" and w -> infinity "uniform".
- "decoder": r = q(z_0 | x) = N(alpha_0 x, sigma_0^2), cost = ln r - ln p(x | z_0) with the model's own decoder, as in
  the variational bound. For the Gaussian decoder of continuous data the cost is -D ln alpha_0, whatever z_0.
- "point": z_0 = alpha_0 x, cost = -D ln alpha_0: the density of z_0 / alpha_0 at x. It leaves out the decoder's noise
  sigma_0 / alpha_0, so it is no bound for anything that the decoder is part of. For continuous data only.

The first three bound the same P(x), the mass of p(z_0) in the cell; these sum to less than one if z_0 can leave all
cells. The best r is p(z_0) cut to the cell; a flow for r (Ho et al., Flow++, arXiv 1902.00275) could come nearer to it
than one width does, but its training would have to go through the ODE.
"""

from math import log, pi
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from ndm.decoders.categorical import Categorical
from ndm.errors import UserError
from ndm.model import Model

Way = Literal["uniform", "tn", "variational", "decoder", "point"]


def ways_for(levels: int) -> tuple[Way, ...]:
    """The ways for data with this number of levels, 0 for continuous data."""
    return ("tn", "uniform", "variational", "decoder") if levels else ("point", "decoder")


class Latent(NamedTuple):
    z: Tensor
    """z_0, [B, *shape], float64."""
    cost: Tensor
    """Nats to add to -ln p(z_0), [B], float64."""


def truncated_normal(u: Tensor, tau: Tensor) -> tuple[Tensor, Tensor]:
    """(epsilon, its log density), by the inverse CDF: N(0, 1) cut to [-tau, tau], for u uniform in (0, 1)."""
    mass = torch.erf(tau / 2**0.5)
    epsilon = (2**0.5 * torch.erfinv((2 * u - 1) * mass)).clamp(-tau, tau)
    return epsilon, -(epsilon.square() + log(2 * pi)) / 2 - mass.log()


def dequantise(model: Model, x: Tensor, way: Way, u: Tensor, width: float = 1.0) -> Latent:
    """One latent for each x: [B, *shape] in model space, from uniforms u: [B, *shape] in (0, 1), float64.

    `width` is the w of "variational".

    Raises:
        UserError: the data are continuous and `way` is for levels, or the reverse.
    """
    x, u = x.double(), u.to(x.device)
    start = model.process.at(x.new_zeros(len(x)), x)
    alpha, sigma = start.alpha.double().expand_as(x), start.sigma.double().expand_as(x)
    if way == "decoder":
        epsilon = 2**0.5 * torch.erfinv(2 * u - 1)
        z = alpha * x + sigma * epsilon
        log_r = -(epsilon.square() + log(2 * pi)) / 2 - sigma.log()
        return Latent(z, log_r.flatten(1).sum(1) - model.decoder.log_prob(x, z, alpha, sigma))
    levels = model.decoder.levels if isinstance(model.decoder, Categorical) else None
    if (levels is None) != (way == "point"):
        kind = "continuous data" if levels is None else "levels"
        raise UserError(f"dequantisation {way} is not for {kind}; give one of {', '.join(ways_for(levels or 0))}")
    if levels is None:
        return Latent(alpha * x, -alpha.log().flatten(1).sum(1))
    if way == "uniform":
        half = alpha / levels
        return Latent(alpha * x + half * (2 * u - 1), -(2 * half).log().flatten(1).sum(1))
    spread = sigma * width if way == "variational" else sigma
    epsilon, log_r = truncated_normal(u, alpha / (levels * spread))
    return Latent(alpha * x + spread * epsilon, (log_r - spread.log()).flatten(1).sum(1))
