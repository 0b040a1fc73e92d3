"""The Neural Diffusion Model's forward process: q(z_t | x) = N(alpha_t F_phi(x, t), sigma_t^2 I).

Bartosh, Vetrov, Naesseth, Neural Diffusion Models (arXiv 2310.08337). Discrete in time the chain is specified
backwards, as in DDIM, by q(z_s | z_t, x); continuous in time by a conditional SDE with the same marginals. With F =
identity both are the usual diffusion models. Here F and dF/dt come in as arguments: the same formulas serve the data,
F(x, t), and the model's estimate, F(x_hat, t).
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ndm import registry
from ndm.schedules import Schedule, ScheduleValue
from ndm.transforms import Transform


class Config(registry.Config):
    kind: Literal["ndm"] = "ndm"
    eta: float = Field(default=1.0, gt=0)
    """Stochasticity: the posterior variance is eta times DDPM's, the volatility g^2 = eta sigma^2 gamma'."""

    def build(self, schedule: Schedule, transform: Transform) -> "NDM":
        return NDM(schedule, transform, self.eta)


class NDM(nn.Module):
    """Marginals, posterior, drift, score, volatility and the terms of the bound, per example."""

    def __init__(self, schedule: Schedule, transform: Transform, eta: float) -> None:
        super().__init__()
        self.schedule, self.transform, self.eta = schedule, transform, eta

    def at(self, t: Tensor, like: Tensor) -> ScheduleValue:
        """The schedule at t: [B], each field shaped to broadcast against `like`: [B, *shape]."""
        value = self.schedule(t)
        return ScheduleValue(*(v.reshape(-1, *[1] * (like.ndim - 1)) if v.ndim == 1 else v for v in value))

    @staticmethod
    def latent(f: Tensor, value: ScheduleValue, epsilon: Tensor) -> Tensor:
        """z_t = alpha_t F + sigma_t epsilon."""
        return value.alpha * f + value.sigma * epsilon

    def posterior_variance(self, s: ScheduleValue, t: ScheduleValue, eta: float | None = None) -> Tensor:
        """v_st = eta sigma_s^2 (1 - SNR_t / SNR_s): DDPM's for eta = 1, DDIM's for eta = 0 (sampling only)."""
        return -torch.expm1(s.gamma - t.gamma) * s.sigma**2 * (self.eta if eta is None else eta)

    @staticmethod
    def posterior_mean(z: Tensor, f_s: Tensor, f_t: Tensor, s: ScheduleValue, t: ScheduleValue, v: Tensor) -> Tensor:
        """Mean of q(z_s | z_t, x) = N(alpha_s F_s + c (z_t - alpha_t F_t), v I), c^2 = (sigma_s^2 - v) / sigma_t^2.

        Any 0 <= v <= sigma_s^2 gives back the marginal at s.
        """
        return s.alpha * f_s + (s.sigma**2 - v).clamp_min(0).sqrt() / t.sigma * (z - t.alpha * f_t)

    @staticmethod
    def velocity(z: Tensor, f: Tensor, d_f: Tensor, value: ScheduleValue) -> Tensor:
        """Velocity of the conditional ODE, u = d(alpha F)/dt + (sigma'/sigma)(z - alpha F), at fixed x."""
        return value.d_alpha * f + value.alpha * d_f + value.d_sigma / value.sigma * (z - value.alpha * f)

    @staticmethod
    def score(z: Tensor, f: Tensor, value: ScheduleValue) -> Tensor:
        """grad_z ln q(z_t | x) = (alpha F - z) / sigma^2."""
        return (value.alpha * f - z) / value.sigma**2

    def squared_volatility(self, value: ScheduleValue) -> Tensor:
        """g^2 = eta sigma^2 gamma', the limit of `posterior_variance` per unit of time."""
        return self.eta * value.sigma**2 * value.d_gamma

    def reverse_drift(self, z: Tensor, f: Tensor, d_f: Tensor, value: ScheduleValue) -> Tensor:
        """Drift of the reverse SDE, f^B = u - g^2 score / 2; dz = f^B dt + g dW with t decreasing."""
        return self.velocity(z, f, d_f, value) - self.squared_volatility(value) / 2 * self.score(z, f, value)

    def prior_kl(self, x: Tensor, f_1: Tensor | None = None) -> Tensor:
        """KL(q(z_1 | x) || N(0, I)) = [alpha_1^2 |F(x,1)|^2 + D (sigma_1^2 - 1 - ln sigma_1^2)] / 2 in nats, [B]."""
        one = torch.ones(len(x), dtype=x.dtype, device=x.device)
        end = self.at(one, x)
        mean = end.alpha * (self.transform.path(x, (one,))[0] if f_1 is None else f_1)
        variance = end.sigma**2
        return (mean**2 + variance - 1 - variance.log()).flatten(1).sum(1) / 2

    def step_kl(self, gap_s: Tensor, gap_t: Tensor, s: ScheduleValue, t: ScheduleValue) -> Tensor:
        """KL(q(z_s | z_t, x) || q(z_s | z_t, x_hat)) in nats, shape [B]; gap = F(x, .) - F(x_hat, .).

        |alpha_s gap_s - c_st alpha_t gap_t|^2 / (2 v_st): z_t cancels, the variances are equal.
        """
        v = self.posterior_variance(s, t)
        mean_gap = self.posterior_mean(torch.zeros_like(gap_t), gap_s, gap_t, s, t, v)
        return (mean_gap**2 / (2 * v)).flatten(1).sum(1)

    def path_kl_rate(self, gap: Tensor, d_gap: Tensor, value: ScheduleValue) -> Tensor:
        """|f^B(z, t, x) - f^B(z, t, x_hat)|^2 / (2 g^2), the continuous bound's integrand in nats, shape [B].

        Worked out for gap = F(x, t) - F(x_hat, t) and its time derivative:
        e^-gamma gamma' / (2 eta) |(1 + eta)/2 gap - d_gap / gamma'|^2. The sign between the two is minus: the drift
        difference is alpha (d_gap - gamma' (1 + eta)/2 gap), since alpha'/alpha - sigma'/sigma = -gamma'/2.
        """
        weight = torch.exp(-value.gamma) * value.d_gamma / (2 * self.eta)
        return (weight * ((1 + self.eta) / 2 * gap - d_gap / value.d_gamma) ** 2).flatten(1).sum(1)
