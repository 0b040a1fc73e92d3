"""The Neural Diffusion Model's forward process: q(z_t | x) = N(alpha_t F_phi(x, t), sigma_t^2 I).

Bartosh, Vetrov, Naesseth, Neural Diffusion Models (arXiv 2310.08337). Discrete in time the chain is specified
backwards, as in DDIM, by q(z_s | z_t, x); continuous in time by a conditional SDE with the same marginals. With F =
identity both are the usual diffusion models. Here F and dF/dt come in as arguments: the same formulas serve the data,
F(x, t), and the model's estimate, such as F(x_hat, t). So does eta, the volatility in units of the nominal one.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from ndm import registry
from ndm.errors import UserError
from ndm.networks import _dropout as dropout
from ndm.schedules import Schedule, ScheduleValue
from ndm.transforms import Transform
from ndm.volatilities import Volatility


class Config(registry.Config):
    kind: Literal["ndm"] = "ndm"

    def build(self, schedule: Schedule, transform: Transform, volatility: Volatility) -> "NDM":
        return NDM(schedule, transform, volatility)


class NDM(nn.Module):
    """Marginals, posterior, drift, score, volatility and the terms of the bound, per example.

    Raises:
        UserError: the transform has dropout. F would be another function in every step, so the marginals, and the
            bound that of no process.
    """

    def __init__(self, schedule: Schedule, transform: Transform, volatility: Volatility) -> None:
        super().__init__()
        if dropout.layers(transform):
            raise UserError(
                "transform.network.dropout would make the forward process random, and the bound that of no process; "
                "give transform.network.dropout=0.0, and network.dropout for the denoiser"
            )
        self.schedule, self.transform, self.volatility = schedule, transform, volatility

    def at(self, t: Tensor, like: Tensor) -> ScheduleValue:
        """The schedule at t: [B], each field shaped to broadcast against `like`: [B, *shape]."""
        value = self.schedule(t)
        return ScheduleValue(*(v.reshape(-1, *[1] * (like.ndim - 1)) if v.ndim == 1 else v for v in value))

    def eta(self, t: Tensor, value: ScheduleValue) -> Tensor:
        """The process's own volatility at t: [B], in units of the nominal one, shaped as the fields of `value`."""
        return self.volatility(t, value)

    @staticmethod
    def latent(f: Tensor, value: ScheduleValue, epsilon: Tensor) -> Tensor:
        """z_t = alpha_t F + sigma_t epsilon."""
        return value.alpha * f + value.sigma * epsilon

    def posterior_variance(self, s: ScheduleValue, t: ScheduleValue, eta: Tensor | float) -> Tensor:
        """v_st = eta sigma_s^2 (1 - SNR_t / SNR_s), at most sigma_s^2: DDPM's for eta = 1, DDIM's for eta = 0."""
        return -torch.expm1(s.gamma - t.gamma).mul(eta).clamp(-1) * s.sigma**2

    @staticmethod
    def posterior_mean(z: Tensor, f_s: Tensor, f_t: Tensor, s: ScheduleValue, t: ScheduleValue, v: Tensor) -> Tensor:
        """Mean of q(z_s | z_t, x) = N(alpha_s F_s + c (z_t - alpha_t F_t), v I), c^2 = (sigma_s^2 - v) / sigma_t^2.

        Any 0 <= v <= sigma_s^2 gives back the marginal at s.
        """
        # Above zero: where v is all of sigma_s^2 the root would have no derivative, and a learned schedule would break.
        left = (s.sigma**2 - v).clamp_min(torch.finfo(v.dtype).tiny)
        return s.alpha * f_s + left.sqrt() / t.sigma * (z - t.alpha * f_t)

    @staticmethod
    def velocity(z: Tensor, f: Tensor, d_f: Tensor, value: ScheduleValue) -> Tensor:
        """Velocity of the conditional ODE, u = d(alpha F)/dt + (sigma'/sigma)(z - alpha F), at fixed x."""
        return value.d_alpha * f + value.alpha * d_f + value.d_sigma / value.sigma * (z - value.alpha * f)

    @staticmethod
    def score(z: Tensor, f: Tensor, value: ScheduleValue) -> Tensor:
        """grad_z ln q(z_t | x) = (alpha F - z) / sigma^2."""
        return (value.alpha * f - z) / value.sigma**2

    @staticmethod
    def squared_volatility(value: ScheduleValue, eta: Tensor | float) -> Tensor:
        """g^2 = eta sigma^2 gamma', the limit of `posterior_variance` per unit of time."""
        return eta * value.sigma**2 * value.d_gamma

    def reverse_drift(self, z: Tensor, f: Tensor, d_f: Tensor, value: ScheduleValue, eta: Tensor | float) -> Tensor:
        """Drift of the reverse SDE, f^B = u - g^2 score / 2; dz = f^B dt + g dW with t decreasing."""
        return self.velocity(z, f, d_f, value) - self.squared_volatility(value, eta) / 2 * self.score(z, f, value)

    @staticmethod
    def tau(f: Tensor, d_f: Tensor, value: ScheduleValue, eta: Tensor | float) -> Tensor:
        """All that the reverse drift at eta needs of the data: tau = (1 + eta)/2 F - (dF/dt) / gamma'.

        The sign between the two is minus: alpha'/alpha - sigma'/sigma = -gamma'/2.
        """
        return (1 + eta) / 2 * f - d_f / value.d_gamma

    @staticmethod
    def drift_of_tau(z: Tensor, tau: Tensor, value: ScheduleValue, eta: Tensor | float) -> Tensor:
        """`reverse_drift` from tau: f^B = (sigma'/sigma + eta gamma'/2) z - alpha gamma' tau."""
        return (value.d_sigma / value.sigma + eta * value.d_gamma / 2) * z - value.alpha * value.d_gamma * tau

    def prior_kl(self, x: Tensor, f_1: Tensor | None = None) -> Tensor:
        """KL(q(z_1 | x) || N(0, I)) = [alpha_1^2 |F(x,1)|^2 + D (sigma_1^2 - 1 - ln sigma_1^2)] / 2 in nats, [B]."""
        one = torch.ones(len(x), dtype=x.dtype, device=x.device)
        end = self.at(one, x)
        mean = end.alpha * (self.transform.path(x, (one,))[0] if f_1 is None else f_1)
        variance = end.sigma**2
        return (mean**2 + variance - 1 - variance.log()).flatten(1).sum(1) / 2

    def step_kl(self, gap_s: Tensor, gap_t: Tensor, s: ScheduleValue, t: ScheduleValue, eta: Tensor | float) -> Tensor:
        """KL(q(z_s | z_t, x) || q(z_s | z_t, x_hat)) in nats, shape [B]; gap = F(x, .) - F(x_hat, .).

        |alpha_s gap_s - c_st alpha_t gap_t|^2 / (2 v_st): z_t cancels, the variances are equal.
        """
        v = self.posterior_variance(s, t, eta)
        mean_gap = self.posterior_mean(torch.zeros_like(gap_t), gap_s, gap_t, s, t, v)
        return (mean_gap**2 / (2 * v)).flatten(1).sum(1)

    def path_kl_rate(self, tau_gap: Tensor, value: ScheduleValue, eta: Tensor | float) -> Tensor:
        """|f^B(z, t, x) - f^B(z, t, x_hat)|^2 / (2 g^2), the continuous bound's integrand in nats, shape [B].

        Worked out for tau_gap = tau(x) - tau(x_hat) it is e^-gamma gamma' / (2 eta) |tau_gap|^2.
        """
        weight = torch.exp(-value.gamma) * value.d_gamma / (2 * eta)
        return (weight * tau_gap**2).flatten(1).sum(1)
