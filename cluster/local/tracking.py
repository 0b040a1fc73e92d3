"""The MLflow server: runs in PostgreSQL, artifacts through the server into the S3 store, accounts with passwords."""

import base64
import configparser
import json
import secrets
import subprocess
import sys
import urllib.request
from pathlib import Path

import store
from postgres import Postgres, address
from service import Service, status_of
from state import LOOPBACK, secret, secret_file

from ndm.errors import UserError

PORT = 1
ADMINISTRATOR, ACCOUNT = "admin", "ndm"
CACHE_SECONDS = 60  # else each call costs a password's hash, 0.2 s

ACCOUNTS = """[mlflow]
default_permission = EDIT
database_uri = {database}
admin_username = {name}
admin_password = {password}
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
auth_cache_ttl_seconds = {seconds}
"""
CREDENTIALS = """[mlflow]
mlflow_tracking_username = {name}
mlflow_tracking_password = {password}
"""


class Tracking(Service):
    """The server. Jobs have an account that may write runs and not manage accounts."""

    name = "mlflow"

    @property
    def address(self) -> str:
        return f"http://{LOOPBACK}:{self.state.port(PORT)}"

    @property
    def credentials(self) -> Path:
        """The account of the jobs, where MLflow's client looks for it."""
        return self.state.home / ".mlflow" / "credentials"

    @property
    def database(self) -> str:
        return address(Postgres(self.state).socket, "mlflow")

    def before(self) -> None:
        text = ACCOUNTS.format(
            database=address(Postgres(self.state).socket, "mlflow_auth"),
            name=ADMINISTRATOR,
            password=secret(self.folder / "administrator"),
            seconds=CACHE_SECONDS,
        )
        secret_file(self.folder / "accounts.ini", text)

    def command(self) -> list[str]:
        where = [f"--host={LOOPBACK}", f"--port={self.state.port(PORT)}"]
        names = ",".join(f"{name}:{self.state.port(PORT)}" for name in (LOOPBACK, "localhost"))
        what = [f"--backend-store-uri={self.database}", f"--artifacts-destination=s3://{store.BUCKETS[1]}/artifacts"]
        closed = ["--app-name=basic-auth", f"--allowed-hosts={names}"]
        return [sys.executable, "-m", "mlflow", "server", *where, "--workers=1", *what, *closed]

    def environment(self) -> dict[str, str]:
        return store.environment(self.state) | {
            "MLFLOW_AUTH_CONFIG_PATH": str(self.folder / "accounts.ini"),
            "MLFLOW_FLASK_SERVER_SECRET_KEY": secret(self.folder / "key"),
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # four times the memory, for what nobody here uses
            "MLFLOW_S3_ENDPOINT_URL": store.endpoint(self.state),
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }

    def answers(self) -> bool:
        return status_of(f"{self.address}/health") == 200

    def after(self) -> None:
        """See that the jobs have their account."""
        if not self.credentials.is_file():
            text = CREDENTIALS.format(name=ACCOUNT, password=secrets.token_hex(32))
            secret_file(self.credentials, text)
        administrator = _basic(ADMINISTRATOR, (self.folder / "administrator").read_text())
        there = f"{self.address}/api/2.0/mlflow/users"
        if status_of(f"{there}/get?username={ACCOUNT}", Authorization=administrator) == 200:
            return
        file = configparser.ConfigParser(interpolation=None)
        file.read(self.credentials)
        password = file["mlflow"]["mlflow_tracking_password"]
        body = json.dumps({"username": ACCOUNT, "password": password}).encode()
        headers = {"Authorization": administrator, "Content-Type": "application/json"}
        request = urllib.request.Request(f"{there}/create", data=body, headers=headers, method="POST")
        try:
            urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30).close()
        except OSError as error:
            raise UserError(f"MLflow does not make the account of the jobs ({error}): see {self.log}.") from None

    def upgrade(self) -> None:
        """Bring the database of a server that does not run to what this version of MLflow needs.

        Raises:
            UserError: MLflow fails; the database is as it was.
        """
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", "mlflow", "db", "upgrade", self.database]
            done = subprocess.run(command, env=self.surroundings(), stdout=log, stderr=log, check=False)
        if done.returncode:
            raise UserError(f"MLflow could not upgrade its database: see the end of {self.log}.")


def _basic(name: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()
