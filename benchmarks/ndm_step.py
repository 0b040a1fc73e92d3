"""What a training step with a learned transform costs, over the same step with F(x, t) = x.

For F of 1/4, 1/2 and all of the denoiser's cost, with value and time derivative in one stacked pass (`ndm.dual`) and by
torch.func.jvp, and for `time_basis`, which needs no derivative of a network. Beside them stand what can be counted:

- the floor, in forward evaluations of the denoiser, backward twice the forward, r = cost(F) / cost(denoiser): the
  denoiser 3, `residual` F and dF/dt at x and at x_hat 12 r, so 1 + 4 r; `time_basis` 6 r, so 1 + 2 r;
- with the prior, for which F(x, 1) is evaluated as well, 3 r more: 1 + 5 r and 1 + 3 r;
- FLOPs that ndm.evaluation.cost counts on the real loss, where what needs no gradient is not computed.

Times are process CPU times of forward and backward of the loss on one thread, medians over interleaved rounds. Kept is
what autograd keeps for the backward pass.

    python benchmarks/ndm_step.py [--quick]
"""

import argparse
import statistics
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch._C._functorch import get_unwrapped, is_functorch_wrapped_tensor

from ndm import dual, presets
from ndm.build import build_objective
from ndm.evaluation.cost import cost
from ndm.objectives import Noise, Objective
from ndm.training.step import Slots, noise

RESULTS = Path(__file__).parent / "results" / "ndm_step.md"


class Case(NamedTuple):
    name: str
    shape: tuple[int, ...]
    batch: int
    network: dict[str, Any]
    """Keys of the denoiser."""
    transforms: dict[str, dict[str, Any]]
    """Keys of F's network, for the costs wanted."""


UNET = {"kind": "unet", "channels": 32, "multipliers": [1, 2, 2], "blocks": 2, "attention": True}
MLP = {"kind": "mlp", "width": 256, "depth": 4}
CASES = (
    Case(
        "U-Net, 32x32x3, 32, 64 and 64 channels, batch 8",
        (3, 32, 32),
        8,
        UNET,
        {"1/4": UNET | {"channels": 16}, "1/2": UNET | {"multipliers": [1, 2, 1], "blocks": 1}, "1": UNET},
    ),
    Case(
        "MLP, two dimensions, 4 hidden layers of 256, batch 512",
        (2,),
        512,
        MLP,
        {"1/4": MLP | {"width": 124}, "1/2": MLP | {"width": 178}, "1": MLP},
    ),
)
QUICK = (
    Case(
        "a tiny U-Net",
        (1, 4, 4),
        2,
        {"kind": "unet", "channels": 4, "multipliers": [1], "blocks": 1},
        {"1": {"kind": "unet", "channels": 4, "multipliers": [1], "blocks": 1}},
    ),
)


def objective(case: Case, transform: dict[str, Any]) -> Objective:
    """The loss, with every weight off its start: an output of zeros would make products trivial."""
    keys = [f"network.{key}={value}" for key, value in case.network.items()]
    for key, value in transform.items():
        if isinstance(value, dict):
            keys += [f"transform.{key}.{inner}={of}" for inner, of in value.items()]
        else:
            keys.append(f"transform.{key}={value}")
    made = build_objective(presets.load("digits-ndm", keys), case.shape, levels=0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter += 0.01 * torch.randn(parameter.shape, generator=generator)
    return made


@contextmanager
def by_forward_mode() -> Generator[None]:
    """Inside, every dual comes from torch.func.jvp."""
    own, dual.jvp = dual.jvp, dual.forward_mode
    try:
        yield
    finally:
        dual.jvp = own


class Way(NamedTuple):
    name: str
    r: str
    objective: Objective
    forward_mode: bool


def ways(case: Case) -> Iterator[Way]:
    yield Way("F(x, t) = x", "0", objective(case, {"kind": "identity"}), False)
    for r, network in case.transforms.items():
        made = objective(case, {"kind": "residual", "network": network})
        yield Way("residual, stacked", r, made, False)
        yield Way("residual, torch.func.jvp", r, made, True)
        yield Way("time_basis", r, objective(case, {"kind": "time_basis", "network": network}), False)


class Row(NamedTuple):
    way: Way
    time: float
    """Median CPU seconds of a step."""
    spread: float
    """Between the quartiles, over the median."""
    kept: int
    """Bytes that autograd keeps."""
    flops: int
    ratio: float
    """Forward cost of F over that of the denoiser, counted."""


def step(way: Way, x: Tensor, drawn: Noise) -> None:
    way.objective.zero_grad(set_to_none=True)
    run(way, lambda: way.objective(x, drawn).total.sum().backward())


def run(way: Way, action: Callable[[], Any]) -> Any:
    if way.forward_mode:
        with by_forward_mode():
            return action()
    return action()


def kept(way: Way, x: Tensor, drawn: Noise) -> int:
    """Bytes in the storages that hold what autograd keeps, each once, but for the weights."""
    weights = {p.untyped_storage().data_ptr() for p in way.objective.parameters()}
    sizes: dict[int, int] = {}
    held: list[Tensor] = []  # or a freed address would be taken for the same array

    def keep(a: Tensor) -> Tensor:
        plain = a
        while is_functorch_wrapped_tensor(plain):  # inside torch.func.jvp
            plain = get_unwrapped(plain)
        if not plain._is_zerotensor():  # a tangent that torch knows to be zero takes no room
            held.append(plain)
            sizes[plain.untyped_storage().data_ptr()] = plain.untyped_storage().nbytes()
        return a

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda a: a):
        loss = run(way, lambda: way.objective(x, drawn).total.sum())
    del loss
    return sum(size for place, size in sizes.items() if place not in weights)


def forward_flops(case: Case, network: dict[str, Any]) -> int:
    """Of one evaluation per example."""
    return cost(objective(case._replace(network=network), {"kind": "identity"})).forward_flops


def measure(case: Case, rounds: int) -> list[Row]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(case.batch, *case.shape, generator=generator)
    drawn = noise(0, Slots(0, case.batch, 0, case.batch), case.shape)
    found = list(ways(case))
    times: list[list[float]] = [[] for _ in found]
    for i in range(rounds + 1):  # the first warms up
        for way, own in zip(found, times, strict=True):
            start = time.process_time()
            step(way, x, drawn)
            if i:
                own.append(time.process_time() - start)
    denoiser = forward_flops(case, case.network)
    sizes = {r: forward_flops(case, network) / denoiser for r, network in case.transforms.items()}
    rows: list[Row] = []
    for way, own in zip(found, times, strict=True):
        median = statistics.median(own)
        first, _, third = statistics.quantiles(own, n=4) if len(own) > 1 else (median,) * 3
        flops = run(way, lambda way=way: cost(way.objective)).step_flops
        rows.append(Row(way, median, (third - first) / median, kept(way, x, drawn), flops, sizes.get(way.r, 0.0)))
    return rows


def report(case: Case, rows: list[Row]) -> list[str]:
    base = rows[0]
    lines = [
        f"## {case.name}",
        "",
        "| F | r | counted r | floor | with the prior | FLOPs counted | CPU time | between quartiles | kept |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        passes = 0 if row.way.r == "0" else 2 if row.way.name == "time_basis" else 4
        prior = 1 if passes else 0
        lines.append(
            f"| {row.way.name} | {row.way.r} | {row.ratio:.2f} | {1 + passes * row.ratio:.2f} "
            f"| {1 + (passes + prior) * row.ratio:.2f} | {row.flops / base.flops:.2f} "
            f"| **{row.time / base.time:.2f}** | {row.spread:.0%} | {row.kept / base.kept:.2f} |"
        )
    return [*lines, ""]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="tiny networks, two rounds, no results file")
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rounds = 2 if arguments.quick else arguments.rounds
    lines = [
        "# A training step with a learned transform over one with F(x, t) = x",
        "",
        f"`python benchmarks/ndm_step.py`, torch {torch.__version__}, one CPU thread, medians of {rounds} interleaved "
        "rounds; ratios to the first row. What the columns are stands at the top of the script.",
        "",
    ]
    for case in QUICK if arguments.quick else CASES:
        section = report(case, measure(case, rounds))
        print("\n".join(section), flush=True)
        lines += section
        if not arguments.quick:
            RESULTS.parent.mkdir(exist_ok=True)
            RESULTS.write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
