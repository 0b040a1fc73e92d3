"""The batch script of cluster/slurm, on a real Slurm of two nodes: it trains, saves in time, comes back, and ends."""

import contextlib
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import slurm_cluster
from commands import REPOSITORY, TINY, checkpoints
from hosts import Hosts
from slurm_cluster import SlurmCluster

pytestmark = pytest.mark.ray

SCRIPT = REPOSITORY / "cluster" / "slurm" / "ndm.sbatch"
METRICS = """
import concurrent.futures, psutil, urllib.request
found = {socket.laddr for socket in psutil.net_connections("tcp4") if socket.status == psutil.CONN_LISTEN}
def asked(place):
    address = place.ip.replace("0.0.0.0", "127.0.0.1")
    try:
        return urllib.request.urlopen(f"http://{address}:{place.port}/metrics", timeout=2).status
    except Exception:
        return "closed"
with concurrent.futures.ThreadPoolExecutor(64) as pool:
    print(*pool.map(asked, found))
"""
SLOWLY = ("monitor.validate_every=640", "monitor.validation_draws=20")
"""The same training; the long validations leave time for a signal between two checkpoints."""


@pytest.fixture(scope="module")
def pair(possible: None) -> Iterator[Hosts]:
    with Hosts("ada", "bea") as hosts:
        yield hosts


@pytest.fixture(scope="module")
def slurm(pair: Hosts) -> Iterator[SlurmCluster]:
    if reason := slurm_cluster.missing():
        pytest.skip(reason)
    with SlurmCluster(pair, pair.shared) as cluster:
        yield cluster


def submit(slurm: SlurmCluster, hosts: Hosts, *command: str, **environment: str) -> str:
    """A job of two nodes, as a user submits it, with what only these small hosts need."""
    return slurm.submit(
        hosts.shared,
        str(SCRIPT),
        *command,
        **{
            "NDM_CHECKOUT": str(REPOSITORY),
            "NDM_BIN": str(Path(sys.executable).parent),
            "NDM_SCRATCH": str(slurm.head.scratch),
            "NDM_RAY_OPTIONS": "--object-store-memory=150000000",
            "PYTHONPATH": str(REPOSITORY / "platform"),
            "RAY_memory_monitor_refresh_ms": "0",
        }
        | environment,
    )


def said(hosts: Hosts, job: str) -> str:
    return (hosts.shared / f"ndm-{job}.out").read_text()


def assert_only_a_file_holds_the_token(hosts: Hosts) -> None:
    (file,) = (hosts.shared / "runs" / ".ray").glob("slurm-*/auth_token")
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    token = file.read_text()
    assert re.fullmatch("[0-9a-f]{64}", token)
    rays = 0
    for host in hosts:
        for process in host.running():
            with contextlib.suppress(psutil.Error):  # it ended since it was listed
                assert token not in f"{process.cmdline()} {process.environ()}", process
                rays += process.environ().get("RAY_AUTH_MODE") == "token"
    assert rays > 0


def assert_no_port_tells_metrics(hosts: Hosts) -> None:
    """Of all that processes of the hosts listen on, asked on the host itself."""
    for host in hosts:
        told = host.python(METRICS).split()
        assert len(told) > 2
        assert set(told) == {"closed"}


def test_a_job_whose_time_is_up_saves_and_comes_back_to_the_end(slurm: SlurmCluster, pair: Hosts) -> None:
    job = submit(slurm, pair, "train", *TINY, *SLOWLY, "run.name=again", "scaling.workers=2")
    run = pair.shared / "runs" / "again"
    slurm.until(job, "RUNNING")

    def wait_for(happened: Callable[[], object]) -> None:
        while not happened():
            assert slurm.state(job)[0] == "RUNNING", said(pair, job)
            time.sleep(slurm_cluster.BETWEEN_LOOKS)

    wait_for(lambda: "2 nodes" in said(pair, job))
    assert_no_port_tells_metrics(pair)
    wait_for(lambda: checkpoints(run))
    assert_only_a_file_holds_the_token(pair)
    slurm.ask("scancel", "--batch", "--signal=USR1", job)  # as Slurm itself does before the time is up
    slurm.until(job, "PENDING")
    assert "saved, and put back into the queue" in said(pair, job)
    assert slurm.until(job, "COMPLETED", "FAILED") == 0, said(pair, job)
    assert (run / "results.json").is_file()
    assert said(pair, job).count("2 nodes: ada, bea") == 2
    assert re.search(r"Training again on 2 worker\(s\) from [1-9]\d+ of 5120 examples", said(pair, job))
    for host in pair:
        assert not [process for process in host.running() if "ray" in process.name()]
        assert not [*(pair.folder / host.name / "scratch").glob("ndm-*")]
    assert not [*(pair.shared / "runs" / ".ray").glob("slurm-*/")]  # nor the token


def test_a_mistake_of_the_user_is_the_jobs_exit_status(slurm: SlurmCluster, pair: Hosts) -> None:
    job = submit(slurm, pair, "train", "digits-tinny")
    assert slurm.until(job, "COMPLETED", "FAILED") == 2
    assert "digits-tiny" in said(pair, job)


def test_shellcheck_finds_nothing() -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed: apt-get install shellcheck")
    scripts = sorted(str(path) for path in SCRIPT.parent.iterdir() if path.suffix in (".sh", ".sbatch"))
    found = subprocess.run(["shellcheck", *scripts], capture_output=True, text=True)
    assert found.stdout == ""
    assert len(scripts) == 2
