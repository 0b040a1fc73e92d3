"""Two-dimensional data on their way: F(x, t), the latents, what the model sees in them, its paths. Of a run."""

from typing import Any

import torch
from torch import Tensor

from analysis.paths import follow
from analysis.picture import INK, PALE, Picture, canvas, styled
from analysis.run import Run
from ndm.heads import DataHead, DriftHead
from ndm.model import Model
from ndm.randomness import Stream
from ndm.training import numerics

NAME = "fields"
SIDE, LINES, POINTS = 3.0, 13, 61
"""Half the side of the mesh that F bends, its lines in each direction, and the points of a line."""
ESTIMATE = {True: "x̂(z, t)", False: "F̂(z, t)"}
"""What a head estimates that is none of the drift: the data, or F."""


@styled
def draw(
    run: Run, *, count: int = 400, paths: int = 60, columns: int = 6, steps: int = 20, seed: int = 0
) -> Picture | None:
    """`columns` times from 0 to 1, of the paths `steps` of the solver between two; None where data are not in 2-D."""
    if run.model.shape != (2,):
        return None
    model, x = run.model.objective.model, run.encoded("test", 0, count)
    epsilon = Stream(seed, "figure/epsilon").normal(0, len(x), (2,)).to(x)
    z_1 = Stream(seed, "figure/z_1").normal(0, paths, (2,)).to(x)
    times = torch.linspace(0, 1, columns).to(x)
    has_ode = not isinstance(model.head, DriftHead)
    with torch.no_grad(), numerics.exact():
        rows = clouds(model, x, epsilon, times)
        meshes = [model.process.transform(m, t.expand(len(m))) for t in times for m in [mesh().to(x).flatten(0, 1)]]
        ways = follow(model.velocity, z_1, steps * (columns - 1)).z.cpu() if has_ode else None
    figure, axes = canvas(len(rows) + has_ode, columns, size=(1.75, 1.75), sharex=True, sharey=True)
    for row, (label, points) in enumerate(rows.items()):
        axes[row, 0].set_ylabel(label)
        for axis, cloud in zip(axes[row], points.cpu(), strict=True):
            axis.scatter(*cloud.T, c=x[:, 0].cpu(), cmap="viridis", s=4, linewidths=0, zorder=2)
    for axis, bent in zip(axes[0], meshes, strict=True):
        axis.plot(*bent.cpu().reshape(2 * LINES, POINTS, 2).permute(2, 1, 0), color=PALE, linewidth=0.4, zorder=1)
    if ways is not None:
        axes[-1, 0].set_ylabel("paths of the ODE")
        for column, axis in enumerate(axes[-1]):
            _trails(axis, ways[column * steps :])
    reach = 1.1 * max(SIDE, float(x.abs().max()))
    for axis, t in zip(axes[0], times, strict=True):
        axis.set_title(f"t = {t:.2g}")
        axis.set(xlim=(-reach, reach), ylim=(-reach, reach))
    for axis in axes.flat:
        axis.set_aspect("equal")
        axis.tick_params(labelsize=7)
    said = [
        f"The first {len(x)} test points x of {run.manifest.name}, coloured by their first coordinate, at {columns} "
        "times; both axes are in units of the data. From the top: F(x, t), over the image of a square mesh under F; "
        "latents z = α F(x, t) + σ ε."
    ]
    if ways is None:
        said += ["The model estimates a drift, so there is neither an estimate of the data nor an ODE."]
    else:
        said += [
            f"Then the model's estimate {ESTIMATE[isinstance(model.head, DataHead)]} from these latents, and {paths} "
            "other latents, drawn at t = 1 and carried down to each t by its probability-flow ODE (classical "
            f"Runge-Kutta, {steps * (columns - 1)} steps): dots are where they are, lines where they came from."
        ]
    caption = " ".join([*said, f"Noise of seed {seed}. {run.name}, {run.weights}."])
    return Picture(NAME, figure, caption)


def clouds(model: Model, x: Tensor, epsilon: Tensor, times: Tensor) -> dict[str, Tensor]:
    """By label, of points x: [N, 2] at every time: F, z_t at that noise, and the estimate from it, each [T, N, 2]."""
    found: dict[str, list[Tensor]] = {}
    for t in times:
        at = t.expand(len(x))
        f = model.process.transform(x, at)
        z = model.process.latent(f, model.process.at(at, x), epsilon)
        shown = {"F(x, t)": f, "latents z": z}
        if isinstance(model.head, DataHead):
            shown[ESTIMATE[True]] = model.x_hat(z, at)
        elif not isinstance(model.head, DriftHead):
            shown[ESTIMATE[False]] = model.dual(z, at)[0]
        for label, points in shown.items():
            found.setdefault(label, []).append(points)
    return {label: torch.stack(points) for label, points in found.items()}


def mesh() -> Tensor:
    """The lines of a square mesh, upright ones first: [2 LINES, POINTS, 2]."""
    across, along = torch.linspace(-SIDE, SIDE, LINES), torch.linspace(-SIDE, SIDE, POINTS)
    upright = torch.stack(torch.meshgrid(across, along, indexing="ij"), -1)
    return torch.cat([upright, upright.flip(-1)])


def _trails(axis: Any, way: Tensor) -> None:
    """Paths [K, N, 2], of which the first point is the latest."""
    axis.plot(way[:, :, 0], way[:, :, 1], color=PALE, linewidth=0.6, zorder=1)
    axis.scatter(*way[0].T, s=5, color=INK, linewidths=0, zorder=2)
