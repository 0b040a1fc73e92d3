"""AdamW and its learning rate as a function of the number of examples seen."""

import math
from typing import Literal

import torch
from pydantic import Field
from torch import nn

from ndm import registry


class OptimizerConfig(registry.Config):
    """AdamW (Loshchilov and Hutter, arXiv 1711.05101) with linear warm-up and clipping of the gradient's norm."""

    lr: float = Field(default=2e-4, gt=0)
    beta1: float = Field(default=0.9, ge=0, lt=1)
    beta2: float = Field(default=0.99, ge=0, lt=1)
    weight_decay: float = Field(default=0.01, ge=0)
    warmup: int = Field(default=12800, ge=0)
    """Examples over which the learning rate rises linearly from zero."""
    decay: Literal["constant", "cosine"] = "constant"
    """After the warm-up: constant, or half a cosine down to zero at training.examples."""
    clip: float = Field(default=1.0, gt=0)
    """Largest norm of the gradient."""
    fused: bool = False
    """Update all weights in one kernel: faster on GPUs, the same but for rounding."""

    def build(self, module: nn.Module) -> torch.optim.AdamW:
        return torch.optim.AdamW(
            module.parameters(),
            lr=self.lr,
            betas=(self.beta1, self.beta2),
            weight_decay=self.weight_decay,
            fused=True if self.fused else None,  # torch's own choice otherwise
        )

    def rate(self, position: int, examples: int) -> float:
        """Learning rate of the step that ends at `position` examples out of `examples`."""
        if position < self.warmup:
            return self.lr * position / self.warmup
        if self.decay == "constant":
            return self.lr
        done = (position - self.warmup) / max(examples - self.warmup, 1)
        return self.lr * (1 + math.cos(math.pi * min(done, 1.0))) / 2
