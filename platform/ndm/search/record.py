"""What is kept of a search beside its table: the search itself, its summary run in MLflow, its report."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ndm import tracking
from ndm.config import flatten
from ndm.errors import UserError
from ndm.runs import SEARCH, RunFolder, searches
from ndm.runtime.shelf import kept
from ndm.runtime.workspace import REPOSITORY, forward, note_tracked, tracked
from ndm.search import config, report
from ndm.search.config import Search
from ndm.search.course import Course
from ndm.search.findings import Findings
from ndm.search.plan import BASELINE, Plan
from ndm.search.table import Table
from ndm.terminal import Terminal
from ndm.tracking.runs import NOTE
from ndm.tracking.spool import Spool, Status

OUTCOME = "outcome"


def check_same(folder: RunFolder, asked: Search) -> None:
    """Refuse to go on with another search than a folder's.

    Raises:
        UserError: naming what differs, or it is a run's.
    """
    if folder.exists:
        raise UserError(f"{folder.name} is a run, not a search; choose another name=... for the search.")
    before = folder.read(SEARCH)
    if before and before["digest"] != asked.digest():
        there, here = before["search"], asked.model_dump(mode="json")
        changed = sorted(key for key in there.keys() | here.keys() if there.get(key) != here.get(key))
        raise UserError(
            f"The search {folder.name} was started with other values of {', '.join(changed)}; choose another name=..., "
            "or start afresh with --fresh."
        )


def find(root: Path, name: str) -> tuple[RunFolder, Course]:
    """A search that was started, to be looked at.

    Raises:
        UserError: there is none of that name.
    """
    folder = RunFolder(root / name)
    known = folder.read(SEARCH)
    if not known:
        found = [one.name for one in searches(root)]
        there = f"the searches there are {', '.join(found)}" if found else f"start it with: ndm search {name}"
        raise UserError(f"There is no search {name} under {root.name}/; {there}.")
    return folder, Course(Plan(config.resolve(known["search"])), Table(folder.path), looking=True)


def is_search(root: Path, name: str) -> bool:
    """Whether a search of that name was started in a folder of runs."""
    return bool(RunFolder(root / name).read(SEARCH))


@contextmanager
def summary_run(plan: Plan, folder: RunFolder, terminal: Terminal) -> Iterator[Spool]:
    """The one MLflow run that stands for the search, beside those of its trials; its records are sent at the end.

    Raises:
        UserError: the tracking server does not answer.
    """
    search, root = plan.search, folder.path.parent
    run_id = tracking.ensure_run(
        plan.base.tracking,
        root,
        name=folder.name,
        params=flatten(search.model_dump(mode="json", exclude={"trials", "concurrency", "gpus", "max_failures"})),
        tags={
            "mlflow.source.name": f"ndm search {search.name}",
            "search": search.name,
            "variant": "summary",
            **tracking.provenance(REPOSITORY),
        },
        run_id=tracked(folder, tracking.resolve_uri(plan.base.tracking, root)),
    )
    note_tracked(folder, tracking.resolve_uri(plan.base.tracking, root), run_id)
    spool = Spool(folder.path)
    spool.status("RUNNING")
    status: Status = "FAILED"
    try:
        yield spool
        status = "FINISHED"
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        spool.status(status)
        spool.close()
        forward(folder, tracking.resolve_uri(plan.base.tracking, root), run_id, terminal)


def conclude(course: Course, root: Path, terminal: Terminal) -> None:
    """Write how each trial ended into its run, once, send what of the run still waits, and leave it in the store."""
    uri = tracking.resolve_uri(course.plan.base.tracking, root)
    for trial, standing in zip(course.trials, course.standings(), strict=True):
        folder = RunFolder(root / course.plan.run_name(trial))
        said = {"outcome": standing.status, "rung": str(standing.rung)}
        if folder.exists and folder.read(OUTCOME) != said:
            with folder.lock(), kept(course.plan.base.storage.store, folder, terminal):
                spool = Spool(folder.path)
                spool.tags(said)
                spool.close()
                forward(folder, uri, folder.read("tracking")["run_id"], terminal)
                folder.write(OUTCOME, said)


def publish(course: Course, folder: RunFolder, spool: Spool) -> tuple[Path, Findings]:
    """Write the report, and say it in the search's run."""
    page, found = report.write(course, folder.path)
    first = found.lines[0]
    if first.bits is not None:
        baseline = next((line.bits for line in found.lines if line.place == BASELINE), None)
        values = {"search/best_bits_per_dim": first.bits.value, "search/best_bits_per_dim_se": first.bits.error}
        values |= {"search/baseline_bits_per_dim": baseline.value} if baseline else {}
        spool.results(values | {"search/share_of_compute": found.spent / found.full})
    spool.tags({NOTE: f"{report.summary(course, found)}\n\nFilter its trials by `tags.search = '{folder.name}'`."})
    spool.artifact(page)
    if (page.parent / "figures").is_dir():
        spool.artifact(page.parent / "figures")
    return page, found
