"""MLflow's registry of models: an exported folder as a version of a name, beside the run that it came from.

The folder goes as it is; MLflow's own ways to log a model of torch would pickle it, or trace it.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ndm.errors import UserError
from ndm.tracking.client import connect, explained, masked

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel, Run

ALIAS = "newest"
"""Of the version that was registered last; "latest" is MLflow's own word."""
HASH = "export_sha256"
"""Tag by which a version is known again."""
LONGEST_DESCRIPTION = 5000  # a column of MLflow's database


def check_name(name: str) -> None:
    """Refuse what MLflow would refuse, or show badly.

    Raises:
        UserError: it is no name of a model.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
        raise UserError(
            f"--register {name!r:.120} is no name of a model: give up to 100 letters, digits, dots, dashes and "
            "underscores, the first a letter or digit."
        )


def register(
    uri: str,
    run_id: str,
    folder: Path,
    *,
    name: str,
    sha256: str,
    description: str,
    tags: Mapping[str, str],
) -> str:
    """Make the folder a version of the model `name`; one that was registered before is found again.

    Args:
        uri: the tracking server.
        run_id: of the run that the model came from.
        folder: what is uploaded, as it is.
        name: of the model, which is made if it is not there.
        sha256: the identity of the folder's content.
        description: Markdown; what is too long for MLflow is cut.
        tags: of the version.

    Returns:
        The version's number; the alias `newest` points to it.

    Raises:
        UserError: the server cannot be reached or refuses, or the run is not there.
    """
    check_name(name)
    client = connect(uri)
    from mlflow.exceptions import MlflowException

    with explained(uri):
        try:
            run = client.get_run(run_id)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            raise UserError(f"{masked(uri)} has no run {run_id}: correct tracking.uri.") from None
        versions = [v for v in client.search_model_versions(f"name='{name}'") if v.tags.get(HASH) == sha256]
        if versions:
            version = str(versions[0].version)
        else:
            if not list(client.search_registered_models(f"name='{name}'")):
                client.create_registered_model(name)
            model = _uploaded(client, run, folder, name, sha256)
            if len(description) > LONGEST_DESCRIPTION:
                end = "\n\n... the rest is in the README.md of the files."
                description = description[: LONGEST_DESCRIPTION - len(end)] + end
            created = client.create_model_version(
                name,
                model.artifact_location,  # "models:/ID" would be looked up in the tracking store of the whole process
                run_id,
                tags={HASH: sha256, **tags},
                description=description,
                model_id=model.model_id,
            )
            version = str(created.version)
        client.set_registered_model_alias(name, ALIAS, version)
    return version


def _uploaded(client: "MlflowClient", run: "Run", folder: Path, name: str, sha256: str) -> "LoggedModel":
    """The files as a model of the run; those that an earlier call left whole are taken."""
    experiment = run.info.experiment_id
    for known in client.search_logged_models([experiment], f"tags.{HASH} = '{sha256}'"):
        if known.status == "READY" and known.source_run_id == run.info.run_id:
            return known
    model = client.create_logged_model(experiment, name, run.info.run_id, tags={HASH: sha256}, model_type="ndm")
    client.log_model_artifacts(model.model_id, str(folder))
    return client.finalize_logged_model(model.model_id, "READY")
