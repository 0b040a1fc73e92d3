"""How straight the paths of the probability-flow ODE are, and how far they lead. Of runs, the baseline first."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from analysis.paths import Paths, Shape, deviation, follow, ratio, shape
from analysis.picture import Picture, canvas, look, styled
from analysis.run import Run, labels, of_one_data, weights_of
from ndm.heads import DriftHead
from ndm.likelihood.statistics import mean, paired
from ndm.randomness import Stream
from ndm.training import numerics

NAME = "straightness"
LABELS = ("cost, E |c|² / D", "straightness S (0: straight)", "length / chord (1: straight)")
TITLES = ("How far?", "How straight, at what speed?", "How straight?")


class Course(NamedTuple):
    """The paths of one run."""

    label: str
    fine: Paths
    shape: Shape
    moved: Tensor
    """By how much each of the three means moves with half the steps, [3]."""


@styled
def draw(runs: Sequence[Run], *, count: int = 64, steps: int = 24, seed: int = 0) -> Picture | None:
    """From `count` latents at t = 1, the same for all runs, in `steps` steps, a multiple of 4.

    None where every model estimates a drift alone, which has no ODE.

    Raises:
        UserError: the runs are on different data.
    """
    of_one_data(runs)
    having = [run for run in runs if not isinstance(run.model.objective.model.head, DriftHead)]
    if not having:
        return None
    found = [course(run, label, count, steps, seed) for run, label in zip(having, labels(having), strict=True)]
    figure, axes = canvas(1, 4, size=(2.9, 2.4 + 0.2 * len(found)))
    for place, each in enumerate(found):
        style = look(place)
        chord = (each.fine.z[-1] - each.fine.z[0]).flatten(1).square().sum(1)
        points = [mean(values) for values in ratio(deviation(each.fine), chord)]
        middle, error = (torch.tensor(values) for values in zip(*points, strict=True))
        axes[0, 0].plot(each.fine.t, middle, **style, markersize=3, linewidth=1.2, label=each.label)
        axes[0, 0].fill_between(
            each.fine.t, middle - error, middle + error, color=style["color"], alpha=0.2, linewidth=0
        )
        for axis, values in zip(axes[0, 1:], each.shape, strict=True):
            value = mean(values)
            axis.errorbar(value.value, place, xerr=value.error, **style, markersize=5, capsize=3)
            words = f"{value.value:.3f} ± {value.error:.3f}"
            axis.annotate(words, (value.value, place), (0, 6), textcoords="offset points", ha="center", fontsize=8)
    axes[0, 0].set(xlabel="t", ylabel="|dz/dt − c|² / E |c|²", title="Off course over time")
    axes[0, 0].set_ylim(bottom=0)
    for axis, label, title in zip(axes[0, 1:], LABELS, TITLES, strict=True):
        axis.set(xlabel=label, title=title, yticks=[], ylim=(len(found) - 0.4, -0.7))
        axis.spines["left"].set_visible(False)
        axis.margins(x=0.3)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=min(4, len(found)))
    said = _caption(found, count, steps, seed)
    if without := len(runs) - len(having):
        said.append(f"{without} of the runs are left out: their models estimate a drift alone, which has no ODE.")
    return Picture(NAME, figure, " ".join([*said, weights_of(having)]))


def course(run: Run, label: str, count: int, steps: int, seed: int) -> Course:
    """The paths of the run's model, and what they are like; the cost is per dimension."""
    model = run.model.objective.model
    z_1 = Stream(seed, "figure/z_1").normal(0, count, model.shape).to(run.device)
    with numerics.exact():
        fine, coarse = (
            Paths(*(values.cpu() for values in follow(model.velocity, z_1, n))) for n in (steps, steps // 2)
        )
    size = z_1[0].numel()
    exact, rough = (made._replace(cost=made.cost / size) for made in (shape(fine), shape(coarse)))
    moved = (torch.stack(exact).mean(1) - torch.stack(rough).mean(1)).abs()
    return Course(label, fine, exact, moved)


def _caption(found: list[Course], count: int, steps: int, seed: int) -> list[str]:
    moved = torch.stack([each.moved for each in found]).amax(0)
    said = [
        f"The probability-flow ODE from the same {count} latents at t = 1 (seed {seed}) to t = 0; c = z₁ − z₀ is the "
        "chord of a path, |.| the Euclidean norm. Off course: the mean of |dz/dt − c|² over that of |c|², whose area "
        "is S = E ∫|dz/dt − c|² dt / E |c|²; it is 0 only for straight paths at constant speed, so it depends on the "
        "schedule as well. E ∫|dz/dt| dt / E |c|, the length of a path over its chord, does not, and is 1 for straight "
        "paths. The cost is in squared units of the data per dimension. Bands and bars: one standard error over the "
        f"paths. Classical Runge-Kutta in {steps} equal steps and Simpson's rule; with half the steps no mean moves "
        f"by more than {moved[0]:.1g} (cost), {moved[1]:.1g} (S), {moved[2]:.1g} (length)."
    ]
    first = found[0]
    for other in found[1:]:
        gaps = [paired(a, b) for a, b in zip(other.shape, first.shape, strict=True)]
        words = ", ".join(
            f"{key} {gap.value:+.4f} ± {gap.error:.4f}" for key, gap in zip(("cost", "S", "length"), gaps, strict=True)
        )
        said.append(f"{other.label} less {first.label}, path by path: {words}.")
    return said
