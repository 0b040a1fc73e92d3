"""How a run was made: its configuration, the machine and the code, its data, and the commands that make it again."""

import shlex
from collections.abc import Mapping
from typing import Any

from analysis.run import Run
from analysis.table import Table
from ndm import notation, presets, registry
from ndm.config import OF_RUNS, PLACES
from ndm.evaluation.model_card import evaluations

ELSEWHERE = (*OF_RUNS, "scaling", "run")
"""Sections that a reproduction chooses for itself."""
ORDER = ("git.commit", "git.dirty", "git.diff", "machine", "cpus", "gpus", "workers")


def changed(run: Run) -> Table | None:
    """What differs from the preset that the run was made from; None where it is of no preset."""
    here, there = _settings(run), _preset(run)
    if there is None:
        return None
    rows = [
        [key, notation.typed(there.get(key)), notation.typed(here.get(key))]
        for key in sorted(here.keys() | there.keys())
        if here.get(key) != there.get(key)
    ]
    columns, notes = ["key", f"preset {run.experiment.name}", "this run"], ["All other keys are the preset's."]
    return Table("Differences from the preset", columns, rows, notes)


def settings(run: Run) -> Table:
    """All keys of the experiment, but those that tell of the machine."""
    rows = [[key, notation.typed(value)] for key, value in _settings(run).items()]
    return Table("All keys", ["key", "value"], rows)


def environment(tags: Mapping[str, str]) -> Table | None:
    """What the result depends on besides: code, versions, machine; None where it is not known."""
    known = [key for key in ORDER if key in tags] + sorted(key for key in tags if key.startswith("version."))
    rows = [[key.removeprefix("version."), tags[key]] for key in known]
    notes = ["Of the training, as it was recorded when it began or last went on."]
    return Table("Environment", ["what", "value"], rows, notes) if rows else None


def data(run: Run) -> Table:
    """The data card. UserError if the data are not prepared here."""
    manifest, kind = run.manifest, run.experiment.data.kind
    about = registry.variant("ndm.data.sources", kind).__doc__ or ""
    values = f"{manifest.levels} levels, 0 to {manifest.levels - 1}" if manifest.levels else "continuous"
    splits = ", ".join(f"{split} {manifest.rows(split):,}" for split in manifest.splits)
    rows = [
        ["name and version", f"{manifest.name} {manifest.version}"],
        ["hash of the content", manifest.hash],
        ["source", f"{kind}: {about.strip().partition(chr(10))[0]}"],
        ["shape of an example", " × ".join(map(str, manifest.shape))],
        ["values", f"{values}, stored as {manifest.dtype}"],
        ["examples", splits],
        ["classes", str(manifest.labels)],
        ["preparation", f"version {manifest.preparation}, rows shuffled by seed {manifest.row_seed}"],
        ["size", f"{manifest.bytes / 1e6:,.2f} MB in {sum(map(len, manifest.splits.values()))} files"],
    ]
    notes = ["Equal hashes are equal examples in equal order; numbers are compared on equal hashes alone."]
    return Table("Data card", ["what", "value"], rows, notes)


def commands(run: Run) -> list[str]:
    """What makes the same training anew, and scores it the same."""
    overrides = _overrides(run)
    if overrides is None:
        train = "ndm train experiment.yaml"
    else:
        train = shlex.join(["ndm", "train", run.experiment.name, *overrides])
    if run.name != f"{run.experiment.name}-{run.experiment.digest()[:8]}":
        train += f" run.name={run.name}"
    if hasattr(run.experiment.data, "path"):
        train += " data.path=FOLDER"
    ended = [score["estimator"] for score in run.results.get("likelihood", {}).get("scores", [])]
    more = [score.made for score in run.scores if score.made["split"] != "test" or score.made["estimator"] not in ended]
    return [train, *evaluations(run.name, more), f"ndm report {run.name}"]


def _settings(run: Run) -> dict[str, Any]:
    return _portable(run.experiment.flat())


def _portable(flat: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in flat.items() if k.partition(".")[0] not in ELSEWHERE and k not in PLACES}


def _preset(run: Run) -> dict[str, Any] | None:
    name = run.experiment.name
    return _portable(presets.load(name).flat()) if name in presets.names() else None


def _overrides(run: Run) -> list[str] | None:
    """Of the preset; None where no preset with overrides is this experiment."""
    here, there = _settings(run), _preset(run)
    if there is None:
        return None
    words = [f"{key}={notation.typed(value)}" for key, value in here.items() if key not in there or there[key] != value]
    made = presets.load(run.experiment.name, words)
    return words if _portable(made.flat()) == here else None
