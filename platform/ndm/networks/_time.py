"""Features of time for the networks: sines and cosines of w_k t, then a linear layer and SiLU.

The w_k run geometrically from 1 to 64 radians per unit of time. The highest resolves a few tenths of gamma
under the usual schedules; higher ones would only make the time derivative of a transform, which grows with
w_k, noisy.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

FREQUENCIES = 32
HIGHEST = 64.0


class TimeEmbedding(nn.Module):
    """t: [B] in [0, 1] -> features [B, width]."""

    frequencies: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        exponents = torch.linspace(0, 1, FREQUENCIES, dtype=torch.float64)
        self.register_buffer("frequencies", (HIGHEST**exponents).float(), persistent=False)
        self.linear = nn.Linear(2 * FREQUENCIES, width)

    def forward(self, t: Tensor) -> Tensor:
        angles = t[:, None] * self.frequencies
        return silu(self.linear(torch.cat([angles.sin(), angles.cos()], dim=1)))
