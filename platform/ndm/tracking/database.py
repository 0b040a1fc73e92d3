"""Tracking without a server: MLflow's SQLite database in a folder, and its artifacts next to it."""

import sqlite3
from pathlib import Path

from ndm.errors import UserError

SQLITE = "sqlite:///"


def file_of(uri: str) -> Path:
    """The file of "sqlite:////folder/mlflow.db"."""
    return Path(uri.removeprefix(SQLITE))


def artifacts_of(uri: str) -> Path:
    return file_of(uri).parent / "artifacts"


def open_database(uri: str) -> None:
    """Makes the file if need be and sees that it can be written.

    MLflow tries for minutes to open a database that it cannot open; SQLite says so at once.

    Raises:
        UserError: it cannot be written, or is no database.
    """
    file = file_of(uri)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(file)
        try:
            connection.execute("BEGIN IMMEDIATE")
        finally:
            connection.close()
    except (OSError, sqlite3.Error) as error:
        why = getattr(error, "strerror", None) or str(error)
        sentence = f"The tracking database {file} cannot be used ({why}): mend it, or set tracking.uri."
        raise UserError(sentence) from None
