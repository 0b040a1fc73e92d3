"""Shared by every test: one thread and one seed, and networks with fixed random weights."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

torch.set_num_threads(1)  # tests side by side do not fight for the cores


@pytest.fixture(autouse=True)
def _same_weights_every_time() -> None:
    torch.manual_seed(0)


@pytest.fixture
def randomise() -> Callable[..., nn.Module]:
    """Moves every trainable parameter off its start: an output layer of zeros would hide mistakes."""

    def apply(module: nn.Module, scale: float = 0.1, seed: int = 7) -> nn.Module:
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in module.parameters():
                if parameter.requires_grad:
                    parameter += scale * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        return module

    return apply
