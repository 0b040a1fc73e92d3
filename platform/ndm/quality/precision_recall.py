"""Improved precision and recall: how many samples lie where the reference is, and how much of the reference is reached.

Kynkäänniemi et al., Improved Precision and Recall Metric for Assessing Generative Models (arXiv 1904.06991). A set's
support is taken to be the union of balls about its points, each as large as the distance to the point's k-th nearest
neighbour in the set. Both numbers depend on the counts: compare only equal ones. Their standard errors take the balls
as given.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from ndm.likelihood.statistics import Mean, mean
from ndm.quality.distances import BLOCK, ROUNDING, blocks, squared_distances

NEIGHBOURS = 3


class PrecisionRecall(NamedTuple):
    """Shares of points, from 0 to 1."""

    precision: Mean
    recall: Mean


def precision_recall(
    f: Tensor, g: Tensor, *, k: int = NEIGHBOURS, device: torch.device | str = "cpu", block: int = BLOCK
) -> PrecisionRecall:
    """Of the samples' features f: [N, d] against the reference's g: [M, d]; more than k of each.

    Memory is that of a few matrices of block x block float64.
    """
    precision = covered(f, g, radii_squared(g, k, device, block), device, block)
    recall = covered(g, f, radii_squared(f, k, device, block), device, block)
    return PrecisionRecall(mean(precision), mean(recall))


def radii_squared(x: Tensor, k: int, device: torch.device | str, block: int) -> Tensor:
    """Squared distance of each point of x: [N, d] to its k-th nearest neighbour in x, itself left out: [N]."""
    assert len(x) > k
    parts: list[Tensor] = []
    for rows, a in blocks(x, block, device):
        nearest = a.new_full((len(a), k), torch.inf)
        for columns, b in blocks(x, block, device):
            distances = squared_distances(a, b)
            if columns == rows:
                distances.fill_diagonal_(torch.inf)
            closest = distances.topk(min(k, len(b)), largest=False).values
            nearest = torch.cat([nearest, closest], dim=1).topk(k, largest=False).values
        parts.append(nearest[:, -1])
    return torch.cat(parts)


def covered(x: Tensor, centres: Tensor, radii_squared: Tensor, device: torch.device | str, block: int) -> Tensor:
    """1 for each point of x: [N, d] in a ball or, as far as rounding can tell, on its surface, else 0; float64 [N]."""
    parts: list[Tensor] = []
    for _, a in blocks(x, block, device):
        inside = torch.zeros(len(a), dtype=torch.bool, device=device)
        for columns, b in blocks(centres, block, device):
            slack = ROUNDING * (a.square().sum(1).max() + b.square().sum(1))
            inside |= (squared_distances(a, b) <= radii_squared[columns] + slack).any(1)
        parts.append(inside.double())
    return torch.cat(parts)
