"""Where on the way from data to noise the bound loses its bits: the diffusion term's density. Of runs.

In continuous time it is the integrand of the bound, in discrete time the steps' own terms, each spread over its step.
The times are cut into equal pieces; the density over log SNR = -gamma of a piece is its share of the diffusion term
over its length on that axis, so that the area under either curve is the diffusion term.
"""

from collections.abc import Sequence
from math import ceil
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from analysis.picture import Picture, canvas, look, styled
from analysis.run import Run, labels, of_one_data, weights_of
from ndm.likelihood.elbo import drawn
from ndm.likelihood.statistics import bits_per_dim, mean
from ndm.training import numerics

NAME = "loss-by-log-snr"


TO_THE_FIRST = (
    "On the right what has been lost down to a log SNR, less what the first run has lost, example by example, each "
    "piece taken as even within. "
)


class Density(NamedTuple):
    """The diffusion term of N examples, cut at K + 1 times."""

    t: Tensor
    """[K + 1]."""
    log_snr: Tensor
    """There, averaged over the dimensions where each has its own, [K + 1]."""
    bits: Tensor
    """Bits per dimension that each piece adds to the bound of each example, [K, N] float64."""


@styled
def draw(runs: Sequence[Run], *, count: int = 128, steps: int = 32, seed: int = 0) -> Picture | None:
    """Of the first `count` test examples, in `steps` pieces, or as many as a discrete bound with fewer steps has.

    Raises:
        UserError: the runs are on different data.
    """
    of_one_data(runs)
    with numerics.exact():
        found = [density(run, count, steps, seed) for run in runs]
    figure, axes = canvas(1, 2 + (len(runs) > 1), size=(3.9, 3.2))
    said: list[str] = []
    for place, (run, label, each) in enumerate(zip(runs, labels(runs), found, strict=True)):
        style, whole = look(place), mean(each.bits.sum(0))
        said.append(f"{label} {whole.value:.4f} ± {whole.error:.4f} ({_pieces(run, each)})")
        for axis, edges in ((axes[0, 0], each.t), (axes[0, 1], each.log_snr)):
            height = each.bits / edges.diff().abs()[:, None]
            middle, error = np.array([mean(values) for values in height]).T
            axis.stairs(middle, edges, color=style["color"], linewidth=1)
            axis.stairs(middle + error, edges, baseline=middle - error, fill=True, color=style["color"], alpha=0.25)
            centre = (edges[1:] + edges[:-1]) / 2
            axis.plot(centre, middle, **style, markersize=3, linestyle="none", label=label)
        if place:
            at, gaps = ahead(each, found[0])
            middle, error = np.array([mean(values) for values in gaps]).T
            axes[0, 2].plot(at, middle, **style, markersize=3, markevery=4, linewidth=1)
            axes[0, 2].fill_between(at, middle - error, middle + error, color=style["color"], alpha=0.25, linewidth=0)
    axes[0, 0].set(xlabel="t, from the data to the noise", ylabel="bits/dim per unit of t")
    axes[0, 1].set(xlabel="log SNR, from the data to the noise", ylabel="bits/dim per nat of log SNR")
    for axis in axes[0, :2]:
        axis.set_ylim(bottom=0)
    for axis in axes[0, 1:]:
        axis.invert_xaxis()
    if len(runs) > 1:
        axes[0, 2].axhline(0, color=look(0)["color"], linewidth=1)
        axes[0, 2].set(xlabel="log SNR, from the data to the noise", ylabel="bits/dim lost so far, less the first")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=min(4, len(runs)))
    caption = (
        "Where between data and noise the diffusion term of the bound is lost, over t and over log SNR = ln(α²/σ²). "
        "The area under each curve, on either axis, is the diffusion term: in bits/dim "
        f"{', '.join(said)}. {TO_THE_FIRST if len(runs) > 1 else ''}Mean over the first {found[0].bits.shape[1]} test "
        f"examples of {runs[0].manifest.name}, bands and ± one standard error over them; the noise of an example is "
        f"that of ndm evaluate at seed {seed}, the same for all runs. {weights_of(runs)}"
    )
    return Picture(NAME, figure, caption)


def density(run: Run, count: int, steps: int, seed: int) -> Density:
    """From the draws of `ndm.likelihood.elbo`, stratified in t: the sum over the pieces is its diffusion term."""
    objective, x = run.model.objective, run.encoded("test", 0, count)
    pieces = min(steps, objective.steps or steps)
    draws = pieces * ceil(steps / pieces)
    bits = torch.zeros(pieces, len(x), dtype=torch.float64)
    for j, (_, terms) in enumerate(drawn(objective, x, 0, seed=seed, draws=draws)):
        bits[j * pieces // draws] += bits_per_dim(terms.diffusion.double().cpu(), x[0].numel()) / draws
    t = torch.linspace(0, 1, pieces + 1)
    with torch.no_grad():
        gamma = run.model.process.at(t.to(x), x).gamma.flatten(1).mean(1).double().cpu()
    return Density(t.double(), -gamma, bits)


def ahead(density: Density, baseline: Density) -> tuple[Tensor, Tensor]:
    """(log SNR [M], what each example has lost from the data down to there, less what the baseline has [M, N])."""
    at = torch.cat([density.log_snr, baseline.log_snr]).unique()
    lost = [
        torch.from_numpy(
            np.stack([np.interp(at, each.log_snr.flip(0), so_far.flip(0)) for so_far in _lost(each).T], axis=1)
        )
        for each in (density, baseline)
    ]
    return at, lost[0] - lost[1]


def _lost(density: Density) -> Tensor:
    """Bits/dim of each example from the data up to each cut: [K + 1, N]."""
    return torch.cat([torch.zeros_like(density.bits[:1]), density.bits.cumsum(0)])


def _pieces(run: Run, found: Density) -> str:
    steps, pieces = run.model.objective.steps, len(found.bits)
    if steps is None:
        return f"continuous, {pieces} times an example"
    return f"{steps} steps" if steps == pieces else f"{steps} steps, {pieces} of them drawn an example"
