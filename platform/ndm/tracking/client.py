"""The connection to MLflow: its settings, its silence, its failures in one sentence without credentials."""

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ndm.errors import UserError

if TYPE_CHECKING:
    from mlflow import MlflowClient

# Left alone MLflow waits minutes for a dead server, prints addresses, and reports its use to its makers.
SETTINGS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}

NO_PICKLES = {"MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"}
"""Whatever the environment says: nothing that is logged here is a pickle."""


def connect(uri: str) -> "MlflowClient":
    """A client of the tracking server or database at `uri`; sends nothing to a server yet."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    os.environ.update(NO_PICKLES)
    from mlflow import MlflowClient

    logging.getLogger("mlflow").setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # a line for each retry
    return MlflowClient(tracking_uri=uri)


def masked(text: str) -> str:
    """`text` without the user and password of any address in it."""
    return re.sub(r"//[^/\s'\"]*@", "//***@", text)


def reason(error: BaseException) -> str:
    """What lies at the bottom of an error, in a few words: "Connection refused"."""
    while cause := error.__cause__ or (None if error.__suppress_context__ else error.__context__):
        error = cause
    text = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
    return masked(text.splitlines()[0][:200])


@contextmanager
def explained(uri: str) -> Iterator[None]:
    """Turns a failure of the server inside the block into a UserError that names it and the remedy."""
    from mlflow.exceptions import MlflowException, RestException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError) as error:
        where, why = f"The tracking server {masked(uri)}", reason(error)
        if not uri.startswith("http"):
            sentence = f"The tracking database {uri} is of no use ({why}): mend it, or correct tracking.uri."
        elif isinstance(error, MlflowException) and error.get_http_status_code() in (401, 403):
            sentence = (
                f"{where} refuses access: set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, "
                "or MLFLOW_TRACKING_TOKEN, to an account that may write."
            )
        elif isinstance(error, RestException):
            sentence = f"{where} refuses the request ({why}): mend it there, or correct tracking.uri."
        elif isinstance(error.__context__, OSError):
            sentence = f"{where} cannot be reached ({why}): start it, or correct tracking.uri."
        else:
            sentence = f"{where} does not answer like MLflow ({why}): correct tracking.uri."
        raise UserError(sentence) from None
