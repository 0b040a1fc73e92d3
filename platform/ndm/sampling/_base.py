"""What a sampler is: latents z_1 in, latents z_0 out, counting the network evaluations."""

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor

from ndm.model import Model
from ndm.randomness import Stream


class Draw(NamedTuple):
    """Latents at t = 0 and what they cost."""

    z: Tensor
    """z_0, shape [B, *shape]."""
    evaluations: int
    """Evaluations of the denoising network (NFE) for the batch."""


class Sampler(ABC):
    """Draws from a model. Sample i depends on (seed, i) alone, not on its batch: galleries are comparable."""

    @abstractmethod
    def run(self, model: Model, z: Tensor, first_id: int, seed: int) -> Draw:
        """From z = z_1, [B, *shape], of the samples first_id .. first_id + B - 1 to z_0."""

    @torch.no_grad()
    def sample(self, model: Model, first_id: int, count: int, seed: int) -> tuple[Tensor, int]:
        """(stored values [count, *shape], NFE) of samples first_id .. first_id + count - 1."""
        reference = next(model.parameters())
        z = Stream(seed, "sample/z_1").normal(first_id, count, model.shape, reference.dtype).to(reference.device)
        draw = self.run(model, z, first_id, seed)
        return model.decode(draw.z), draw.evaluations
