"""The variational bound of each image, averaged over draws stratified in time, with noise that belongs to the image."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from ndm.likelihood.time import UNIFORM, Proposal
from ndm.objectives import Noise, Objective, Terms
from ndm.randomness import Stream


def full_draws(objective: Objective, draws: int) -> int:
    """At least `draws` draws per image; in discrete time a multiple of T, so that every step is taken equally often."""
    return draws if objective.steps is None else objective.steps * math.ceil(draws / objective.steps)


def recipe(objective: Objective, draws: int) -> str:
    """The estimator's name: time (T steps, or cont), and k draws per image unless every step is one."""
    if objective.steps is None:
        return f"elbo_cont_k{draws}"
    return f"elbo_T{objective.steps}" + ("" if draws == objective.steps else f"_k{draws}")


@torch.no_grad()
def drawn(
    objective: Objective, x: Tensor, first_id: int, *, seed: int, draws: int, proposal: Proposal = UNIFORM
) -> Iterator[tuple[Tensor, Terms]]:
    """(t, terms at t), each [B], for each of K draws and images x: [B, *shape] of ids first_id .. first_id + B - 1.

    Draw j uses t in the j-th of K equal strata; time and noise are functions of (seed, image id, j), so two models
    scored with one seed share them, whatever the batches and workers. The mean of the terms is unbiased for every K and
    every proposal of times; only continuous time takes one.
    """
    assert objective.steps is None or proposal == UNIFORM
    for j in range(draws):
        within = Stream(seed, "elbo/time", j).uniform(first_id, len(x))
        epsilon, epsilon_0 = (
            Stream(seed, f"elbo/{name}", j).normal(first_id, len(x), tuple(x.shape[1:]), x.dtype).to(x.device)
            for name in ("epsilon", "epsilon_0")
        )
        t, density = proposal((j + within) / draws)
        terms: Terms = objective(x, Noise(t.to(x.device), epsilon, epsilon_0))
        yield t.to(x.device), terms._replace(diffusion=terms.diffusion / density.to(x.device))


def elbo(
    objective: Objective, x: Tensor, first_id: int, *, seed: int, draws: int, proposal: Proposal = UNIFORM
) -> Terms:
    """Terms of the bound in nats per image, float64 [B]: the mean of `drawn`."""
    sums = [torch.zeros(len(x), dtype=torch.float64, device=x.device) for _ in Terms._fields]
    for _, terms in drawn(objective, x, first_id, seed=seed, draws=draws, proposal=proposal):
        for total, term in zip(sums, terms, strict=True):
            total += term
    return Terms(*(total / draws for total in sums))
