"""Exponential moving average of the weights."""

import copy

import torch

from ndm.objectives import Objective


class Ema:
    """A second copy of the objective whose weights follow the first; scores and samples are made with it.

    After step n the average moves by 1 - d_n towards the weights, d_n = min(decay, (1 + n) / (10 + n)), so that short
    runs are not held back by their initialisation.
    """

    def __init__(self, objective: Objective, decay: float) -> None:
        self.decay = decay
        self.objective = copy.deepcopy(objective).requires_grad_(False)

    @torch.no_grad()
    def update(self, objective: Objective, step: int) -> None:
        """Follow the weights after optimiser step `step` (1, 2, ...)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for average, weight in zip(self.objective.parameters(), objective.parameters(), strict=True):
            average.lerp_(weight, 1 - decay)
