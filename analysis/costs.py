"""A table of what runs cost: parameters, counted FLOPs, speed, the time that workers were held."""

from collections.abc import Sequence

from analysis.run import Run
from analysis.table import Table

SECONDS = 3600.0


def costs(runs: Sequence[Run]) -> Table:
    """A row per run."""
    rows = list[list[str]]()
    for run in runs:
        counted, results = run.cost, run.results
        forward = counted.transform_parameters + counted.schedule_parameters
        counts = [counted.denoiser_parameters + forward, forward, counted.step_flops]
        ratio = counted.step_flops / counted.fixed_flops
        taken = ["", "", "", "", ""]
        if results:
            taken = [
                f"{results['examples']:,}",
                f"{results['examples_per_second']:.0f}",
                results["workers"],
                _hours(run),
                f"{results['goodput']:.0%}" if "goodput" in results else "",
            ]
        rows.append([run.name, *(f"{count:,}" for count in counts), f"{ratio:.2f}", *taken])
    columns = [
        *("run", "parameters", "forward", "FLOPs", "x fixed"),
        *("examples", "examples/s", "workers", "worker-hours", "in use"),
    ]
    notes = [
        "Forward are the parameters of the forward process among all: of F and the schedule. FLOPs are those of a "
        "training step for one example: products and convolutions of both passes, as torch executes them, multiply and "
        "add counted apart; x fixed is their ratio to the denoiser's alone, F(x, t) = x with a fixed schedule. A "
        "worker-hour is an hour of training of one worker, which holds a GPU or a CPU, as it says where the run has "
        "recorded it; it is empty where the number of workers changed. In use is the part of the time from each "
        "command's start that was training."
    ]
    return Table("Cost", columns, rows, notes)


def _hours(run: Run) -> str:
    """1.25 GPU-h; just 1.25 where a run does not say what its workers held."""
    workers, device = run.results["workers"], run.results.get("device")
    if not workers.isdecimal():
        return ""
    hours = f"{int(workers) * run.results['seconds'] / SECONDS:.3g}"
    return f"{hours} {device}-h" if device else hours
