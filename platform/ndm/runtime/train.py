"""The verb `train`: prepare, train or resume, score every test image once, draw samples, and record all of it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ndm import notation, tracking
from ndm.config import Experiment
from ndm.data.folders import require_bucket
from ndm.errors import UserError
from ndm.runs import RunFolder
from ndm.runtime import evaluate, sample
from ndm.runtime.card import describe
from ndm.runtime.channel import Channel
from ndm.runtime.fit import fit
from ndm.runtime.session import Workers, gpus, resolve_workers, said, session
from ndm.runtime.shelf import Shelf, kept
from ndm.runtime.storage import REMEDY, Bucket
from ndm.runtime.worker import Task, newest
from ndm.runtime.workspace import REPOSITORY, Workspace, forward, home_of
from ndm.terminal import Terminal, duration
from ndm.tracking.spool import FILE, held
from ndm.training import checkpoint
from ndm.training.checkpoint import Home


def train(experiment: Experiment, *, fresh: bool, terminal: Terminal) -> dict[str, Any]:
    """Carry the experiment to its end, from wherever an earlier call left it; returns the run's results.

    Raises:
        UserError: a circumstance the user can mend.
        KeyboardInterrupt: it was interrupted; the run is marked KILLED, and the same call resumes it.
    """
    workers = resolve_workers(experiment.scaling.workers, terminal.say if experiment.scaling.queue else None)
    folder = RunFolder(Path(experiment.storage.root).absolute() / experiment.run_name())
    with folder.lock():
        if fresh:
            clear(experiment, folder)
        with kept(experiment.storage.store, folder, terminal) as publish:
            check_same(folder, experiment)
            if results := folder.read("results"):
                terminal.say(f"The run {folder.name} is finished; --fresh starts it again from the beginning.")
                uri = tracking.resolve_uri(experiment.tracking, folder.path.parent)
                forward(folder, uri, results["run_id"], terminal)
                return results
            return _to_the_end(Workspace.open(experiment, folder, terminal), workers, publish)


def _to_the_end(workspace: Workspace, workers: Workers, publish: Callable[[], None]) -> dict[str, Any]:
    experiment, folder = workspace.experiment, workspace.folder
    # What the end cannot do is said before the beginning.
    evaluate.check(workspace)
    sample.check(workspace)
    ready(workspace.home)
    reached = newest(workspace.home, experiment, workspace.manifest)
    position = reached.position if reached else 0
    counted = workspace.counted()
    run_id = workspace.open_tracking_run(said(workers), counted)
    folder.write("experiment", experiment.model_dump(mode="json"))
    publish()  # a head that is lost has told what it was at
    with workspace.recording(run_id, at_end="FINISHED") as spool, session(workspace.root, workers):
        spool.tags(tracking.provenance(REPOSITORY))
        if position < experiment.training.examples:
            _fit(workspace, run_id, workers, position, counted.step_flops)
        results = {
            **_training(workspace, run_id, said(workers)),
            "likelihood": evaluate.evaluate(workspace, spool),
            "samples": sample.sample(workspace, spool),
        }
        spool.artifact(_experiment_file(folder, experiment))
        describe(folder, experiment, results, spool)
        if workspace.home != folder.checkpoints:  # not copied twice
            spool.tags({"checkpoints": str(workspace.home)})
        elif trained := checkpoint.latest(workspace.home):
            spool.artifact(folder.checkpoints / trained.name, "checkpoints")
    folder.write("results", results)  # only now is the run finished
    return results


def clear(experiment: Experiment, folder: RunFolder) -> None:
    """Move an earlier run aside.

    Raises:
        UserError: its checkpoints are elsewhere, where the new run would take them over.
    """
    store = experiment.storage.store
    if store is not None and folder.name in Shelf.of(store).names():
        raise UserError(
            f"--fresh leaves the earlier {folder.name} in the store, and would go on from it: remove it with ndm rm "
            f"{folder.name} --store, or choose another run.name."
        )
    home = home_of(experiment, folder)
    if home != folder.checkpoints and checkpoint.candidates(home):
        raise UserError(
            f"--fresh leaves the checkpoints of an earlier {folder.name} where they are, in {home}, and would go on "
            "from them: move them away, or choose another run.name."
        )
    folder.clear()


def ready(home: Home) -> None:
    """See to it that checkpoints can be kept; workers on other nodes tell by the folder whether they share it.

    Raises:
        UserError: there is no such bucket, or the folder cannot be made.
    """
    if isinstance(home, Bucket):
        require_bucket(home.place, REMEDY)
    elif isinstance(home, Path):
        try:
            home.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"Checkpoints cannot be kept in {home} ({error.strerror}); {REMEDY}") from None


def _experiment_file(folder: RunFolder, experiment: Experiment) -> Path:
    """The resolved experiment as a file that `ndm train` takes."""
    path = folder.path / "experiment.yaml"
    path.write_text(notation.write(experiment.model_dump(mode="json")))
    return path


def check_same(folder: RunFolder, experiment: Experiment) -> None:
    """Refuse to continue a run with another experiment."""
    if not folder.exists or (before := folder.experiment()).digest() == experiment.digest():
        return
    there, here = before.flat(deciding=True), experiment.flat(deciding=True)
    changed = sorted(key for key in there.keys() | here.keys() if there.get(key) != here.get(key))
    raise UserError(
        f"The run {folder.name} was started with another experiment ({', '.join(changed)} differ); "
        "choose another run.name, or start afresh with --fresh."
    )


def _fit(workspace: Workspace, run_id: str, workers: Workers, position: int, step_flops: int) -> None:
    """Train from `position` to the end under Ray Train, showing progress."""
    experiment, terminal, goal = workspace.experiment, workspace.terminal, workspace.experiment.training.examples
    last: dict[str, Any] = {"position": position}

    def show(progress: dict[str, Any]) -> None:
        if progress != last:
            last.update(progress)
            terminal.progress(_progress_line(progress, goal), progress["position"] >= goal)

    start = f" from {position} of {goal} examples on" if position else ""
    terminal.say(f"Training {workspace.folder.name} on {said(workers)} worker(s){start} ...")
    channel = Channel(workspace.folder.path, workspace.manifest.levels)
    task = Task(experiment.model_dump(mode="json"), workspace.home, workspace.data, run_id, step_flops, channel)
    with workspace.forwarding(run_id):
        finished = fit(
            task,
            workspace.folder.name,
            workers=workers,
            gpu=gpus() > 0,
            max_failures=experiment.scaling.max_failures,
            patience=experiment.scaling.endurance,
            ray_folder=workspace.root / ".ray" / "train",
            show=show,
            warn=terminal.warn,
        )
    if not finished:
        terminal.say(f"Stopped at {last['position']} of {goal} examples; the same command goes on from there.")
        raise KeyboardInterrupt


def _training(workspace: Workspace, run_id: str, workers: str) -> dict[str, Any]:
    """What the training took, all calls together."""
    reached = newest(workspace.home, workspace.experiment, workspace.manifest)
    assert reached is not None, "a training ends with a checkpoint"
    seconds = reached.meta["seconds"]
    return {
        "run": workspace.folder.name,
        "run_id": run_id,
        "examples": reached.position,
        "workers": workers,
        "device": "GPU" if gpus() else "CPU",
        "seconds": seconds,
        "examples_per_second": reached.position / seconds,
        # Of the time from each command's start to its last record, what is not start, repetition or waiting for nodes.
        "goodput": seconds / max(held(workspace.folder.path / FILE), seconds),
    }


def _progress_line(progress: dict[str, Any], goal: int) -> str:
    position, rate = progress["position"], progress["rate"]
    parts = [f"{position:>{len(str(goal))}}/{goal} examples", f"{rate:.0f}/s"]
    for split in ("train", "validation"):
        if (bits := progress.get(f"{split}/bits_per_dim")) is not None:
            parts.append(f"{split} {bits:.4f} bits/dim")
    left = (goal - position) / rate if rate else 0.0
    return "  ".join([*parts, f"{duration(left)} left"])
