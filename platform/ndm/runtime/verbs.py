"""The setting of the verbs that work on a trained run: its workspace, its spool, and Ray."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ndm import runs
from ndm.errors import UserError
from ndm.runtime.session import resolve_workers, session
from ndm.runtime.workspace import Workspace
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
    roots = [text.partition("=")[2] for text in overrides if text.startswith("storage.root=")]
    root = Path(roots[-1] if roots else "runs").absolute()
    folder, experiment, checkpoint = runs.find(root, target, list(overrides))
    with ExitStack() as stack:
        stack.enter_context(folder.lock())
        workspace = Workspace.open(experiment, folder, terminal, checkpoint)
        check(workspace)
        run_id = folder.read("tracking").get("run_id")
        if run_id is None:
            raise UserError(f"The run {folder.name} has no tracking record; repeat its ndm train command once.")
        spool = stack.enter_context(workspace.recording(run_id))
        stack.enter_context(session(workspace.root, resolve_workers(experiment.scaling.workers)))
        yield workspace, spool
