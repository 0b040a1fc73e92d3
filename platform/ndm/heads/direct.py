"""Direct prediction of the pair: F_hat by v-prediction, dF_hat/dt as it comes out of the network.

F_hat = (alpha z - sigma v_hat) / (alpha^2 + sigma^2), well conditioned at both ends of time as for the head `v`. The
best pair is (E[F | z_t], E[dF/dt | z_t]), whatever the transform; through x_hat that is reached only where F is affine
in x. It spares the two evaluations of F(x_hat, t) with its time derivative.
"""

from typing import ClassVar, Literal

from torch import Tensor

from ndm import registry
from ndm.heads._base import PairHead
from ndm.heads.v import V
from ndm.schedules import ScheduleValue


class Config(registry.Config):
    kind: Literal["direct"] = "direct"

    def build(self) -> "Direct":
        return Direct()


class Direct(PairHead):
    outputs: ClassVar[int] = 2

    def __init__(self) -> None:
        super().__init__()
        self.v = V()

    def forward(self, output: Tensor, z: Tensor, value: ScheduleValue) -> tuple[Tensor, Tensor]:
        first, second = output.chunk(2, dim=1)
        return self.v(first, z, value), second
