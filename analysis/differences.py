"""What was done differently between runs: the dotted keys of their experiments that do not agree."""

from collections.abc import Sequence
from typing import Any

from analysis.run import Run
from analysis.table import Table
from ndm import notation
from ndm.config import HOW, PLACES, Experiment

ASIDE = frozenset({"name", "run", "storage", "tracking", "monitor"})
"""Sections that say what a run is called, where it is kept and how it is watched, and change no number of it."""


def differences(runs: Sequence[Run]) -> Table:
    """A row per dotted key that differs, a column per run; a cell is empty where a run's experiment has no such key."""
    flat = [run.experiment.flat() for run in runs]
    sections = list(Experiment.model_fields)
    known = sorted({key: None for keys in flat for key in keys if _counts(key)}, key=lambda k: sections.index(_top(k)))
    rows = [[key, *(_cell(keys, key) for keys in flat)] for key in known]
    differing = [row for row in rows if len(set(row[1:])) > 1]
    same = len(rows) - len(differing)
    note = (
        f"{same} keys are the same in all runs. A cell is empty where the experiment of a run has no such key."
        if differing
        else "The experiments of these runs agree in every key."
    )
    return Table("What differs between the experiments", ["key", *(run.name for run in runs)], differing, [note])


def _counts(key: str) -> bool:
    return _top(key) not in ASIDE and key not in PLACES and key.rpartition(".")[2] not in HOW


def _top(key: str) -> str:
    return key.partition(".")[0]


def _cell(keys: dict[str, Any], key: str) -> str:
    """The value as it is typed on the command line."""
    return notation.typed(keys[key]) if key in keys else ""
