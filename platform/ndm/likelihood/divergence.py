"""A velocity together with its divergence div u = tr(du/dz), from one forward evaluation and reverse mode.

Hutchinson's estimate v^T (du/dz) v with E[v v^T] = I is unbiased (Grathwohl et al., FFJORD, arXiv 1810.01367). With S
the symmetric part of du/dz its variance is 2 (|S|^2 - sum_i S_ii^2) for signs and 2 |S|^2 for normals. For NDM u holds
dF/dt, a forward-mode product, so this is reverse over forward. On a CPU reverse mode costs half of forward mode here.
"""

from collections.abc import Callable, Generator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

Velocity = Callable[[Tensor, Tensor], Tensor]
"""u(z, t), [B, *shape], for z: [B, *shape] and t: [B]; row i depends on row i alone."""
TOGETHER = {"cpu": 16}
"""Least rows of a batch when every dimension needs its own product; 1024 on devices that small batches leave idle."""


@contextmanager
def frozen(module: nn.Module) -> Generator[None]:
    """No parameter asks for gradients inside: the backward passes are then only those to the input."""
    asking = [p for p in module.parameters() if p.requires_grad]
    for parameter in asking:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in asking:
            parameter.requires_grad_(True)


def hutchinson(velocity: Velocity, z: Tensor, t: Tensor, probes: Tensor) -> tuple[Tensor, Tensor]:
    """(u, mean of v^T (du/dz) v over the probes v: [K, B, *shape]), [B, *shape] and [B]: one forward, K backward."""
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        u = velocity(z, t)
        total = u.new_zeros(len(u))
        for i, probe in enumerate(probes):
            (pulled,) = torch.autograd.grad(u, z, probe, retain_graph=i + 1 < len(probes))
            total += (pulled * probe).flatten(1).sum(1)
    return u.detach(), total / len(probes)


def exact(velocity: Velocity, z: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """(u, tr(du/dz)), [B, *shape] and [B], for any shape: Hutchinson's sum over the basis instead of over signs.

    The batch is repeated until it has TOGETHER rows, each copy with its own basis vectors.
    """
    n, size = len(z), z[:1].numel()
    copies = max(1, min(size, TOGETHER.get(z.device.type, 1024) // n))
    groups = -(-size // copies)
    basis = torch.eye(groups * copies, size, dtype=z.dtype, device=z.device)  # rows past the last are zero
    probes = basis.reshape(groups, copies, 1, *z.shape[1:]).expand(-1, -1, n, *z.shape[1:]).flatten(1, 2)
    u, mean = hutchinson(velocity, z.repeat(copies, *[1] * (z.ndim - 1)), t.repeat(copies), probes)
    return u[:n], groups * mean.reshape(copies, n).sum(0)
