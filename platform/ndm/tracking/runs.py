"""The one MLflow run of a training: made or continued before anything expensive starts.

A server that is down, refuses or is not MLflow is a sentence here, within about ten seconds; later on it is
only a delay (`ndm.tracking.forward`).
"""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from ndm import environment, registry
from ndm.errors import UserError
from ndm.tracking import metrics
from ndm.tracking.client import connect, explained, masked
from ndm.tracking.database import SQLITE, artifacts_of, open_database

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

NOTE = "mlflow.note.content"
"""The tag that MLflow shows as a description, in Markdown."""
ABOUT = {NOTE: metrics.description(), "mlflow.experimentKind": "custom_model_development"}
"""What an experiment has; by the second its pages open on runs, metrics and pictures, not on what is for language."""
PARAMS_A_CALL, LONGEST_PARAM, LONGEST_TAG = 100, 6000, 8000  # MLflow's limits


def without_secrets(uri: str) -> str:
    """The address itself.

    Raises:
        ValueError: it carries credentials; in words that follow "it must be".
    """
    if "@" in uri and not uri.startswith(SQLITE):
        raise ValueError(
            "an address without user and password, which are given as MLFLOW_TRACKING_USERNAME and "
            "MLFLOW_TRACKING_PASSWORD in the environment, or in the file ~/.mlflow/credentials"
        )
    return uri


class TrackingConfig(registry.Config):
    """`uri`: an MLflow server, by default the one of MLFLOW_TRACKING_URI; None: a database in the folder of runs.
    `experiment`: the group in the UI."""

    uri: Annotated[str, AfterValidator(without_secrets)] | None = Field(
        default_factory=environment.tracking, validate_default=True
    )
    experiment: str = "ndm"


def resolve_uri(config: TrackingConfig, root: Path) -> str:
    """The tracking address that any process can use: `config.uri`, or the database in `root`.

    Raises:
        UserError: the address is of a kind that MLflow or the cluster cannot use.
    """
    uri = config.uri or f"{SQLITE}{root}/mlflow.db"
    if urlsplit(uri).scheme in ("http", "https") and urlsplit(uri).hostname:
        return uri.rstrip("/")
    path = uri.removeprefix(SQLITE)
    if path in (uri, "", ":memory:"):
        raise UserError(
            f'tracking.uri "{masked(uri)}" cannot be used: give http(s)://host:port of an MLflow server '
            "(which any other database belongs behind), sqlite:///path/mlflow.db, or leave it out."
        )
    return f"{SQLITE}{os.path.abspath(path)}"


def ensure_run(
    config: TrackingConfig,
    root: Path,
    *,
    name: str,
    params: Mapping[str, Any],
    tags: Mapping[str, str],
    run_id: str | None,
    description: str = "",
) -> str:
    """Makes a run, or continues `run_id`; it is RUNNING and has all `params` and `tags` on return.

    Args:
        root: the folder of runs (the embedded database and artifacts are in it).
        name: of the run, as the UI shows it; a continued run keeps its own.
        params: dotted keys to values; those that a continued run has already must be equal.
        tags: set, or set again.
        run_id: the run to continue, or None for a new one.
        description: Markdown for the top of the run's page.

    Returns:
        The run's id.

    Raises:
        UserError: the server or the run cannot be used, or a parameter is not what it was.
    """
    uri = resolve_uri(config, root)
    if uri.startswith(SQLITE):
        open_database(uri)
    client = connect(uri)
    texts = {key: param_text(value) for key, value in params.items()}
    if description:
        tags = {NOTE: description, **tags}
    with explained(uri):
        if run_id is None:
            run = client.create_run(experiment_id(client, config.experiment, uri), run_name=name)
        else:
            run = continued(client, run_id, texts, uri)
        write(client, run, texts, tags)
        client.update_run(run.info.run_id, "RUNNING")
    return run.info.run_id


def fingerprint(uri: str) -> str:
    """What tells one tracking server from another, without its address."""
    return hashlib.sha256(uri.encode()).hexdigest()[:12]


def has_run(uri: str, run_id: str) -> bool:
    """Whether the server knows the run. UserError if it does not answer."""
    from mlflow.exceptions import MlflowException

    if uri.startswith(SQLITE):
        open_database(uri)
    with explained(uri):
        try:
            connect(uri).get_run(run_id)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return False
    return True


def tags(uri: str, run_id: str) -> dict[str, str]:
    """The tags of a run. UserError if the server does not answer."""
    with explained(uri):
        return dict(connect(uri).get_run(run_id).data.tags)


def experiment_id(client: "MlflowClient", name: str, uri: str) -> str:
    """Id of the experiment of that name, which is made if there is none; UserError if it is deleted."""
    from mlflow.exceptions import MlflowException

    artifacts = artifacts_of(uri).as_uri() if uri.startswith(SQLITE) else None
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        try:
            return client.create_experiment(name, artifact_location=artifacts, tags=ABOUT)
        except MlflowException as error:
            experiment = client.get_experiment_by_name(name)  # another process was first
            if experiment is None:
                raise error
    if experiment.lifecycle_stage != "active":
        raise UserError(
            f'The experiment "{name}" of {masked(uri)} is deleted: name another as tracking.experiment, or '
            f"restore it with `mlflow experiments restore --experiment-id {experiment.experiment_id}`."
        )
    for key in ABOUT.keys() - experiment.tags.keys():
        client.set_experiment_tag(experiment.experiment_id, key, ABOUT[key])
    return experiment.experiment_id


def continued(client: "MlflowClient", run_id: str, params: Mapping[str, str], uri: str) -> "Run":
    """The run that is to be continued; UserError if it is gone or had other params."""
    from mlflow.exceptions import MlflowException

    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        raise UserError(f"{masked(uri)} has no run {run_id}: correct tracking.uri, or start a new run.") from None
    if run.info.lifecycle_stage != "active":
        raise UserError(f"Run {run_id} is deleted: restore it with `mlflow runs restore --run-id {run_id}`.")
    for key, value in params.items():
        if (old := run.data.params.get(key, value)) != value:
            raise UserError(
                f"Run {run_id} has {key} = {old}, now it is {value}; the parameters of a run cannot change: "
                "give the old value, or start a new run."
            )
    return run


def write(client: "MlflowClient", run: "Run", params: Mapping[str, str], tags: Mapping[str, str]) -> None:
    """Write params that the run does not have yet, and tags, in as few calls as MLflow allows."""
    from mlflow.entities import Param, RunTag

    new = [Param(key, value) for key, value in params.items() if key not in run.data.params]
    marks = [RunTag(key, value[:LONGEST_TAG]) for key, value in tags.items()]
    for i in range(0, max(len(new), len(marks)), PARAMS_A_CALL):
        part = slice(i, i + PARAMS_A_CALL)
        client.log_batch(run.info.run_id, params=new[part], tags=marks[part], synchronous=True)


def param_text(value: Any) -> str:
    """The value as MLflow keeps it; a text that is too long ends in the hash of the whole."""
    text = str(value)
    if len(text) <= LONGEST_PARAM:
        return text
    end = f"... {len(text)} characters, sha256 {hashlib.sha256(text.encode()).hexdigest()}"
    return text[: LONGEST_PARAM - len(end)] + end
