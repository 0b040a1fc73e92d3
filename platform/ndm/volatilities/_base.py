"""What a volatility is: eta(t) > 0 in g^2 = eta sigma^2 gamma', the noise that the reverse SDE adds.

eta = 1 is nominal: the volatility of the usual diffusion models, and the limit of DDPM's posterior variance. Every eta
has the same marginals q(z_t | x), so it changes the bound and the SDE samplers, not the probability-flow ODE. For F =
identity and an optimal denoiser eta = 1 is best, and any other costs (1 + eta)^2 / (4 eta) of the term; for other
transforms another eta is best, which is why it may be learned.
"""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from ndm.schedules import ScheduleValue


class Volatility(nn.Module, ABC):
    """eta(t), one for all dimensions or one for each.

    A variant's `build(transform, shape)` takes the transform of the process and the shape of one example.
    """

    @abstractmethod
    def forward(self, t: Tensor, value: ScheduleValue) -> Tensor:
        """eta > 0 at times t: [B], shaped as the fields of `value`, the schedule at t: to broadcast against z_t."""
