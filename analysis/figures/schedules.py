"""The schedule and the volatility of a process over t, and in grey what their training began with. Of a run."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from analysis.picture import COLOURS, PALE, Picture, canvas, styled
from analysis.run import Run
from ndm.build import build_objective
from ndm.processes.ndm import NDM

NAME = "schedules"
LABELS = ("α, σ", "log SNR = ln(α²/σ²)", "η = g² / (σ² γ')", "g², per unit of t")


class Curves(NamedTuple):
    """At K times, each [K, D] or, where all dimensions share it, [K, 1]."""

    alpha: Tensor
    sigma: Tensor
    log_snr: Tensor
    eta: Tensor
    squared_volatility: Tensor


@styled
def draw(run: Run, *, steps: int = 200) -> Picture | None:
    """At steps + 1 equally spaced times."""
    t, shape = torch.linspace(0, 1, steps + 1), run.model.shape
    fresh = build_objective(run.experiment, shape, run.model.levels).model.process
    start, end = curves(fresh.to(run.device), t, shape), curves(run.model.process, t, shape)
    figure, axes = canvas(1, 4, size=(2.7, 2.6))
    panels = ((0, "alpha", "α", 0), (0, "sigma", "σ", 1), (1, "log_snr", None, 0), (2, "eta", None, 0))
    for place, field, label, colour in (*panels, (3, "squared_volatility", None, 0)):
        before, after = getattr(start, field), getattr(end, field)
        if not torch.equal(before, after):
            _curve(axes[0, place], t, before, PALE, "-", None)
        _curve(axes[0, place], t, after, COLOURS[colour], ("-", "--")[colour], label)
    for axis, label in zip(axes[0], LABELS, strict=True):
        axis.set(xlabel="t", ylabel=label)
    for axis in axes[0, 2:]:
        axis.set_ylim(bottom=0)
    axes[0, 0].legend()
    experiment = run.experiment
    said = [
        f"The process of {run.name} at {steps + 1} times from the data, t = 0, to the noise, t = 1; {run.weights}. "
        "γ = −log SNR; the volatility g is that of the reverse SDE, η = 1 is that of DDPM and VDM.",
        _moved("schedule", experiment.schedule.kind, *((c.alpha, c.sigma, c.log_snr) for c in (start, end))),
        _moved("volatility", experiment.volatility.kind, (start.eta,), (end.eta,)),
    ]
    if any(values.shape[1] > 1 for values in end):
        said.append("Lines are means over the dimensions, bands reach from the least of them to the greatest.")
    return Picture(NAME, figure, " ".join(said))


@torch.no_grad()
def curves(process: NDM, t: Tensor, shape: tuple[int, ...]) -> Curves:
    """Those of a process for data of that shape at times [K]."""
    at = t.to(next(process.parameters(), t).device)
    value = process.at(at, at.new_zeros(len(at), *shape))
    eta = process.eta(at, value)
    found = (value.alpha, value.sigma, -value.gamma, eta, process.squared_volatility(value, eta))
    return Curves(*(values.flatten(1).cpu() for values in found))


def _curve(axis: Any, t: Tensor, values: Tensor, colour: str, line: str, label: str | None) -> None:
    axis.plot(t, values.mean(1), color=colour, linestyle=line, linewidth=1.5, label=label)
    if values.shape[1] > 1:
        axis.fill_between(t, values.amin(1), values.amax(1), color=colour, alpha=0.25, linewidth=0)


def _moved(what: str, kind: str, before: tuple[Tensor, ...], after: tuple[Tensor, ...]) -> str:
    same = all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    return f"The {what} (kind {kind}) {'is what it was before training' if same else 'was learned; grey: its start'}."
