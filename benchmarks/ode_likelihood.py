"""ln p(z_0) by the probability-flow ODE: CPU time at equal error, against score_sde's way and flow_matching's solver.

Every method solves the same images from the same latents with the same Rademacher probes, in float32, at several
tolerances. Its error is measured against a float64 solve by SciPy's DOP853 at 1e-9, of which nothing is shared with
`ndm`. Times are process CPU times of one thread, medians over interleaved rounds. "At equal error" means: the time of
each method, its logarithm interpolated over that of its mean error, at the error of score_sde's way at 1e-5.

    python benchmarks/ode_likelihood.py
"""

import copy
import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from ndm import presets
from ndm.build import build_objective, build_state
from ndm.config import Experiment
from ndm.likelihood import divergence
from ndm.likelihood.dequantise import dequantise
from ndm.likelihood.ode import log_density, standard_normal
from ndm.model import Model
from ndm.randomness import Stream
from ndm.training.step import Slots, noise, step

RESULTS = Path(__file__).parent / "results" / "ode_likelihood.md"
ROUNDS, BATCH, EXAMPLES = 3, 128, 25_600
SEED = 0


class Case(NamedTuple):
    name: str
    model: Model
    z: Tensor
    """Latents z_0, [B, *shape], float64."""
    probes: Tensor
    """The signs that flow_matching draws itself after `torch.manual_seed(SEED)`, [1, B, *shape]."""


def case(name: str, model: Model, x: Tensor) -> Case:
    u = Stream(SEED, "ode/dequantise", 0).uniform(0, len(x), tuple(x.shape[1:]))
    torch.manual_seed(SEED)
    probes = torch.where(torch.randn_like(x) < 0, 1.0, -1.0)
    return Case(name, model.eval(), dequantise(model, x, "tn", u).z, probes[None])


def digits(experiment: Experiment, split: str) -> Tensor:
    """The images of a split, [N, 1, 8, 8]."""
    opened = experiment.data.open()
    (part,) = opened.parts
    return torch.from_numpy(part.read().raw[opened.splits[split]])


def trained(images: int) -> Case:
    """The demo's model, trained on EXAMPLES digits."""
    experiment = presets.load("digits-ndm")
    objective = build_objective(experiment, experiment.data.shape, experiment.data.levels)
    state, raw = build_state(experiment, objective), digits(experiment, "train")
    generator = torch.Generator().manual_seed(SEED)
    for i in range(EXAMPLES // BATCH):
        x = objective.model.decoder.encode(raw[torch.randint(len(raw), (BATCH,), generator=generator)])
        for group in state.optimizer.param_groups:
            group["lr"] = experiment.optimizer.rate((i + 1) * BATCH, EXAMPLES)
        slots = Slots(i * BATCH, BATCH, 0, BATCH)
        step(objective, state, x, noise(SEED, slots, experiment.data.shape), clip=experiment.optimizer.clip)
        state.ema.update(objective, i + 1)
    model = state.ema.objective.model
    x = model.decoder.encode(digits(experiment, "test")[:images])
    return case(f"digits 8x8, trained on {EXAMPLES} examples, {images} images", model, x)


def random(images: int) -> Case:
    """Digits enlarged to 3x16x16 under a larger U-Net whose weights are all moved off their start."""
    experiment = presets.load("digits-ndm", ["network.channels=48", "network.blocks=2"])
    model = build_objective(experiment, (3, 16, 16), experiment.data.levels).model
    generator = torch.Generator().manual_seed(SEED)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.01 * torch.randn(parameter.shape, generator=generator)
    raw = digits(experiment, "test")[:images]
    x = model.decoder.encode(raw).repeat_interleave(2, 2).repeat_interleave(2, 3).repeat(1, 3, 1, 1)
    return case(f"random weights, 3x16x16, U-Net of 48 and 96 channels, {images} images", model, x)


class Found(NamedTuple):
    log_density: Tensor
    """[B], float64."""
    evaluations: float
    """Evaluations of velocity and divergence per image."""


def flat(c: Case, tolerance: float, method: str, rates: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]) -> Found:
    """SciPy on the whole batch and its log densities as one vector, with one step size."""
    n, shape = len(c.z), c.z.shape

    def field(t: float, state: np.ndarray) -> np.ndarray:
        u, d = rates(torch.from_numpy(state[:-n]).reshape(shape), torch.full((n,), float(t), dtype=torch.float64))
        return np.concatenate([u.numpy().ravel(), d.numpy()])

    start = np.concatenate([c.z.numpy().ravel(), np.zeros(n)])
    found = solve_ivp(field, (0, 1), start, method=method, rtol=tolerance, atol=tolerance)
    end = torch.from_numpy(found.y[:, -1])
    return Found(standard_normal(end[:-n].reshape(shape)) + end[-n:], found.nfev)


def score_sde(c: Case, tolerance: float) -> Found:
    """As in likelihood.py of score_sde: the drift in one pass, the divergence in a second one with its own forward."""

    def rates(z: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        z, t = z.float(), t.float()
        with torch.no_grad():
            u = c.model.velocity(z, t)
        with torch.enable_grad():
            z.requires_grad_()
            (pulled,) = torch.autograd.grad((c.model.velocity(z, t) * c.probes[0]).sum(), z)
        return u, (pulled * c.probes[0]).flatten(1).sum(1)

    return flat(c, tolerance, "RK45", rates)


def reference(c: Case) -> Tensor:
    model, probes = copy.deepcopy(c.model).double(), c.probes.double()
    with divergence.frozen(model):
        return flat(c, 1e-9, "DOP853", lambda z, t: divergence.hutchinson(model.velocity, z, t, probes)).log_density


def flow_matching(c: Case, tolerance: float) -> Found:
    """Its time runs the other way, and torchdiffeq's steps may end past the last time."""
    from flow_matching.solver import ODESolver  # pyright: ignore[reportMissingImports]  # of the extra "bench"

    count = 0

    def velocity(x: Tensor, t: Tensor) -> Tensor:
        nonlocal count
        count += 1
        return -c.model.velocity(x, (1 - t).expand(len(x)))

    torch.manual_seed(SEED)
    _, found = ODESolver(velocity).compute_likelihood(
        c.z.float(), standard_normal, step_size=None, method="dopri5", atol=tolerance, rtol=tolerance
    )
    return Found(found.double(), count)


def ndm(c: Case, tolerance: float) -> Found:
    found = log_density(c.model, c.z, tolerance=tolerance, probes=c.probes)
    return Found(found.log_density, float(found.evaluations.double().mean()))


METHODS = {"score_sde's way": score_sde, "flow_matching": flow_matching, "ndm": ndm}
TOLERANCES = (1e-4, 1e-5, 1e-6)
Run = tuple[str, float]


class Row(NamedTuple):
    time: float
    """Median CPU seconds."""
    mean: float
    """Mean error, nats per image."""
    worst: float
    evaluations: float


def measure(c: Case) -> dict[Run, Row]:
    exact = reference(c)
    times: dict[Run, list[float]] = {(m, tolerance): [] for m in METHODS for tolerance in TOLERANCES}
    found: dict[Run, Found] = {}
    for _ in range(ROUNDS):
        for run in times:
            start = time.process_time()
            found[run] = METHODS[run[0]](c, run[1])
            times[run].append(time.process_time() - start)
    rows: dict[Run, Row] = {}
    for run, own in times.items():
        error = (found[run].log_density - exact).abs()
        rows[run] = Row(statistics.median(own), float(error.mean()), float(error.max()), found[run].evaluations)
    return rows


def at_error(rows: dict[Run, Row], method: str, error: float, column: str) -> float:
    """CPU seconds at that error, from the two nearest tolerances, on a line through the logarithms."""
    points = sorted((math.log(getattr(rows[method, t], column)), math.log(rows[method, t].time)) for t in TOLERANCES)
    i = 0 if math.log(error) < points[1][0] else 1
    (x_0, y_0), (x_1, y_1) = points[i], points[i + 1]
    return math.exp(y_0 + (y_1 - y_0) * (math.log(error) - x_0) / (x_1 - x_0))


def report(c: Case, rows: dict[Run, Row]) -> list[str]:
    base = rows["score_sde's way", 1e-5]
    lines = [
        f"## {c.name}",
        "",
        "| method | tolerance | NFE | mean error, nats | largest | CPU time over score_sde's at 1e-5 |",
        "|---|---|---|---|---|---|",
    ]
    for (method, tolerance), row in rows.items():
        lines.append(
            f"| {method} | {tolerance:.0e} | {row.evaluations:.0f} | {row.mean:.1e} | {row.worst:.1e} "
            f"| {row.time / base.time:.2f} |"
        )
    lines += ["", "At the error of score_sde's way at 1e-5, `ndm` is faster by", ""]
    for column, name in (("mean", "mean"), ("worst", "largest")):
        error = getattr(base, column)
        own = at_error(rows, "ndm", error, column)
        ratios = [f"**{at_error(rows, m, error, column) / own:.2f}x** than {m}" for m in list(METHODS)[:2]]
        lines.append(f"- {' and '.join(ratios)}, at an equal {name} error of {error:.1e} nats.")
    return [*lines, ""]


def main() -> None:
    torch.set_num_threads(1)
    lines = [
        "# ODE likelihood at equal error",
        "",
        f"`python benchmarks/ode_likelihood.py`, torch {torch.__version__}, one CPU thread, medians of {ROUNDS} "
        "interleaved rounds. Reference: SciPy's DOP853 at 1e-9 in float64.",
        "",
    ]
    for c in (trained(32), random(4)):
        section = report(c, measure(c))
        print("\n".join(section), flush=True)
        lines += section
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
