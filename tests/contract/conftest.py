"""Every variant of a family, found by file: a test file names its FAMILIES, a test asks for `config`.

One case is the variant's default Config, and there is one more for each entry in `examples` of a field. A
`network` is a tiny mlp. So a new variant is tested as soon as its file exists.
"""

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from ndm import registry


def cases(family: str) -> Iterator[tuple[str, registry.Config]]:
    """(label, Config) of each variant of the family."""
    for kind in registry.kinds(family):
        config = registry.variant(family, kind).Config
        tiny = registry.variant("ndm.networks", "mlp").Config(width=8, depth=2)
        fixed = {"network": tiny} if "network" in config.model_fields else {}
        yield kind, config(**fixed)
        for name, field in config.model_fields.items():
            for example in field.examples or ():
                yield f"{kind}-{name}={example}", config(**fixed, **{name: example})


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "config" in metafunc.fixturenames:
        found = [case for family in metafunc.module.FAMILIES for case in cases(family)]
        metafunc.parametrize("config", [config for _, config in found], ids=[label for label, _ in found])


@pytest.fixture
def difference() -> Callable[[Callable[[Tensor], Tensor], Tensor], Tensor]:
    """d f(t) / dt by central differences of fourth order, for float64."""

    def derivative(f: Callable[[Tensor], Tensor], t: Tensor, h: float = 1e-4) -> Tensor:
        return (8 * (f(t + h) - f(t - h)) - (f(t + 2 * h) - f(t - 2 * h))) / (12 * h)

    return derivative


@pytest.fixture
def double_vjp() -> Callable[[Callable[[Tensor], Tensor], Tensor], Tensor]:
    """d f(t) / dt by reverse mode only, in a graph: row i of f(t): [B, ...] depends on t[i] alone."""

    def derivative(f: Callable[[Tensor], Tensor], t: Tensor) -> Tensor:
        t = t.detach().requires_grad_()
        value = f(t)
        value = value + 0 * t.reshape(-1, *[1] * (value.ndim - 1))  # so that f may ignore t
        u = torch.zeros_like(value).requires_grad_()
        (pulled,) = torch.autograd.grad(value, t, u, create_graph=True)
        return torch.autograd.grad(pulled, u, torch.ones_like(t), create_graph=True)[0]

    return derivative
