"""The comparison of runs: what differs between them, and what came of it, each data set on its own."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from analysis import bits
from analysis.costs import costs
from analysis.differences import differences
from analysis.groups import Group, groups
from analysis.published import beside
from analysis.quality import quality
from analysis.run import Run, read, select
from analysis.table import Table
from ndm.errors import UserError
from ndm.mistakes import shown


def compare(runs: Sequence[Run], baseline: str | None = None, published: bool = False) -> list[Table]:
    """Tables of the runs, those that would be empty left out; the first always says what differs.

    Args:
        runs: any; those without scores are named and take part in the first table alone.
        baseline: the name of one of them; by default, and for other data than its own, the first.
        published: also published numbers of the same data.

    Raises:
        UserError: the baseline is none of the runs or not scored, or a record is damaged.
    """
    sections = groups(runs, baseline)
    first = differences(runs)
    tables = [Table(first.title, first.columns, first.rows, [*first.notes, *_remarks(runs, sections)])]
    for section in sections:
        tables += _section(section, with_published=published)
    return tables


def chosen(root: Path, names: Sequence[str], filters: Sequence[str] = ()) -> list[Run]:
    """The runs of these names, in their order, and then those scored ones of the folder that the filters fit.

    Raises:
        UserError: there is no run of a name, none that fits, or nothing was asked for.
    """
    if keys := [name for name in names if "=" in name]:
        remedy = "name runs, choose them by their keys with --filter, or bring them from a store with ndm pull."
        raise UserError(f"{shown(keys[0])} is no run: {remedy}")
    found = [read(root, name) for name in dict.fromkeys(names)]
    if filters:
        known = {run.name for run in found}
        found += [run for run in select(root, filters) if run.name not in known and run.scores]
    if not found:
        wanted = f"fits {' '.join(filters)}" if filters else "is named"
        raise UserError(f"No scored run under {root}/ {wanted}: name runs that ndm runs list shows, or --filter.")
    return found


def _section(group: Group, *, with_published: bool) -> Iterator[Table]:
    for split in group.splits:
        yield bits.ranking(split)
        if len(group.runs) > 1:
            yield bits.differences(split)
        yield from (table for table in (bits.parts(split), bits.gaps(split)) if table.rows)
    yield from (table for table in (quality(group.runs), costs(group.runs)) if table.rows)
    if with_published:
        yield beside(group.data)


def _remarks(runs: Sequence[Run], sections: Sequence[Group]) -> list[str]:
    """Sentences on what is not compared."""
    said = list[str]()
    if len(sections) > 1:
        data = ", ".join(f"{group.data} (hash {group.data.hash[:12]})" for group in sections)
        said.append(
            f"The runs are of {len(sections)} data sets, {data}, and each has a ranking of its own: bits per "
            "dimension of other images are another quantity, and no number of the one says anything of the other."
        )
    if unfinished := [run.name for run in runs if not run.results]:
        said.append(f"Not finished: {', '.join(unfinished)}.")
    if unscored := [run.name for run in runs if not run.scores]:
        said.append(f"Not scored, and so in no ranking: {', '.join(unscored)}.")
    return said
