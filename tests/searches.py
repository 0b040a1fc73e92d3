"""A search of a few seconds a trial, and what its table says at its end."""

from functools import cache
from pathlib import Path
from typing import NamedTuple

from commands import ndm

from ndm.search.course import Course
from ndm.search.record import find

TINY = """
experiment: digits-tiny
examples: 5120
trials: 4
set: {monitor: {log_every: 640, validate_every: 5120, checkpoint_every: 1280, validation_draws: 1}}
space:
  transform: {choice: [{kind: scale}, {kind: residual, network: {kind: mlp, width: 16, depth: 1}}]}
  optimizer.lr: {loguniform: [1.0e-4, 1.0e-2]}
pruner: {kind: asha, rungs: 2, eta: 4, margin: 0.0}
searcher: {kind: random, seed: 5}
score: {images: 90, draws: 4}
"""


class Searched(NamedTuple):
    """A folder in which TINY was searched, and what the command said."""

    folder: Path
    output: str


@cache
def undisturbed(base: Path) -> Searched:
    """Search TINY on this machine, once for all tests, which change nothing in it."""
    folder = base / "undisturbed"
    folder.mkdir()
    (folder / "tiny.yaml").write_text(TINY)
    return Searched(folder, ndm(folder, "search", "tiny.yaml").output)


def course(folder: Path, name: str = "tiny") -> Course:
    """A search under `runs` of a folder."""
    return find(folder / "runs", name)[1]


def reached(folder: Path) -> int:
    """Rungs reached by all trials."""
    return len(list(folder.glob("runs/tiny/trials/*/rung-*.parquet")))


def told(folder: Path) -> list[tuple[object, ...]]:
    """Of every trial, where it ended and each image's bits at each rung: all that a search concludes from."""
    found = course(folder)
    bits = [[rung.bits.tolist() for rung in found.rungs(trial)] for trial in found.trials]
    return list(zip(found.trials, found.standings(), bits, strict=True))
