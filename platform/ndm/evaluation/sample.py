"""Samples of a trained model, the same ones for the same seed whatever the batches."""

import torch
from torch import Tensor

from ndm.model import Model
from ndm.sampling import Sampler


def draw(sampler: Sampler, model: Model, count: int, *, seed: int, batch: int) -> tuple[Tensor, int]:
    """(stored values [count, *shape], network evaluations per sample), in batches of at most `batch`."""
    parts: list[Tensor] = []
    evaluations = 0
    for start in range(0, count, batch):
        raw, part_evaluations = sampler.sample(model, start, min(batch, count - start), seed)
        parts.append(raw.cpu())
        evaluations = max(evaluations, part_evaluations)
    return torch.cat(parts), evaluations
