"""-ln p(x) of each image by the probability-flow ODE: K latents from `dequantise`, weighed by their densities.

-ln mean_k exp(ln p(z_0^k) - cost_k) is, in expectation, above -ln p(x), and falls with K (Burda et al., Importance
Weighted Autoencoders, arXiv 1509.00519). That needs exact densities. Hutchinson's noise of standard deviation s, some
ten nats for an 8x8 image, would be inside the exponential: the mean then follows the luckiest draw and gains up to
s^2 / 2 nats that are not there. So more than one draw asks for the exact trace; one draw with probes stays unbiased.
"""

import math
from typing import Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from ndm import registry
from ndm.errors import UserError
from ndm.likelihood.dequantise import Way, dequantise
from ndm.likelihood.ode import log_density
from ndm.model import Model
from ndm.randomness import Stream


class Settings(registry.Config):
    """How the ODE likelihood is estimated; beside `recipe` they say all of it."""

    way: Way = "tn"
    """From images to latents, see `dequantise`; continuous data take decoder or point."""
    draws: int = Field(default=1, gt=0)
    """Latents K per image; more than one asks for the exact trace."""
    probes: int = Field(default=1, ge=0)
    """Hutchinson's probes; 0 for the exact trace."""
    law: Literal["signs", "normals"] = "signs"
    """Of the probes: Rademacher's signs, which have the smaller variance, or standard normals."""
    width: float = Field(default=1.0, gt=0)
    """Of the way `variational`; see `fitted_width`."""
    tolerance: float = Field(default=1e-5, gt=0)
    """Of the solver, for the error of z in one step, over 1 + |z|."""
    check: int = Field(default=16, gt=0)
    """Images whose id is a multiple of this are solved again at a hundredth of the tolerance."""


class Nats(NamedTuple):
    nats: Tensor
    """Estimate of -ln p(x), [B], float64."""
    evaluations: Tensor
    """Evaluations of u and its divergence per latent (NFE), mean over the K latents, [B], float64."""
    error: Tensor
    """The solver's: nats minus nats at a hundredth of the tolerance, same noise, [B]; NaN where not checked."""
    batches: int
    """Batched evaluations of the network, those of the check included."""


def recipe(settings: Settings) -> str:
    """The estimator's name: the way, K draws, and the trace: h (signs) or g (normals) and their number, or exact."""
    draws = "" if settings.way == "point" else f"_k{settings.draws}"
    probes = f"{'h' if settings.law == 'signs' else 'g'}{settings.probes}" if settings.probes else "exact"
    return f"ode_{settings.way}{draws}_{probes}"


def ode_nats(model: Model, x: Tensor, first_id: int, *, seed: int, settings: Settings) -> Nats:
    """-ln p(x) in nats for images x: [B, *shape], in model space, of ids first_id .. first_id + B - 1.

    Noise is a function of (seed, image id, draw): models scored with one seed share it, whatever the batches and
    workers. Bits per dimension are nats / (D ln 2), without an offset.

    Raises:
        UserError: `way` is not for these data, K > 1 draws with probes, or the solver needs too many steps.
    """
    if settings.draws > 1 and settings.probes:
        raise UserError(
            f"draws = {settings.draws} with probes = {settings.probes} would be no bound: give probes = 0, or draws = 1"
        )
    shape, n = tuple(x.shape[1:]), len(x)
    probes = None
    if settings.probes:
        stream, size = Stream(seed, "ode/probe"), (settings.probes, *shape)
        if settings.law == "signs":
            probes = torch.where(stream.uniform(first_id, n, size) < 0.5, -1.0, 1.0)
        else:
            probes = stream.normal(first_id, n, size, torch.float64)
        probes = probes.transpose(0, 1).to(x.device)
    checked = (torch.arange(first_id, first_id + n) % settings.check == 0).nonzero()[:, 0].to(x.device)
    evaluations, batches = x.new_zeros(n, dtype=torch.float64), 0
    log_weights: list[Tensor] = []
    log_references: list[Tensor] = []
    for j in range(settings.draws):
        u = Stream(seed, "ode/dequantise", j).uniform(first_id, n, shape)
        latent = dequantise(model, x, settings.way, u, settings.width)
        found = log_density(model, latent.z, tolerance=settings.tolerance, probes=probes)
        log_weights.append(found.log_density - latent.cost)
        evaluations += found.evaluations / settings.draws
        batches += found.batches
        if len(checked):
            some = None if probes is None else probes[:, checked]
            again = log_density(model, latent.z[checked], tolerance=settings.tolerance / 100, probes=some)
            log_references.append(again.log_density - latent.cost[checked])
            batches += again.batches
    nats = _nats(log_weights)
    error = torch.full_like(nats, math.nan)
    if len(checked):
        error[checked] = nats[checked] - _nats(log_references)
    return Nats(nats, evaluations, error, batches)


WIDTHS = (0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0)


def fitted_width(model: Model, x: Tensor, first_id: int, *, seed: int, settings: Settings) -> float:
    """Of WIDTHS, the one whose bound is least on average over x: [B, *shape], with the same noise for each."""
    settings = settings.model_copy(update={"check": first_id + len(x)})  # one image at most is solved twice
    tried = {
        width: ode_nats(model, x, first_id, seed=seed, settings=settings.model_copy(update={"width": width}))
        for width in WIDTHS
    }
    return min(tried, key=lambda width: float(tried[width].nats.mean()))


def _nats(log_weights: list[Tensor]) -> Tensor:
    """-ln of the mean weight."""
    return math.log(len(log_weights)) - torch.logsumexp(torch.stack(log_weights), 0)
