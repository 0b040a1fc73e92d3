"""What `ndm train` costs beside a bare loop of PyTorch on the same model, batches and optimiser.

The bare loop knows nothing of Ray, positions, records or checkpoints: images in memory, a random batch, the loss, its
gradient, AdamW, the average. Rounds of all cases are interleaved, each in processes of its own; a rate is that of the
second half, by the clock, on one thread a worker: in the first the command still imports MLflow beside its workers,
which is part of the time to the first step in all but name.

    python benchmarks/train.py
"""

import argparse
import json
import multiprocessing
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from multiprocessing.connection import wait
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import torch

from ndm import presets
from ndm.build import build_objective, build_state
from ndm.data.manifest import Manifest
from ndm.data.prepare import prepare
from ndm.data.shards import read_rows
from ndm.objectives import Noise
from ndm.training import checkpoint

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).parent / "results" / "train.md"
PRESET, BATCH, RECORD = "digits-ndm", 128, 1280
HALF_MINUTE = 30.0


def bare(overrides: Sequence[str], data: Path, examples: int, batch: int, start: Barrier, rates: Any) -> None:
    """Examples per second of the second half of the loop."""
    torch.set_num_threads(1)
    experiment, manifest = presets.load(PRESET, overrides), Manifest.read(data)
    objective = build_objective(experiment, manifest.shape, manifest.levels)
    state = build_state(experiment, objective)
    raw = torch.from_numpy(read_rows(data, manifest, "train", 0, manifest.rows("train")).raw.copy())
    shape, decoder = manifest.shape, objective.model.decoder
    start.wait()
    began = 0.0
    steps = examples // batch
    for i in range(steps):
        if i == steps // 2:
            began = time.perf_counter()
        x = decoder.encode(raw[torch.randint(len(raw), (batch,))])
        drawn = Noise(torch.rand(batch, dtype=torch.float64), torch.randn(batch, *shape), torch.randn(batch, *shape))
        state.optimizer.zero_grad(set_to_none=True)
        objective.loss(objective(x, drawn), drawn).mean().backward()
        torch.nn.utils.clip_grad_norm_(objective.parameters(), 1.0)
        state.optimizer.step()
        state.ema.update(objective, i + 1)
    rates.put((steps - steps // 2) * batch / (time.perf_counter() - began))


def bare_rate(overrides: Sequence[str], data: Path, examples: int, processes: int) -> float:
    """Of so many loops side by side, together; each has its share of the batch."""
    context = multiprocessing.get_context("spawn")
    rates, start = context.SimpleQueue(), context.Barrier(processes)
    arguments = (overrides, data, examples, BATCH // processes, start, rates)
    workers = [context.Process(target=bare, args=arguments, daemon=True) for _ in range(processes)]
    for worker in workers:
        worker.start()
    while alive := [worker.sentinel for worker in workers if worker.exitcode is None]:
        wait(alive)
        if any(worker.exitcode for worker in workers):
            for worker in workers:  # the others wait at the barrier for the one that fell
                worker.kill()
            raise SystemExit("A process of the bare loop died before it had a rate; what it said stands above.")
    return sum(rates.get() for _ in workers)


def trained(overrides: Sequence[str], root: Path, examples: int, workers: int, save: int) -> dict[str, float]:
    """Of a whole `ndm train`: rate, seconds to the first step, and what a checkpoint costs."""
    name = f"bench-{time.time_ns()}"
    began = time.time()
    command = [sys.executable, str(ROOT / "jobs" / "train.py"), PRESET, *overrides, f"run.name={name}"]
    command += [f"training.examples={examples}", f"scaling.workers={workers}", f"storage.root={root}"]
    command += [f"monitor={{log_every: {RECORD}, checkpoint_every: {save}, validate_every: {RECORD * 10**6}}}"]
    command += ["monitor.validation_draws=1", "evaluation.draws=1", "samples.count=1", "sampler.steps=1"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    lines = [json.loads(line) for line in (root / name / "spool.jsonl").read_text().splitlines()]
    records = [line for line in lines if "train/examples_per_second" in line.get("values", {})]
    steps = RECORD // BATCH
    rate = [record["values"]["train/examples_per_second"] for record in records[len(records) // 2 :]]
    saved = [record["values"].get("time/checkpoint_ms", 0.0) * steps / 1000 for record in records]
    blocked = [seconds for seconds in saved if seconds]
    first = records[0]["time"] / 1000 - records[0]["values"]["time/step_ms"] * (steps - 1) / 1000
    return {
        "rate": len(rate) / sum(1 / r for r in rate),
        "first step": first - began,
        "blocked": statistics.median(blocked),
        "write": seconds_to_write(root / name / "checkpoints"),
    }


def seconds_to_write(folder: Path) -> float:
    """Of work of one core for a checkpoint, which a thread does beside the training."""
    found = checkpoint.latest(folder)
    assert found is not None
    with tempfile.TemporaryDirectory(dir=folder) as other:
        began = time.process_time()
        checkpoint.write(Path(other), found.position, found.tensors, found.meta, 2)
        return time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--examples", type=int, default=51_200)
    parser.add_argument("--save", type=int, default=6400, help="examples between two checkpoints")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("overrides", nargs="*", default=[])
    options = parser.parse_intermixed_args()
    found: dict[str, list[float]] = {}

    def note(**values: float) -> None:
        for key, value in values.items():
            found.setdefault(key, []).append(value)

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        data = prepare(presets.load(PRESET, options.overrides).data, root / "data")
        for number in range(options.rounds):
            for count in (1, 2):
                note(**{f"bare {count}": bare_rate(options.overrides, data, options.examples, count)})
                ours = trained(options.overrides, root, options.examples, count, options.save)
                note(**{f"{key} {count}": value for key, value in ours.items()})
            print(
                f"round {number + 1} of {options.rounds}:", {k: round(v[-1], 4) for k, v in found.items()}, flush=True
            )
    middle = {key: statistics.median(values) for key, values in found.items()}
    lines = [
        "# Training beside a bare loop",
        "",
        f"`python benchmarks/train.py`, {PRESET}{''.join(f' {o}' for o in options.overrides)}, torch "
        f"{torch.__version__}, one CPU thread a worker, the second half of {options.examples} examples in batches of "
        f"{BATCH}, a checkpoint every {options.save}, medians of {options.rounds} interleaved rounds, by the clock.",
        "",
        "| what | measured | target |",
        "|---|---|---|",
        f"| one worker of `ndm train` over one bare loop | {middle['rate 1'] / middle['bare 1']:.3f} | 0.97 |",
        f"| two workers over two independent bare loops together | {middle['rate 2'] / middle['bare 2']:.3f} | 0.85 |",
        f"| loop blocked by a checkpoint, share of 30 s between two | {middle['blocked 1'] / HALF_MINUTE:.2%} | 2% |",
        f"| the same with the work of the thread that writes it | "
        f"{(middle['blocked 1'] + middle['write 1']) / HALF_MINUTE:.2%} | 2% |",
        f"| seconds from the command to the end of the first step, one worker | {middle['first step 1']:.1f} | |",
        f"| the same, two workers | {middle['first step 2']:.1f} | |",
        "",
        f"Examples per second, round by round: one worker {_listed(found['rate 1'])}; one bare loop "
        f"{_listed(found['bare 1'])}; two workers {_listed(found['rate 2'])}; two bare loops "
        f"{_listed(found['bare 2'])}.",
    ]
    print("\n".join(lines))
    options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _listed(values: list[float]) -> str:
    return ", ".join(f"{value:.0f}" for value in values)


if __name__ == "__main__":
    main()
