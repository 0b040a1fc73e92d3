"""DiffEnc's parameterisation: v-prediction of the encoded data, F_hat = alpha z - sigma v_hat, and its derivative.

Nielsen et al., DiffEnc: Variational Diffusion with a Learned Encoder (arXiv 2310.19789). For F = x + sigma^2 (y - x),
dF/dgamma = sigma^2 (y - F) + sigma^2 dy/dgamma; the generator, which does not run the encoder, keeps of it what it can
say, -sigma^2 F_hat. So the bound's integrand is the paper's,

gamma' alpha^2 / 2 |v - v_hat + sigma (F_hat - F + y + dy/dgamma)|^2,

and the step of its sampler is alpha_s / alpha_t e^(gamma_s - gamma_t) z_t - alpha_s (e^(gamma_s - gamma_t) - 1) F_hat
- alpha_s (gamma_s - gamma_t) sigma_t^2 F_hat, plus noise.
"""

from typing import Literal

from torch import Tensor

from ndm import registry
from ndm.heads._base import PairHead
from ndm.heads.v import V
from ndm.schedules import ScheduleValue


class Config(registry.Config):
    kind: Literal["diffenc"] = "diffenc"

    def build(self) -> "DiffEnc":
        return DiffEnc()


class DiffEnc(PairHead):
    def __init__(self) -> None:
        super().__init__()
        self.v = V()

    def forward(self, output: Tensor, z: Tensor, value: ScheduleValue) -> tuple[Tensor, Tensor]:
        f = self.v(output, z, value)
        return f, -(value.sigma**2) * value.d_gamma * f
