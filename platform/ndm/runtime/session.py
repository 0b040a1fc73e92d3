"""Ray for one command: a cluster that RAY_ADDRESS names, or an embedded one, closed by default, on loopback."""

import logging
import os
import secrets
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import ray
import torch

from ndm.errors import UserError
from ndm.runtime import cluster

SOURCE_ROOT = Path(__file__).resolve().parents[2]

QUEUE_SECONDS = 2.0
"""Between two looks at what a cluster has."""

STARTS = 4
"""How often Ray is started before it is given up: it gives a node half a minute, which a busy machine exceeds."""

SLOW_START = "The current node timed out during startup."

Workers = int | tuple[int, int]
"""A number, or the least and the most."""


def gpus() -> int:
    """GPUs of the cluster that RAY_ADDRESS names, or of this machine."""
    return _resources("GPU") if cluster.named() else torch.cuda.device_count()


def resolve_workers(workers: Workers | str, queue: Callable[[str], None] | None = None) -> Workers:
    """`auto` is one worker per GPU, or two CPU workers. Joins the cluster that RAY_ADDRESS names, if it names one.

    With `queue`, which is told what is waited for, it waits until a cluster has so many.

    Raises:
        UserError: more workers than GPUs, where there are GPUs, or than the CPUs of a cluster; no cluster answers.
    """
    if cluster.named():
        return _on_cluster(workers, queue)
    found = gpus()
    if workers == "auto":
        return found or 2
    assert not isinstance(workers, str)
    least, _ = extremes(workers)
    if found and least > found:
        raise UserError(f"scaling.workers={least} but this machine has {found} GPU(s); use at most {found}, or auto.")
    return workers


def extremes(workers: Workers) -> tuple[int, int]:
    """The least and the most."""
    return workers if isinstance(workers, tuple) else (workers, workers)


def said(workers: Workers) -> str:
    """A number of workers in words."""
    return f"{workers[0]} to {workers[1]}" if isinstance(workers, tuple) else str(workers)


def _on_cluster(workers: Workers | str, queue: Callable[[str], None] | None) -> Workers:
    _join()
    before = ""
    while True:
        kind, found = ("GPU", gpus()) if gpus() else ("CPU", _resources("CPU"))
        most = min(found, _resources("CPU"))  # a worker holds a CPU beside its GPU
        enough = (most if kind == "GPU" else min(2, most)) if workers == "auto" else workers
        assert not isinstance(enough, str)
        least, _ = extremes(enough)
        if 0 < least <= most:
            return enough
        shown = least if isinstance(workers, tuple) else workers
        short = f"scaling.workers={shown} but the Ray cluster has {found} {kind}(s), enough for {most} worker(s)"
        if queue is None:
            raise UserError(f"{short}.")
        if short != before:
            queue(f"Waiting for nodes: {short}.")
        before = short
        time.sleep(QUEUE_SECONDS)


def _resources(kind: str) -> int:
    return int(ray.cluster_resources().get(kind, 0))


@contextmanager
def session(root: Path, workers: Workers) -> Iterator[None]:
    """Start Ray for `workers` workers and stop it at the end, whatever happens; a Ray that this process has is used.

    Where RAY_ADDRESS names a cluster, that is joined instead.

    Raises:
        UserError: the cluster cannot be joined, or this machine is too busy to start one.
    """
    if ray.is_initialized() or cluster.named():
        _join()
        yield
        return
    os.environ.pop(cluster.OPEN_TOKEN, None)  # it would be taken instead of the file, and every task would see it
    os.environ["RAY_AUTH_TOKEN_PATH"] = str(_token_file(root))
    os.environ["PYTHONPATH"] = _python_path()
    # gloo resolves the host's own name, which need not have an address; all workers are on this host.
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    os.environ.pop("RAY_ADDRESS", None)
    on_termination = signal.getsignal(signal.SIGTERM)
    _start(max(os.cpu_count() or 1, extremes(workers)[1]))
    try:
        # Ray has put in its own, which kills the workers before they could save.
        signal.signal(signal.SIGTERM, on_termination)
        yield
    finally:
        ray.shutdown()


def _start(cpus: int) -> None:
    for _ in range(STARTS):
        before = {*psutil.Process().children()}
        try:
            ray.init(
                address="local",
                num_cpus=cpus,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
            return
        except Exception as error:  # Ray has no name for it
            if not str(error).startswith(SLOW_START):
                raise
            _end({*psutil.Process().children()} - before)
    raise UserError(
        f"Ray did not start on this machine in {STARTS * 30} s, because it is too busy: end other work, and give the "
        "same command again."
    )


def _end(started: set[psutil.Process]) -> None:
    """Ray forgets the processes of a start that it gives up."""
    for process in started:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(started)


def _join() -> None:
    if address := cluster.named():
        cluster.join(address, _python_path())


def _python_path() -> str:
    paths = [str(SOURCE_ROOT), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return os.pathsep.join(dict.fromkeys(paths))


def _token_file(root: Path) -> Path:
    """A random token in a file that only its owner can read."""
    path = root / ".ray" / "auth_token"
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not path.exists():
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(32))
    return path
