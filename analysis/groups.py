"""Runs that may stand in one ranking: those of the same data, their baseline, and the estimator that they share."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from analysis.run import DataSet, Run, Score
from ndm.errors import UserError
from ndm.mistakes import hint, shown


@dataclass(frozen=True)
class Split:
    """The scores that runs of one data set have on a split of it."""

    data: DataSet
    name: str
    baseline: Run
    runs: Sequence[Run]

    def __str__(self) -> str:
        return f"{self.name} split of {self.data}"

    @cached_property
    def scores(self) -> dict[str, dict[str, Score]]:
        """Run -> label -> score."""
        return {run.name: {s.label: s for s in run.scores if s.split == self.name} for run in self.runs}

    @cached_property
    def labels(self) -> list[str]:
        """Of all estimators that some run has: first the one that most of the runs have, and of several such the one
        that the training of the baseline ended with; then bounds, then others."""
        every = [score for of_run in self.scores.values() for score in of_run.values()]
        first = next(iter(self.scores[self.baseline.name]), None)
        found = sorted({score.label: score for score in every}.values(), key=lambda s: (not s.is_bound, s.label))
        counted = {score.label: sum(s.label == score.label for s in every) for score in found}
        common = max(found, key=lambda s: (counted[s.label], s.label == first, s.is_bound)).label
        return [common, *(score.label for score in found if score.label != common)]

    @cached_property
    def ranked(self) -> list[Run]:
        """The runs that have a score here, the fewest bits by the common estimator first, those without it last."""
        scored = [run for run in self.runs if self.scores[run.name]]
        common = self.labels[0]

        def place(run: Run) -> tuple[bool, float]:
            score = self.scores[run.name].get(common)
            return score is None, score.mean.value if score else 0.0

        return sorted(scored, key=place)

    def called(self, run: Run) -> str:
        """Its name, marked if it is the baseline."""
        return f"{run.name} (baseline)" if run is self.baseline else run.name


@dataclass(frozen=True)
class Group:
    """Runs of one data set."""

    data: DataSet
    runs: Sequence[Run]
    baseline: Run

    @property
    def splits(self) -> list[Split]:
        """Those that some run has scores of, the test split first."""
        names = dict.fromkeys(score.split for run in self.runs for score in run.scores)
        return [Split(self.data, name, self.baseline, self.runs) for name in sorted(names, key=lambda n: n != "test")]


def groups(runs: Iterable[Run], baseline: str | None = None) -> list[Group]:
    """The runs that have scores, by data set, in the order of the first of each.

    The baseline of a group is the run of that name if it is in it, and else the first.

    Raises:
        UserError: no run has the baseline's name, or it has no scores.
    """
    found: dict[DataSet, list[Run]] = {}
    names = {run.name: run for run in runs}
    if baseline is not None and baseline not in names:
        raise UserError(f"The baseline {shown(baseline)} is none of the runs: {hint(baseline, list(names), 'runs')}")
    if baseline is not None and not names[baseline].scores:
        raise UserError(f"The baseline {baseline} is not scored; score it first: ndm evaluate {baseline}")
    for run in names.values():
        if run.data_set is not None:
            found.setdefault(run.data_set, []).append(run)
    return [
        Group(data, among, next((run for run in among if run.name == baseline), among[0]))
        for data, among in found.items()
    ]
