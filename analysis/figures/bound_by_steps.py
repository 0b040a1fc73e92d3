"""The bound against the number of steps T up to continuous time, with the same weights. For runs: OF_RUNS.

The baseline is first. Its panel of differences is of the same images, times and noise, so its errors are paired.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from analysis.picture import PALE, Picture, canvas, look, styled
from analysis.run import Run, labels, of_one_data, weights_of
from ndm.heads import DriftHead
from ndm.likelihood.statistics import Mean, mean, paired

STEPS = (5, 10, 20, 50, 100, 200, 500, 1000)
SPLIT = "test"


def estimators(steps: Sequence[int], draws: int) -> list[str]:
    """Names for each T, every step once where there are at most `draws`, and for continuous time."""
    return [f"elbo_T{T}" if draws >= T else f"elbo_T{T}_k{draws}" for T in steps] + [f"elbo_cont_k{draws}"]


def bounds(run: Run, *, images: int, draws: int, steps: Sequence[int], seed: int) -> Tensor:
    """Bits per dimension of the first test images for each of `estimators`, [len(steps) + 1, images] float64."""
    raw = run.rows(SPLIT, 0, images)
    names = estimators(steps, draws)
    return torch.stack([run.model.likelihood(raw, name, seed=seed).bits_per_dim.cpu() for name in names])


@styled
def draw(
    runs: Sequence[Run], *, images: int = 64, draws: int = 64, steps: Sequence[int] = STEPS, seed: int = 1
) -> Picture | None:
    """Bits/dim by T, what they are above continuous time, and with several runs what they are above the first run.

    None for a run whose head estimates a drift: it has no discrete bound.

    Raises:
        UserError: the runs are on different data, or one has no weights.
    """
    manifest = of_one_data(runs)
    fit = [run for run in runs if not isinstance(run.model.objective.model.head, DriftHead)]
    if not fit:
        return None
    found = [bounds(run, images=images, draws=draws, steps=steps, seed=seed) for run in fit]
    names = labels(fit)
    figure, axes = canvas(1, 2 + (len(fit) > 1), size=(4.2, 3.4))
    levels, excess = axes[0, :2]
    for i, (run, name, bits) in enumerate(zip(fit, names, found, strict=True)):
        own = run.model.objective.steps
        _line(levels, i, len(fit), [mean(b) for b in bits], steps, label=name, own=own)
        _line(excess, i, len(fit), [paired(b, bits[-1]) for b in bits[:-1]], steps, label=name, own=own)
        if i:
            over = [paired(b, base) for b, base in zip(bits, found[0], strict=True)]
            _line(axes[0, 2], i, len(fit), over, steps, label=name, own=own)
    excesses = torch.stack([bits[:-1] - bits[-1] for bits in found]).mean(2)
    _guide(excess, steps, excesses)
    levels.set_ylabel("bound, bits/dim")
    excess.set_ylabel("above continuous time, bits/dim")
    levels.legend(fontsize=8, loc="upper right")
    if len(fit) > 1:
        axes[0, 2].axhline(0, color=PALE, lw=1, zorder=0)
        axes[0, 2].set_ylabel(f"above {names[0]}, bits/dim")
    for axis in axes[0]:
        axis.set_xlabel("steps T")
    shown = min(images, manifest.rows(SPLIT))
    left_out = [run.name for run in runs if run not in fit]
    return Picture("bound-by-steps", figure, _caption(fit, steps, draws, shown, seed, left_out))


def _line(axis: Any, i: int, of: int, means: Sequence[Mean], steps: Sequence[int], *, label: str, own: Any) -> None:
    """Means with bars of one standard error; beside T there is continuous time, if it is among them."""
    ends = [*steps, steps[-1] * 3][: len(means)]
    aside = [at * 1.04 ** (i - (of - 1) / 2) for at in ends]  # so that bars do not hide each other
    values, errors = [m.value for m in means], [m.error for m in means]
    style = {**look(i), "ms": 4, "lw": 1.2, "capsize": 2, "label": label}
    axis.set_xscale("log")
    axis.errorbar(aside, values, errors, **style)
    trained = [*steps, None].index(own) if own in (*steps, None) else None
    if trained is not None and trained < len(values):
        axis.plot(aside[trained], values[trained], "o", ms=10, mfc="none", mec=look(i)["color"])
    marks = [str(T) for T in steps] + ["∞"]
    axis.set_xticks(ends, marks[: len(ends)], fontsize=8)
    axis.minorticks_off()


def _guide(axis: Any, steps: Sequence[int], excesses: Tensor) -> None:
    """A logarithmic scale with the slope of 1/T, if all that is drawn is above zero."""
    if (excesses <= 0).any():
        axis.axhline(0, color=PALE, lw=1, zorder=0)
        return
    axis.set_yscale("log")
    axis.minorticks_off()
    level = float(excesses[:, -1].mean()) * steps[-1]
    axis.plot(steps, [level / T for T in steps], color=PALE, lw=1, ls="--", zorder=0, label="1/T")
    axis.legend(fontsize=8, loc="upper right")


def _caption(runs: Sequence[Run], steps: Sequence[int], draws: int, images: int, seed: int, left_out: list[str]) -> str:
    said = [
        "The variational bound of the same averaged weights as a process of T steps, and in continuous time (∞).",
        f"The first {images} test images, noise of seed {seed}: every step once up to T = {draws}, {draws} stratified "
        f"draws an image beyond ({estimators(steps, draws)[-1]} in continuous time).",
        "Bars are one standard error over the images, on the left of the bits/dim themselves, else of the differences "
        "on the same images and noise.",
        "A ring is the process that the run was trained as.",
        weights_of(runs),
    ]
    if left_out:
        said.append(f"Without {', '.join(left_out)}: a head that estimates a drift has no discrete bound.")
    return " ".join(said)
