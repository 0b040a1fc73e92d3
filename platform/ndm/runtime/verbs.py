"""The setting of the verbs that work on a trained run: its workspace, its spool, and Ray."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ndm import presets, runs
from ndm.runs import RunFolder
from ndm.runtime.session import resolve_workers, said, session
from ndm.runtime.shelf import Shelf, kept
from ndm.runtime.workspace import Workspace, tracked
from ndm.terminal import Terminal
from ndm.tracking.spool import Spool


@contextmanager
def on_run(
    target: str,
    overrides: Sequence[str],
    terminal: Terminal,
    *,
    check: Callable[[Workspace], None],
) -> Iterator[tuple[Workspace, Spool]]:
    """The trained run that `target` names, open for additions to its MLflow run, with Ray running.

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
        workers = resolve_workers(experiment.scaling.workers, terminal.say if experiment.scaling.queue else None)
        run_id = tracked(folder, workspace.tracking_uri())
        if run_id is None:
            run_id = workspace.open_tracking_run(said(workers), workspace.counted())
        spool = stack.enter_context(workspace.recording(run_id))
        stack.enter_context(session(workspace.root, workers))
        yield workspace, spool
