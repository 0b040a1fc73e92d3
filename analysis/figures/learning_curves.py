"""Bits/dim on the train and the validation split against examples, or against compute. For runs: OF_RUNS."""

from collections.abc import Sequence

from matplotlib.ticker import EngFormatter

from analysis.picture import Picture, canvas, look, styled
from analysis.run import Run, of_one_data
from analysis.seeds import Repeated, band, repeated

METRICS = {"train/bits_per_dim": "train", "validation/bits_per_dim": "validation"}
WARM = 0.1
"""Share of a training whose values may lie above the picture: a model at its start is worse by orders of magnitude."""


@styled
def draw(runs: Sequence[Run], *, compute: bool = False) -> Picture | None:
    """A line for each experiment; runs that differ in nothing but `seed` are one, with a band from least to most.

    With `compute` the axis is of the FLOPs that the steps took, which makes transforms of another cost comparable.

    Raises:
        UserError: the runs are on different data.
    """
    if not any(metric in run.curves for run in runs for metric in METRICS):
        return None
    manifest, groups = of_one_data(runs), repeated(runs)
    figure, axes = canvas(1, len(METRICS), sharex=True, sharey=True)
    tops: list[float] = []
    for axis, (metric, split) in zip(axes[0], METRICS.items(), strict=True):
        for i, group in enumerate(groups):
            if (found := band(group.runs, metric)) is None:
                continue
            x = found.examples.double() * (group.runs[0].cost.step_flops if compute else 1)
            marks = {"ms": 5, "mfc": "none", "markevery": (i, max(1, len(x) // 8))}
            axis.plot(x, found.mean, lw=1.4, label=group.label, **look(i), **marks)
            if len(group.runs) > 1:
                axis.fill_between(x, found.low, found.high, color=look(i)["color"], alpha=0.2, linewidth=0)
            tops.append(float(found.high[found.examples >= WARM * found.examples[-1]].max()))
        axis.set_xlabel("training compute, FLOP" if compute else "examples seen")
        axis.set_title(split)
        axis.xaxis.set_major_formatter(EngFormatter(sep=""))
        axis.margins(x=0.02)
    low, _ = axes[0, 0].get_ylim()
    axes[0, 0].set_ylim(low, max(tops) + 0.05 * (max(tops) - low))
    axes[0, 0].set_ylabel("bound, bits/dim")
    axes[0, 0].legend(fontsize=8, loc="upper right")
    name = "learning-curves" + ("-by-compute" if compute else "")
    return Picture(name, figure, f"{_caption(groups, compute)} Data: {manifest.name} {manifest.version}.")


def _caption(groups: Sequence[Repeated], compute: bool) -> str:
    monitor = groups[0].runs[0].experiment.monitor
    several = [group for group in groups if len(group.runs) > 1]
    said = [
        "The bound that each run trains on, over the training.",
        "Left: with the weights of each step and one draw an example, averaged since the record before.",
        f"Right: with the averaged weights, on the first images of the validation split (at most "
        f"{monitor.validation_images}), {monitor.validation_draws} draws an image, a run's own at every record.",
    ]
    bounds = {_bound(group) for group in groups}
    if len(bounds) > 1:
        said.append(
            "The bounds are of different processes: " + "; ".join(f"{g.label}: {_bound(g)}" for g in groups) + "."
        )
    if several:
        told = "; ".join(f"{g.label}: {', '.join(str(run.experiment.seed) for run in g.runs)}" for g in several)
        said.append(f"Lines are means over seeds and bands reach from the least to the most of them ({told}).")
    if compute:
        said.append(
            "Compute is the FLOPs of matrix products and convolutions in a step, counted on the model, forward and "
            "backward, times the examples seen."
        )
    return " ".join(said)


def _bound(group: Repeated) -> str:
    objective = group.runs[0].experiment.objective
    steps = getattr(objective, "steps", None)
    return f"{steps} steps" if steps else "continuous time"
