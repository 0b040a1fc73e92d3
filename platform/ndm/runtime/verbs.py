"""The setting of the verbs that work on a trained run: its workspace, its spool, and Ray."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ndm import presets, runs
from ndm.runs import RunFolder
from ndm.runtime import inventory
from ndm.runtime.card import describe
from ndm.runtime.session import resolve_workers, session
from ndm.runtime.shelf import Shelf, kept
from ndm.runtime.workspace import Workspace, tracked
from ndm.terminal import Terminal
from ndm.tracking.spool import Spool


def fetched(names: Sequence[str], overrides: Sequence[str], terminal: Terminal) -> Path:
    """The folder of runs, with the newest of what is named and is in the store, weights included.

    Raises:
        UserError: what is named is neither a run nor a search nor an experiment, or the store does not answer.
    """
    storage = presets.storage(overrides)
    root = Path(storage.root).absolute()
    for target in names:
        folder = RunFolder(root / runs.named(root, target, list(overrides)))
        if storage.store and len(Path(target).parts) == 1:
            shelf = Shelf.of(storage.store)
            shelf.catch_up(folder, terminal)
            if folder.exists and shelf.listing(folder.name) is not None:
                shelf.bring(folder, terminal, "weights")
        if folder.name == target and not folder.path.is_dir():
            inventory.find(inventory.inventory(root, None), target)
    return root


@contextmanager
def opened(
    target: str,
    overrides: Sequence[str],
    terminal: Terminal,
    *,
    check: Callable[[Workspace], None] = lambda _: None,
) -> Iterator[tuple[Workspace, Spool]]:
    """The trained run that `target` names, open for additions to its MLflow run, whose description is renewed.

    `check` may refuse the workspace before anything is started.

    Raises:
        UserError: there is no such run, or it is in use.
    """
    storage = presets.storage(overrides)
    root = Path(storage.root).absolute()
    name = runs.named(root, target, list(overrides))
    with ExitStack() as stack:
        if storage.store and name == Path(name).name and not RunFolder(root / name).exists:
            Shelf.of(storage.store).catch_up(RunFolder(root / name), terminal)
        folder, experiment, checkpoint = runs.find(root, target, list(overrides))
        stack.enter_context(folder.lock())
        stack.enter_context(kept(experiment.storage.store, folder, terminal))
        workspace = Workspace.open(experiment, folder, terminal, checkpoint)
        check(workspace)
        run_id = tracked(folder, workspace.tracking_uri())
        if run_id is None:
            workers = folder.read("results").get("workers", str(experiment.scaling.workers))
            run_id = workspace.open_tracking_run(workers, workspace.counted())
        spool = stack.enter_context(workspace.recording(run_id))
        yield workspace, spool
        describe(folder, experiment, folder.read("results"), spool)


@contextmanager
def on_run(
    target: str,
    overrides: Sequence[str],
    terminal: Terminal,
    *,
    check: Callable[[Workspace], None],
) -> Iterator[tuple[Workspace, Spool]]:
    """As `opened`, with Ray running.

    Raises:
        UserError: as for `opened`, and for more workers than there are.
    """
    with opened(target, overrides, terminal, check=check) as (workspace, spool):
        scaling = workspace.experiment.scaling
        with session(workspace.root, resolve_workers(scaling.workers, terminal.say if scaling.queue else None)):
            yield workspace, spool
