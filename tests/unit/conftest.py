"""A tiny model with random weights, for what is tested beside the mathematics."""

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
import torch
from originals import WRITERS

from ndm import presets
from ndm.build import build_objective
from ndm.data.sources import Examples, SourceConfig
from ndm.decoders.gaussian import Gaussian
from ndm.model import Model
from ndm.objectives import Objective
from ndm.processes.ndm import NDM
from ndm.registry import variant
from ndm.volatilities.constant import Constant

SMALL = ["network={width: 8, depth: 1}", "transform.network.width=8"]


@pytest.fixture(scope="session")
def objective() -> Objective:
    """digits-tiny for images of 1x2x2 with 17 levels, float32; not to be changed."""
    made = build_objective(presets.load("digits-tiny", SMALL), (1, 2, 2), 17)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for weight in made.parameters():
            weight += 0.05 * torch.randn(weight.shape, generator=generator)
    return made


@pytest.fixture(scope="session")
def raw(objective) -> torch.Tensor:
    """Eight of its images."""
    size = (8, *objective.model.shape)
    return torch.randint(17, size, generator=torch.Generator().manual_seed(4)).to(torch.uint8)


@pytest.fixture(scope="session")
def splits_of() -> Callable[[SourceConfig], dict[str, Examples]]:
    """The examples of every split of a source, by its own account: all parts read, laid end to end, and chosen from."""

    def read(source: SourceConfig) -> dict[str, Examples]:
        opened = source.open()
        found = [part.read() for part in opened.parts]
        assert [len(examples.labels) for examples in found] == [part.rows for part in opened.parts]
        raw, labels = (np.concatenate([getattr(e, name) for e in found]) for name in ("raw", "labels"))
        return {split: Examples(raw[rows], labels[rows]) for split, rows in opened.splits.items()}

    return read


@pytest.fixture(scope="session")
def source_of(tmp_path_factory) -> Callable[[str], SourceConfig]:
    """The source of a kind; one that reads files has a small original to read."""

    def make(kind: str) -> SourceConfig:
        keys = WRITERS[kind](tmp_path_factory.mktemp(kind)).keys if kind in WRITERS else {}
        return variant("ndm.data.sources", kind).Config(**keys)

    return cache(make)


@pytest.fixture
def tiny() -> Callable[..., Objective]:
    """tiny("continuous"), tiny("discrete", steps=10): a residual NDM in two dimensions, always the same, float64."""

    def build(kind: str, **keys: int) -> Objective:
        network = variant("ndm.networks", "mlp").Config(width=8, depth=1)
        transform = variant("ndm.transforms", "residual").Config(network=network).build((2,))
        schedule = variant("ndm.schedules", "learned").Config(gamma_min=-5, gamma_max=4, width=4).build((2,))
        head = variant("ndm.heads", "v").Config().build()
        model = Model(NDM(schedule, transform, Constant(1.0)), network.build((2,)), head, Gaussian(), (2,)).double()
        generator = torch.Generator().manual_seed(7)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad and not parameter.ndim:
                    parameter += 0.1
                elif parameter.requires_grad:
                    parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
        return variant("ndm.objectives", kind).Config(**keys).build(model)

    return build
