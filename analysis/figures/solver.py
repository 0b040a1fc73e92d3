"""The ODE likelihood's solver: its own estimate of its error against the true error, and its cost. For a run: OF_RUN.

The estimate is the one that `ndm evaluate` reports: nats at a tolerance less nats at a hundredth of it, same noise. The
true error is against a solution in float64 at a far smaller tolerance, so that it has the rounding of the field, too.
"""

import copy
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from analysis.picture import COLOURS, INK, MARKERS, PALE, Picture, canvas, styled
from analysis.run import Run
from ndm.heads import DriftHead
from ndm.likelihood.estimators import Ode, estimator
from ndm.likelihood.importance import ode_nats
from ndm.likelihood.statistics import bits_per_dim, mean
from ndm.model import Model
from ndm.training import numerics

TOLERANCES = (1e-2, 1e-3, 1e-4, 1e-5)
TIGHTER = 100
"""By which a tolerance is divided for the estimate."""
EXACT = 1e-8
"""The tolerance in float64 of what is taken for the truth."""
SPLIT = "test"


class Calibration(NamedTuple):
    """Of N images at T tolerances, nats per image; float64."""

    reported: Tensor
    """The solver's own estimate of its error, [T, N]."""
    true: Tensor
    """Its error against the solution in float64, [T, N]."""
    evaluations: Tensor
    """Of the field, [T, N]."""
    nats: Tensor
    """-ln p by the solution in float64, [N]."""


def calibration(run: Run, *, images: int, tolerances: Sequence[float], exact: float, seed: int) -> Calibration:
    """Of the test images 1 .. `images`, by the estimator `ode`; `exact` is the tolerance in float64.

    Image 0 is left out: whoever asks `ode_nats` for it has it solved twice.
    """
    objective = run.model.objective
    asked = estimator("ode", objective, draws=1, tolerance=1.0)
    assert isinstance(asked, Ode)
    x = run.encoded(SPLIT, 1, images + 1)

    def solved(model: Model, x: Tensor, tolerance: float) -> tuple[Tensor, Tensor]:
        settings = asked.settings.model_copy(update={"tolerance": tolerance, "check": len(x) + 1})
        with numerics.exact():
            found = ode_nats(model, x, 1, seed=seed, settings=settings)
        return found.nats.cpu(), found.evaluations.cpu()

    tight, _ = solved(copy.deepcopy(objective.model).double(), x.double(), exact)
    wanted = {tolerance / by for tolerance in tolerances for by in (1, TIGHTER)}
    by_tolerance = {f"{tolerance:.3g}": solved(objective.model, x, tolerance) for tolerance in sorted(wanted)}
    rows = [(by_tolerance[f"{t:.3g}"], by_tolerance[f"{t / TIGHTER:.3g}"][0]) for t in tolerances]
    return Calibration(
        torch.stack([nats - tighter for (nats, _), tighter in rows]),
        torch.stack([nats - tight for (nats, _), _ in rows]),
        torch.stack([evaluations for (_, evaluations), _ in rows]),
        tight,
    )


@styled
def draw(
    run: Run, *, images: int = 6, tolerances: Sequence[float] = TOLERANCES, exact: float = EXACT, seed: int = 1
) -> Picture | None:
    """Left: reported against true error, a mark an image. Middle: both by tolerance. Right: evaluations by tolerance.

    None for a head that estimates a drift, which has no ODE.
    """
    if isinstance(run.model.objective.model.head, DriftHead):
        return None
    found = calibration(run, images=images, tolerances=tolerances, exact=exact, seed=seed)
    dimensions = run.manifest.dimensions
    reported, true = (bits_per_dim(part.abs(), dimensions) for part in (found.reported, found.true))
    figure, axes = canvas(1, 3, size=(4.0, 3.4))
    each, errors, cost = axes[0]
    for i, tolerance in enumerate(tolerances):
        each.loglog(
            true[i], reported[i], ls="", color=COLOURS[i % 7], marker=MARKERS[i % 7], ms=5, label=f"{tolerance:g}"
        )
    ends = [float(torch.cat([true, reported]).min()) / 2, float(torch.cat([true, reported]).max()) * 2]
    each.plot(ends, ends, color=PALE, lw=1, zorder=0)
    each.set(xlabel="true error, bits/dim", ylabel="reported error, bits/dim", xlim=ends, ylim=ends, aspect="equal")
    each.legend(title="tolerance", fontsize=8, loc="upper left")
    spread = mean(bits_per_dim(found.nats, dimensions)).error
    _by_tolerance(errors, tolerances, true, 0, "true", ms=9, mfc="none")
    _by_tolerance(errors, tolerances, reported, 1, "reported", ms=4, ls="--")
    errors.axhline(spread, color=INK, lw=1, ls=":", label=f"standard error of these {len(found.nats)} images")
    errors.set(yscale="log", xlabel="tolerance", ylabel="mean absolute error, bits/dim")
    errors.legend(fontsize=8, loc="lower right")
    _by_tolerance(cost, tolerances, found.evaluations, 2, "", ms=5)
    cost.set(xlabel="tolerance", ylabel="evaluations of the field an image")
    cost.set_ylim(bottom=0)
    return Picture("solver-calibration", figure, _caption(run, found, reported, true, tolerances, exact, seed))


def _by_tolerance(axis: Any, tolerances: Sequence[float], values: Tensor, i: int, label: str, **style: Any) -> None:
    """The mean over images, and each image as a pale dot."""
    axis.semilogx(tolerances, values.mean(1), color=COLOURS[i], marker=MARKERS[i], lw=1.2, label=label, **style)
    for tolerance, row in zip(tolerances, values, strict=True):
        axis.plot([tolerance] * len(row), row, ls="", color=COLOURS[i], marker=".", ms=3, alpha=0.4)


def _caption(
    run: Run, found: Calibration, reported: Tensor, true: Tensor, tolerances: Sequence[float], exact: float, seed: int
) -> str:
    asked = estimator("ode", run.model.objective, draws=1, tolerance=1.0).name
    told = ", ".join(
        f"{float(r.mean() / t.mean()):.2f} at {tolerance:g}"
        for r, t, tolerance in zip(reported, true, tolerances, strict=True)
    )
    return (
        f"The solver of the ODE likelihood ({asked}) on the test images 1 to {len(found.nats)} of {run.name}, noise of "
        f"seed {seed}, {run.weights}. Reported error: nats at a tolerance less nats at a hundredth of it, as ndm "
        f"evaluate records it. True error: against float64 at tolerance {exact:g}, same noise. Left: a mark an image; "
        f"on the line the two are equal. Mean reported over mean true error: {told}. Other lines are means over the "
        "images, small dots are images."
    )
