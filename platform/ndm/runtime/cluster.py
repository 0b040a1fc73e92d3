"""The cluster that RAY_ADDRESS names, as Ray itself sets it for a submitted job and a user on one of the nodes does."""

import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import ray
from ray._private.services import find_node_ids
from ray._raylet import AuthenticationTokenLoader, GcsClient  # pyright: ignore[reportAttributeAccessIssue]
from ray.exceptions import AuthenticationError, RpcError

from ndm import environment
from ndm.errors import UserError
from ndm.runtime.jobs import NOT_LET_IN

OPEN_TOKEN = "RAY_AUTH_TOKEN"
"""Where Ray takes a token that all tasks inherit, and may print."""
PATIENCE_SECONDS = 15.0
"""For a head that is about to start."""


def named() -> str | None:
    """The address of the cluster; None where Ray is to be embedded, also beside a job server that verbs are sent to."""
    address = os.environ.get("RAY_ADDRESS", "")
    return None if address in ("", "local") or environment.job_server() else address


def join(address: str, python_path: str) -> None:
    """Connect this process, unless it is, until it ends: Ray Data waits for ever in the second Ray of a process.

    The workers import from `python_path`: on a node the code lies where it lies here, also that of a submitted job's
    working_dir. The cluster goes on when this process ends.

    Raises:
        UserError: it does not answer, does not let this process in, or has no node on this machine; or the token is in
            the environment.
    """
    if OPEN_TOKEN in os.environ:
        raise UserError(
            f"{OPEN_TOKEN} is set, which every task could read in its environment: put the token into a file of mode "
            f"0600, ~/.ray/auth_token or the one that {OPEN_TOKEN}_PATH names, and unset it."
        )
    if ray.is_initialized():
        return
    if "://" in address or (":" not in address and address != "auto"):
        raise UserError(
            f"RAY_ADDRESS={address} cannot be used: run the command on a node of the cluster with its HOST:PORT, "
            "or submit it as a job."
        )
    cluster = f"The Ray cluster at RAY_ADDRESS={address}"
    on_termination = signal.getsignal(signal.SIGTERM)
    os.environ["RAY_OVERRIDE_JOB_RUNTIME_ENV"] = "1"  # the path below is added to what the job was submitted with
    try:
        if address != "auto":  # which Ray looks up on this machine
            _knock(address)
            if not find_node_ids():  # Ray would look for one for a minute
                raise ConnectionError
        ray.init(
            address=address,
            runtime_env={"env_vars": {"PYTHONPATH": python_path}},
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except AuthenticationError:
        raise UserError(f"{cluster} {NOT_LET_IN}") from None
    except Silent:
        raise UserError(
            f"{cluster} does not answer: start it, correct the address, or unset it to work on this machine alone."
        ) from None
    except ConnectionError:
        raise UserError(
            f"{cluster} has no node on this machine: run the command on one of its nodes, or submit it as a job."
        ) from None
    except RuntimeError as error:  # another version of Ray or Python
        raise UserError(f"{cluster} cannot be used: {str(error).strip().splitlines()[0]}") from None
    # Ray has put in its own, which kills the workers before they could save.
    signal.signal(signal.SIGTERM, on_termination)


class Silent(Exception):
    """Nothing of Ray answers at an address."""


def _knock(address: str) -> None:
    """Ask the head for a sign of life; Ray would try a minute, and say so on standard error.

    Raises:
        Silent: there is none.
        ray.exceptions.AuthenticationError: the token is missing or wrong.
    """
    AuthenticationTokenLoader.instance().has_token()  # without one, the client below would end this process
    end = time.monotonic() + PATIENCE_SECONDS
    while not _listens(address):
        if time.monotonic() > end:
            raise Silent
        time.sleep(0.2)
    try:
        with _silence():
            GcsClient(address=address)
    except (RpcError, ValueError):
        raise Silent from None


def _listens(address: str) -> bool:
    """Whether something does, at HOST:PORT.

    Raises:
        Silent: there is no such host, or no way to it.
    """
    try:
        place = urlsplit(f"//{address}")
        socket.create_connection((place.hostname or "", place.port or 0), timeout=PATIENCE_SECONDS).close()
    except ConnectionRefusedError:
        return False  # not yet, or not again
    except (OSError, ValueError):
        raise Silent from None
    return True


@contextmanager
def _silence() -> Iterator[None]:
    """Without what Ray's core writes on standard error, past Python."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nothing:
            os.dup2(nothing.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
