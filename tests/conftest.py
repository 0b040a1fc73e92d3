"""Shared by every test: one thread, one seed, networks with fixed random weights, and one Ray for all who want it."""

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import nn

from ndm.runtime.session import session  # before any test imports Ray, which then reads the settings made there

torch.set_num_threads(1)  # tests side by side do not fight for the cores


@pytest.fixture(autouse=True)
def _same_weights_every_time() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def embedded_ray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A Ray for two workers, kept to the end: Ray Data waits for ever in the second Ray of a process."""
    with session(tmp_path_factory.mktemp("ray"), 2):
        yield


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
