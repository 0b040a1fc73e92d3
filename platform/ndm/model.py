"""A model: a forward process, the network that estimates the data from a latent, and the decoder p(x | z_0)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ndm.decoders import Decoder
from ndm.errors import UserError
from ndm.heads import DataHead, DriftHead, Head, PairHead
from ndm.networks import Network
from ndm.processes.ndm import NDM


class Model(nn.Module):
    """The generative model p(x) = p(z_1) p(z_0 | z_1) p(x | z_0) of a Neural Diffusion Model.

    The reverse process is the forward process's own posterior with what depends on x replaced by an estimate from z_t,
    so whatever the process defines for the data it defines for the model. What is estimated is the head's choice.
    """

    def __init__(self, process: NDM, network: Network, head: Head, decoder: Decoder, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.process, self.network, self.head, self.decoder = process, network, head, decoder
        self.shape = shape

    def x_hat(self, z: Tensor, t: Tensor) -> Tensor:
        """The estimate of the data from z_t: [B, *shape] at t: [B]. Only for heads that estimate the data."""
        assert isinstance(self.head, DataHead)
        return self.head(self.network(z, t), z, self.process.at(t, z))

    def dual(self, z: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """The model's estimate of (F, dF/dt) from z_t: the head's, or that of F_phi(x_hat, t) at fixed x_hat.

        Raises:
            UserError: the head estimates the drift alone.
        """
        if isinstance(self.head, PairHead):
            return self.head(self.network(z, t), z, self.process.at(t, z))
        if isinstance(self.head, DriftHead):
            raise UserError(NO_PAIR)
        return self.process.transform.dual(self.x_hat(z, t), t)

    def path(self, z: Tensor, t: Tensor, times: Sequence[Tensor]) -> list[Tensor]:
        """The model's estimate of F at several times, from z_t alone: [F_phi(x_hat(z_t, t), s) for s in times].

        A head that estimates the pair gives F_hat + (gamma(s) - gamma(t)) dF_hat/dgamma, as DiffEnc (arXiv 2310.19789).

        Raises:
            UserError: the head estimates the drift alone.
        """
        if isinstance(self.head, DataHead):
            return self.process.transform.path(self.x_hat(z, t), times)
        f, d_f = self.dual(z, t)
        value = self.process.at(t, z)
        return [f + (self.process.at(s, z).gamma - value.gamma) * d_f / value.d_gamma for s in times]

    def tau(self, z: Tensor, t: Tensor) -> Tensor:
        """The model's estimate of tau, see `NDM.tau`, at the process's own volatility: [B, *shape]."""
        value = self.process.at(t, z)
        eta = self.process.eta(t, value)
        if isinstance(self.head, DriftHead):
            return self.head(self.network(z, t), z, value, eta)
        return self.process.tau(*self.dual(z, t), value, eta)

    def velocity(self, z: Tensor, t: Tensor) -> Tensor:
        """Velocity of the model's probability-flow ODE, u(z, t, x_hat(z, t)).

        Raises:
            UserError: the head estimates the drift alone.
        """
        return self.process.velocity(z, *self.dual(z, t), self.process.at(t, z))

    def reverse_drift(self, z: Tensor, t: Tensor, eta: float | None = None) -> Tensor:
        """Drift f^B of the model's reverse SDE at volatility eta, by default the process's own: [B, *shape].

        Raises:
            UserError: the head estimates the drift alone, which is that at the process's own volatility.
        """
        value = self.process.at(t, z)
        if eta is None:
            return self.process.drift_of_tau(z, self.tau(z, t), value, self.process.eta(t, value))
        return self.process.reverse_drift(z, *self.dual(z, t), value, eta)

    def reconstruction(self, x: Tensor, epsilon: Tensor) -> Tensor:
        """-ln p(x | z_0) in nats, shape [B], at z_0 = alpha_0 x + sigma_0 epsilon (F(x, 0) = x)."""
        start = self.process.at(torch.zeros(len(x), dtype=x.dtype, device=x.device), x)
        z_0 = self.process.latent(x, start, epsilon)
        return -self.decoder.log_prob(x, z_0, start.alpha, start.sigma)

    def decode(self, z_0: Tensor) -> Tensor:
        """The stored value (uint8 level or float) nearest to what z_0 encodes."""
        start = self.process.at(torch.zeros(len(z_0), dtype=z_0.dtype, device=z_0.device), z_0)
        return self.decoder.decode(z_0 / start.alpha)


NO_PAIR = (
    "head.kind=drift estimates the drift of the reverse SDE and no (F, dF/dt), so there is no ODE, no ancestral step "
    "and no other volatility: use the continuous bound and a sampler of kind sde or stochastic_heun without eta, or "
    "train with head.kind=direct"
)
