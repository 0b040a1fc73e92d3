"""A model: a forward process, the network that estimates the data from a latent, and the decoder p(x | z_0)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ndm.decoders import Decoder
from ndm.heads import Head
from ndm.networks import Network
from ndm.processes.ndm import NDM


class Model(nn.Module):
    """The generative model p(x) = p(z_1) p(z_0 | z_1) p(x | z_0) of a Neural Diffusion Model.

    The reverse process is the forward process's own posterior with x replaced by x_hat(z_t, t), so whatever the
    process defines for the data it defines for the model.
    """

    def __init__(self, process: NDM, network: Network, head: Head, decoder: Decoder, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.process, self.network, self.head, self.decoder = process, network, head, decoder
        self.shape = shape

    def x_hat(self, z: Tensor, t: Tensor) -> Tensor:
        """The estimate of the data from z_t: [B, *shape] at t: [B]."""
        return self.head(self.network(z, t), z, self.process.at(t, z))

    def dual(self, z: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """The model's estimate of (F, dF/dt) from z_t: F_phi(x_hat, t) and its time derivative at fixed x_hat."""
        return self.process.transform.dual(self.x_hat(z, t), t)

    def path(self, z: Tensor, t: Tensor, times: Sequence[Tensor]) -> list[Tensor]:
        """The model's estimate of F at several times, from z_t alone: [F_phi(x_hat(z_t, t), s) for s in times]."""
        return self.process.transform.path(self.x_hat(z, t), times)

    def velocity(self, z: Tensor, t: Tensor) -> Tensor:
        """Velocity of the model's probability-flow ODE, u(z, t, x_hat(z, t))."""
        return self.process.velocity(z, *self.dual(z, t), self.process.at(t, z))

    def reconstruction(self, x: Tensor, epsilon: Tensor) -> Tensor:
        """-ln p(x | z_0) in nats, shape [B], at z_0 = alpha_0 x + sigma_0 epsilon (F(x, 0) = x)."""
        start = self.process.at(torch.zeros(len(x), dtype=x.dtype, device=x.device), x)
        z_0 = self.process.latent(x, start, epsilon)
        return -self.decoder.log_prob(x, z_0, start.alpha, start.sigma)

    def decode(self, z_0: Tensor) -> Tensor:
        """The stored value (uint8 level or float) nearest to what z_0 encodes."""
        start = self.process.at(torch.zeros(len(z_0), dtype=z_0.dtype, device=z_0.device), z_0)
        return self.decoder.decode(z_0 / start.alpha)
