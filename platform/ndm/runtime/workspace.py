"""What every verb on a run works with: the experiment, the run's folder, the data, the line to the tracking server."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from ndm import tracking
from ndm.build import build_objective
from ndm.config import Experiment
from ndm.data import places
from ndm.data.available import available
from ndm.data.folders import Folder
from ndm.data.manifest import Manifest, check
from ndm.data.shards import verify
from ndm.errors import UserError
from ndm.evaluation.cost import Cost, cost
from ndm.runs import BEST, RunFolder
from ndm.runtime.shelf import Shelf
from ndm.runtime.spread import spread
from ndm.runtime.storage import Bucket
from ndm.terminal import Terminal
from ndm.tracking.spool import Spool, Status
from ndm.training import checkpoint as checkpoints
from ndm.training.checkpoint import Home

REPOSITORY = Path(__file__).resolve().parents[3]
FLUSH_SECONDS = 60.0


@dataclass(frozen=True)
class Workspace:
    """An experiment with its place on disk."""

    experiment: Experiment
    root: Path
    folder: RunFolder
    data: Folder
    manifest: Manifest
    terminal: Terminal
    checkpoint: str | None = None
    """Name of the one to be worked with, instead of the newest."""

    @property
    def home(self) -> Home:
        """Where the run's checkpoints are."""
        return home_of(self.experiment, self.folder)

    @classmethod
    def open(
        cls, experiment: Experiment, folder: RunFolder, terminal: Terminal, checkpoint: str | None = None
    ) -> "Workspace":
        """Prepare the data if need be, check that they are whole, and find the checkpoint if it is asked for as "best".

        Raises:
            UserError: the data cannot be prepared or are damaged, or no checkpoint is the best.
        """
        root = folder.path.parent
        data = data_of(experiment, root, terminal)
        full = experiment.data.verify == "full"
        manifest = verify(data, terminal.count("verifying bytes")) if full else check(data)
        found = cls(experiment, root, folder, data, manifest, terminal, checkpoint)
        if checkpoint == BEST:
            if (best := checkpoints.best(found.home)) is None:
                raise UserError(
                    f"No checkpoint in {found.home} has a validation bound, so that none of them is the best."
                )
            found = replace(found, checkpoint=best)
        return found

    def counted(self) -> Cost:
        """What a step costs."""
        return cost(build_objective(self.experiment, self.manifest.shape, self.manifest.levels))

    def tracking_uri(self) -> str:
        return tracking.resolve_uri(self.experiment.tracking, self.root)

    def open_tracking_run(
        self, workers: str, counted: Cost, *, title: str = "", tags: Mapping[str, str] | None = None
    ) -> str:
        """Create the MLflow run, or continue the one this run's folder names; returns its id.

        `title` is put behind its name, and `tags` are added to those that every training has.

        Raises:
            UserError: the tracking server does not answer.
        """
        known = tracked(self.folder, self.tracking_uri())
        run_id = tracking.ensure_run(
            self.experiment.tracking,
            self.root,
            name=" ".join(filter(None, (self.folder.name, title))),
            # Params cannot be changed later; where and how a run goes on may.
            params=self.experiment.flat(deciding=None if known is None else True),
            tags={
                "mlflow.source.name": f"ndm train {self.experiment.name}",
                "experiment": self.experiment.name,
                "experiment_hash": self.experiment.digest(),
                "data": f"{self.manifest.name} {self.manifest.version}",
                "data_hash": self.manifest.hash,
                "transform": self.experiment.transform.kind,
                "workers": workers,
                "parameters_denoiser": str(counted.denoiser_parameters),
                "parameters_transform": str(counted.transform_parameters),
                "step_cost_forward_evaluations": f"{counted.forward_evaluations:.2f}",
                **(tags or {}),
            },
            run_id=known,
        )
        tracking.log_dataset(
            self.tracking_uri(), run_id, name=self.manifest.name, digest=self.manifest.hash, source=str(self.data)
        )
        note_tracked(self.folder, self.tracking_uri(), run_id)
        return run_id

    @contextmanager
    def recording(self, run_id: str, at_end: Status | None = None) -> Iterator[Spool]:
        """A spool that is sent to the run at the end; what the server does not take waits on disk for the next call.

        With `at_end`, the run's status becomes it, or KILLED or FAILED by the way the block is left.
        """
        spool = Spool(self.folder.path)
        status: Status | None = "FAILED"
        if at_end is not None:
            spool.status("RUNNING")
        try:
            yield spool
            status = at_end
        except KeyboardInterrupt:
            status = "KILLED"
            raise
        finally:
            if at_end is not None and status is not None:
                spool.status(status)
            spool.close()
            forward(self.folder, self.tracking_uri(), run_id, self.terminal)

    @contextmanager
    def forwarding(self, run_id: str) -> Iterator[None]:
        """Send what workers record while they record it: here, because importing MLflow would delay the first step."""
        log, handler = logging.getLogger("ndm"), ToTerminal(self.terminal)
        log.addHandler(handler)
        forwarder = tracking.Forwarder(self.folder.path, self.tracking_uri(), run_id)
        try:
            yield
        finally:
            forwarder.close(timeout=0)
            log.removeHandler(handler)


def home_of(experiment: Experiment, folder: RunFolder) -> Home:
    """Where the checkpoints of a run are kept: below `storage.checkpoints` under its name, with it in the store, or in
    its folder."""
    storage = experiment.storage
    if storage.checkpoints is not None:
        place = places.at(storage.checkpoints) / folder.name
        return Bucket(place) if place.system else Path(place.path)
    return Shelf.of(storage.store).home(folder.name) if storage.store else folder.checkpoints


def data_of(experiment: Experiment, root: Path, terminal: Terminal, *, verify: bool = False) -> Folder:
    """The experiment's data set, prepared if need be; errors as for `available`."""
    storage = experiment.storage
    return available(
        experiment.data,
        storage.data_sets,
        root,
        limit=storage.cache_bytes,
        progress=terminal.count,
        verify=verify,
        each=spread(root),
    )


def tracked(folder: RunFolder, uri: str) -> str | None:
    """The MLflow run of a run's folder; None if it has none, or only on a server that it was pulled from.

    Raises:
        UserError: the server does not answer.
    """
    record = folder.read("tracking")
    run_id, server = record.get("run_id"), record.get("server")
    if run_id is None or server in (None, tracking.fingerprint(uri)) or tracking.has_run(uri, run_id):
        return run_id
    return None


def note_tracked(folder: RunFolder, uri: str, run_id: str) -> None:
    """Record the MLflow run; one of another server than before is told all that was recorded so far."""
    if folder.read("tracking").get("run_id") not in (None, run_id):
        tracking.rewind(folder.path)
    folder.write("tracking", {"run_id": run_id, "server": tracking.fingerprint(uri)})


class ToTerminal(logging.Handler):
    """Shows warnings without spoiling the progress line."""

    def __init__(self, terminal: Terminal) -> None:
        super().__init__(logging.WARNING)
        self._terminal = terminal

    def emit(self, record: logging.LogRecord) -> None:
        self._terminal.warn(record.getMessage())


def forward(folder: RunFolder, uri: str, run_id: str, terminal: Terminal) -> None:
    """Send what waits in the run's spool; what the server does not take stays there, and the user is told."""
    if left := tracking.Forwarder(folder.path, uri, run_id).close(timeout=FLUSH_SECONDS):
        terminal.warn(
            f"The tracking server did not take {left} records of {folder.name}; they are kept in the run's folder and "
            "sent by the next command on this run."
        )
