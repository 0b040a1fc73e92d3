"""F(x, t) = (1 - t) x + t G(x, t), with G(x, t) = x + net(x, t).

Bartosh, Vetrov, Naesseth, Neural Diffusion Models (arXiv 2310.08337), with the blend that holds F(x, 0) = x.
The x in G cancels the -t x of the blend, so it is computed as F = x + t net(x, t) and dF/dt = net + t
dnet/dt: F is the identity at initialisation, where networks are zero, and nothing large is subtracted.
"""

from typing import Literal

from torch import Tensor

from ndm import networks, registry
from ndm.transforms._base import Transform


class Config(registry.Config):
    kind: Literal["residual"] = "residual"
    network: networks.AnyConfig

    def build(self, shape: tuple[int, ...]) -> "Residual":
        return Residual(self.network.build(shape))


class Residual(Transform):
    def __init__(self, network: networks.Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return x + t.reshape(-1, *[1] * (x.ndim - 1)) * self.network(x, t)

    def dual(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        net, d_net = self.network.dual(x, t)
        t = t.reshape(-1, *[1] * (x.ndim - 1))
        return x + t * net, net + t * d_net
