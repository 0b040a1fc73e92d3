"""A run as analyses read it: its experiment, its results, the scores of each image, the curves of its training."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ndm import filters
from ndm.config import Experiment
from ndm.data.available import where
from ndm.data.folders import Folder
from ndm.data.manifest import Manifest
from ndm.data.shards import read_rows
from ndm.errors import UserError
from ndm.evaluation import score
from ndm.evaluation.averages import suffix
from ndm.evaluation.cost import Cost, cost_of
from ndm.likelihood.statistics import Mean, bits_per_dim, mean
from ndm.mistakes import hint, shown
from ndm.pretrained import Pretrained, load
from ndm.runs import RunFolder, about, folders
from ndm.tracking import spool

OLDER = "-at-"
"""In the name of a table of other weights than the newest."""


class DataSet(NamedTuple):
    """Which data: runs may be ranked together if it is equal."""

    name: str
    version: str
    hash: str

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


@dataclass(frozen=True)
class Score:
    """One table of a run: a split scored by one estimator."""

    made: dict[str, Any]
    """How it was made, and what it says: `ndm.evaluation.score.summary`."""
    bits: Tensor
    """Bits per dimension of each image, [N] float64, in the order of ids."""

    @property
    def estimator(self) -> str:
        """Its full name, which is the recipe."""
        return self.made["estimator"]

    @property
    def label(self) -> str:
        """The estimator, and the average of the weights where it is not the usual one."""
        return self.estimator + suffix((self.made.get("ema") or {}).get("width"))

    @property
    def split(self) -> str:
        return self.made["split"]

    @property
    def mean(self) -> Mean:
        """Bits per dimension, with the standard error over images."""
        return mean(self.bits)

    @property
    def is_bound(self) -> bool:
        """A bound, not the likelihood of the ODE."""
        return "prior" in self.made

    @property
    def identity(self) -> tuple[Any, ...]:
        """Equal for scores that may be compared image by image: estimator, split, seed, images, data."""
        made = self.made
        return (made["estimator"], made["split"], made["seed"], made["images"], made["data"]["hash"])


@dataclass(frozen=True)
class Run:
    """A run whose training was begun."""

    folder: RunFolder
    experiment: Experiment

    @property
    def name(self) -> str:
        """Of its folder."""
        return self.folder.name

    @cached_property
    def results(self) -> dict[str, Any]:
        """What its training ended with (results.json); empty if it has not ended."""
        return self.folder.read("results")

    @cached_property
    def scores(self) -> list[Score]:
        """Of the newest weights: the test split first; in it the bound that the training ended with, then others."""
        found: list[Score] = []
        for path in sorted(self.folder.likelihood.glob("*.parquet")):
            if OLDER not in path.stem:
                table, made = score.read(path)
                bits = bits_per_dim(score.values_of(table, "nats"), made["dimensions"])
                found.append(Score({**made, **score.summary(table, made["dimensions"], made["seed"])}, bits))
        ended = self.results.get("likelihood", {}).get("scores", [{}])[0].get("estimator")
        return sorted(
            found, key=lambda s: (s.made["split"] != "test", s.estimator != ended, not s.is_bound, s.estimator)
        )

    @cached_property
    def data_set(self) -> DataSet | None:
        """Which data its scores are of; None where it has none."""
        return DataSet(**self.scores[0].made["data"]) if self.scores else None

    @cached_property
    def data(self) -> Folder:
        """The folder of its data set; see `manifest`."""
        storage = self.experiment.storage
        return where(self.experiment.data, storage.data_sets, self.folder.path.parent.absolute(), storage.cache_bytes)

    @cached_property
    def manifest(self) -> Manifest:
        """Of its data set. UserError if that is not prepared here."""
        return Manifest.read(self.data)

    def rows(self, split: str, start: int, stop: int) -> Tensor:
        """Stored values of the rows start .. stop - 1 of a split, those of them that there are, [n, *shape].

        A split is shuffled when it is prepared: its first rows are a random choice.

        Raises:
            UserError: the data set is not prepared here or damaged.
        """
        last = min(stop, self.manifest.rows(split))
        return torch.from_numpy(read_rows(self.data, self.manifest, split, min(start, last), last).raw)

    @cached_property
    def cost(self) -> Cost:
        """Its parameters, and the counted FLOPs of a training step for one example."""
        return cost_of(self.experiment)

    @cached_property
    def model(self) -> Pretrained:
        """Its newest weights, averaged. UserError if there are none, or its data are not prepared here."""
        return load(self.folder.path)

    @property
    def weights(self) -> str:
        """Which weights `model` has, for a caption."""
        return f"averaged weights after {self.model.about.position:,} examples"

    @property
    def device(self) -> torch.device:
        """Of `model`."""
        return next(self.model.objective.parameters()).device

    def encoded(self, split: str, start: int, stop: int) -> Tensor:
        """`rows` in model space, on the model's device."""
        return self.model.objective.model.decoder.encode(self.rows(split, start, stop).to(self.device))

    @cached_property
    def curves(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Every metric that it recorded: (examples seen [N] int64, values [N] float64), in the order of examples."""
        found: dict[str, dict[int, float]] = {}
        if (file := self.folder.path / spool.FILE).is_file():
            for record, _ in spool.read(file):
                if record and record["kind"] == "metrics":
                    for key, value in record["values"].items():
                        found.setdefault(key, {})[record["step"]] = value
        return {
            key: (torch.tensor(sorted(points)), torch.tensor([points[at] for at in sorted(points)]).double())
            for key, points in found.items()
        }

    @cached_property
    def tags(self) -> dict[str, str]:
        """What it recorded in words, by name: the code, the versions, the machine; the last of each name."""
        found: dict[str, str] = {}
        if (file := self.folder.path / spool.FILE).is_file():
            for record, _ in spool.read(file):
                found |= record["tags"] if record and record["kind"] == "tags" else {}
        return found


def labels(runs: Sequence[Run]) -> list[str]:
    """What a figure calls each: its experiment, or else the kinds in which they differ, or else its own name.

    The first of these that tells them all apart.
    """
    flat = [run.experiment.flat(deciding=True) for run in runs]
    parts = [key.removesuffix(".kind") for key in flat[0] if key.endswith(".kind") and key.count(".") == 1]
    differing = [part for part in parts if len({one[f"{part}.kind"] for one in flat}) > 1]
    by_kinds = [", ".join(f"{part} {one[f'{part}.kind']}" for part in differing) for one in flat]
    by_name = [run.name for run in runs]
    named = ([run.experiment.name for run in runs], by_kinds)
    return next((found for found in named if len(set(found)) == len(runs)), by_name)


def weights_of(runs: Sequence[Run]) -> str:
    """Which weights the models of the runs have, and what `labels` calls each, as a sentence of a caption."""
    by_weights: dict[str, list[str]] = {}
    for run, label in zip(runs, labels(runs), strict=True):
        named = run.name if label == run.name else f"{label} ({run.name})"
        by_weights.setdefault(run.weights, []).append(named)
    return "; ".join(f"{', '.join(names)}: {weights}" for weights, names in by_weights.items()) + "."


def of_one_data(runs: Sequence[Run]) -> Manifest:
    """The manifest of the data that all of them are on.

    Raises:
        UserError: they are on several, so that no figure may compare them.
    """
    first, *others = runs
    for run in others:
        if run.manifest.hash != first.manifest.hash:
            said = [
                f"{each.name} is on {each.manifest.name} {each.manifest.version} ({each.manifest.hash[:12]})"
                for each in (run, first)
            ]
            raise UserError(f"{' and '.join(said)}; compare runs on the same data.")
    return first.manifest


def read(root: Path, name: str) -> Run:
    """The run of that name in a folder of runs; a run's folder may be given, too.

    Raises:
        UserError: there is none, or its record is damaged.
    """
    path = Path(name)
    folder = RunFolder(path.absolute() if len(path.parts) > 1 else root.absolute() / name)
    if not _exists(folder):
        there = [found.name for found in folders(root)]
        raise UserError(f"There is no run {shown(name)} under {root}/: {hint(name, there, 'runs')}")
    return Run(folder, folder.experiment())


def select(root: Path, wanted: Sequence[str]) -> list[Run]:
    """All runs of a folder for whose experiments all `wanted` hold, key=value; by name.

    Raises:
        UserError: a filter is not valid, or a record is damaged.
    """
    found = folders(root)
    said = {folder.name: about(folder) for folder in found}
    keys = filters.asked(wanted, said.values())
    return [Run(folder, folder.experiment()) for folder in found if filters.fits(said[folder.name], keys)]


def _exists(folder: RunFolder) -> bool:
    try:
        return folder.exists
    except OSError:  # of a name that is too long for one
        return False
