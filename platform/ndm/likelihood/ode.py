"""ln p(z_0) of a model by its probability-flow ODE: ln p(z_0) = ln p(z_1) + int_0^1 div u(z_t, t) dt, p(z_1) = N(0, I).

Chen et al., Neural Ordinary Differential Equations (arXiv 1806.07366); Song et al., Score-Based Generative Modeling
(arXiv 2011.13456). It is the density of the deterministic model, not of the one that the variational bound is for: the
two agree only where the model's field is that of the data, and neither bounds the other.
"""

from collections.abc import Callable
from math import log, pi
from typing import NamedTuple

from torch import Tensor

from ndm.likelihood import divergence, solver
from ndm.model import Model


class Density(NamedTuple):
    log_density: Tensor
    """ln p(z_0) in nats, [B], float64."""
    evaluations: Tensor
    """Evaluations of u and its divergence for each row (NFE), [B]."""
    batches: int
    """Batched evaluations of the network."""


def standard_normal(z: Tensor) -> Tensor:
    """ln N(z; 0, I) in nats, [B]."""
    return -(z.square() + log(2 * pi)).flatten(1).sum(1) / 2


def log_density(
    model: Model,
    z_0: Tensor,
    *,
    tolerance: float,
    probes: Tensor | None = None,
    density: bool = False,
    prior: Callable[[Tensor], Tensor] = standard_normal,
) -> Density:
    """ln p(z_0) for z_0: [B, *shape]; without `probes`, [K, B, *shape], the divergence is exact.

    A probe belongs to its row for the whole way, so the integrand is smooth and the estimate unbiased. `density` puts
    the divergence under the solver's error control. The field is evaluated in the type of the model's parameters.

    Raises:
        UserError: the solver needs too many steps.
    """
    dtype = next(model.parameters(), z_0).dtype

    def field(z: Tensor, t: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        z, t = z.to(dtype), t.to(dtype)
        if probes is None:
            return divergence.exact(model.velocity, z, t)
        return divergence.hutchinson(model.velocity, z, t, probes[:, rows].to(dtype))

    with divergence.frozen(model):
        end = solver.solve(field, z_0, tolerance=tolerance, density=density)
    return Density(prior(end.z) + end.integral, end.evaluations, end.batches)
