"""Jobs of a Ray cluster over its job server: a way in that is closed by default, logs, waiting, stopping."""

import asyncio
import ipaddress
import logging
import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ndm.errors import UserError
from ndm.mistakes import hint, shown

if TYPE_CHECKING:
    from ray.job_submission import JobDetails, JobSubmissionClient

POLL_SECONDS = 0.5
RECONNECT_SECONDS = 2.0
NOT_LET_IN = (
    "does not let this command in: the token in ~/.ray/auth_token, or in the file that RAY_AUTH_TOKEN_PATH names, is "
    "missing or not the cluster's."
)
ENDED = frozenset({"SUCCEEDED", "FAILED", "STOPPED"})


def check(address: str, *, clear_text: bool, no_token: bool) -> None:
    """Refuse an address that is none, or that would be reached in the open.

    Raises:
        UserError: saying which, and how it is allowed by name.
    """
    try:
        parts = urlsplit(address)
        valid = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        valid, parts = False, urlsplit("")
    if not valid or parts.username or parts.password:
        raise UserError("The address of a cluster's job server is of the form https://head:8265, without a user.")
    if _is_loopback(parts.hostname or ""):
        return
    if parts.scheme == "http" and not clear_text:
        raise UserError(
            f"{address} would be sent the token and the code in clear text: put TLS before the job server and give "
            "https://, forward its port and give http://127.0.0.1:PORT, or say --allow-clear-text."
        )
    if not no_token and not has_token():
        raise UserError(
            f"There is no token for {address}: put the cluster's into ~/.ray/auth_token, or name its file in "
            "RAY_AUTH_TOKEN_PATH; or, where the cluster asks for none, say --allow-no-token."
        )


def has_token() -> bool:
    """Whether this machine has one to show."""
    path = os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token"
    return Path(path).is_file()


def connect(address: str) -> "JobSubmissionClient":
    """A client of the job server; errors as for `answering`."""
    from ray.job_submission import JobSubmissionClient

    for module in ("dashboard_sdk", "job.sdk"):  # each has a level of its own
        logging.getLogger(f"ray.dashboard.modules.{module}").setLevel(logging.WARNING)
    with answering(address):
        return JobSubmissionClient(address)


@contextmanager
def answering(address: str) -> Iterator[None]:
    """Turns failures of the job server into a sentence.

    Raises:
        UserError: it does not answer, does not let us in, or is none.
    """
    import requests
    from ray.exceptions import AuthenticationError

    where = f"The cluster at {address}"
    try:
        yield
    except AuthenticationError:
        raise UserError(f"{where} {NOT_LET_IN}") from None
    except requests.exceptions.SSLError:
        raise UserError(
            f"{where} shows a certificate that is not trusted here: name its authority in REQUESTS_CA_BUNDLE."
        ) from None
    except (ConnectionError, requests.exceptions.RequestException):
        raise UserError(
            f"{where} does not answer: start it, correct the address, or leave it out to work on this machine."
        ) from None
    except RuntimeError as error:
        if re.search(r"status code 40[13]\b", said := str(error).strip()):
            raise UserError(f"{where} {NOT_LET_IN}") from None
        raise UserError(f"{where} refuses: {said.splitlines()[-1] if said else 'it does not say why'}") from None


def known(client: "JobSubmissionClient", address: str) -> "list[JobDetails]":
    """All jobs of ours, the newest first."""
    with answering(address):
        jobs = [job for job in client.list_jobs() if (job.metadata or {}).get("ndm")]
    return sorted(jobs, key=lambda job: -(job.start_time or 0))


def details(client: "JobSubmissionClient", address: str, job: str) -> "JobDetails":
    """One job. UserError if there is none of that name."""
    jobs = {one.submission_id or "": one for one in known(client, address)}
    if job not in jobs:
        raise UserError(f"There is no job {shown(job)} at {address}: {hint(job, list(jobs), 'jobs')}")
    return jobs[job]


def follow(client: "JobSubmissionClient", address: str, job: str) -> None:
    """Show what a job says until it ends; a line that breaks is taken up where it was.

    Raises:
        UserError: the cluster does not answer any more.
        KeyboardInterrupt: the user has seen enough; the job goes on.
    """
    import aiohttp

    seen = 0

    async def tail() -> None:
        nonlocal seen
        passed = 0
        async for chunk in client.tail_job_logs(job):
            passed += len(chunk)
            if passed > seen:
                print(chunk[len(chunk) - (passed - seen) :], end="", flush=True)
                seen = passed

    while True:
        try:
            asyncio.run(tail())
        except (aiohttp.ClientError, TimeoutError, RuntimeError, OSError):
            time.sleep(RECONNECT_SECONDS)
        if status(client, address, job) in ENDED:
            break
        time.sleep(POLL_SECONDS)
    with answering(address):
        rest = client.get_job_logs(job)
    print(rest[seen:], end="", flush=True)


def wait(client: "JobSubmissionClient", address: str, job: str) -> int:
    """Returns the exit status of a job when it has ended."""
    while status(client, address, job) not in ENDED:
        time.sleep(POLL_SECONDS)
    return exit_status(details(client, address, job))


def status(client: "JobSubmissionClient", address: str, job: str) -> str:
    """One of Ray's words: PENDING, RUNNING, SUCCEEDED, FAILED, STOPPED."""
    with answering(address):
        return client.get_job_status(job).value


def exit_status(job: "JobDetails") -> int:
    """Of its command; 130 for one that was stopped, 1 where a job did not come to run."""
    ended = str(job.status.value)
    if job.driver_exit_code is not None and job.driver_exit_code >= 0:
        return job.driver_exit_code
    return {"SUCCEEDED": 0, "STOPPED": 130}.get(ended, 1)


def line(job: "JobDetails") -> str:
    """What a job is, in a line of a list."""
    about: dict[str, Any] = dict(job.metadata or {})
    began = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime((job.start_time or 0) / 1000))
    end = f", exit status {exit_status(job)}" if job.status.value in ENDED else ""
    return f"{job.status.value.lower()}{end}, {began}: {about.get('command', '')}"


def attend(client: "JobSubmissionClient", address: str, job: str) -> int | None:
    """Show what a job says to its end; its exit status, or None where the user left it, told the way back.

    Raises:
        UserError: the cluster does not answer any more.
    """
    try:
        follow(client, address, job)
        return wait(client, address, job)
    except KeyboardInterrupt:
        detached(job, address)
        return None


def detached(job: str, address: str) -> None:
    """Say how to come back to a job that goes on."""
    words = f"--address {address}"
    print(
        f"\n{job} goes on; come back with: ndm jobs logs {job} -f {words}\nEnd it with: ndm jobs stop {job} {words}",
        file=sys.stderr,
        flush=True,
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
