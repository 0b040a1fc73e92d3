"""The continuous-time bound: L_diff = int_0^1 E |f^B(z,t,x) - f^B(z,t,x_hat)|^2 / (2 g^2) dt, one t per example.

The limit of the discrete bound as T grows; simulation-free. For F = identity and eta = 1 it is VDM's
1/2 int e^-gamma gamma' |x - x_hat|^2 dt (arXiv 2107.00630, equation 17).
"""

from typing import Literal

from pydantic import Field
from torch import Tensor

from ndm import registry
from ndm.model import Model
from ndm.objectives._base import Noise, Objective, Terms, Weight


class Config(registry.Config):
    kind: Literal["continuous"] = "continuous"
    weight: Weight = Field("bound", examples=["velocity"])
    """How training weighs the diffusion term over time; see `Objective`."""

    def build(self, model: Model) -> "Continuous":
        return Continuous(model, self.weight)


class Continuous(Objective):
    steps = None

    def forward(self, x: Tensor, noise: Noise) -> Terms:
        process, transform = self.model.process, self.model.process.transform
        t = noise.u.to(x.dtype)
        value = process.at(t, x)
        f, d_f = transform.dual(x, t)
        z = process.latent(f, value, noise.epsilon)
        eta = process.eta(t, value)
        diffusion = process.path_kl_rate(process.tau(f, d_f, value, eta) - self.model.tau(z, t), value, eta)
        return Terms(process.prior_kl(x), self.model.reconstruction(x, noise.epsilon_0), diffusion)
