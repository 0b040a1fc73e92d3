"""Samples of a trained model, the same ones for the same seed whatever the batches."""

import torch
from torch import Tensor

from ndm.model import Model
from ndm.sampling import Sampler


def draw(sampler: Sampler, model: Model, count: int, *, seed: int, batch: int, first_id: int = 0) -> tuple[Tensor, int]:
    """Samples first_id .. first_id + count - 1, in batches of at most `batch`, and what they cost.

    (stored values [count, *shape], network evaluations per sample, the most of any batch).
    """
    parts: list[Tensor] = []
    evaluations = 0
    for start in range(0, count, batch):
        raw, part_evaluations = sampler.sample(model, first_id + start, min(batch, count - start), seed)
        parts.append(raw.cpu())
        evaluations = max(evaluations, part_evaluations)
    return torch.cat(parts), evaluations
