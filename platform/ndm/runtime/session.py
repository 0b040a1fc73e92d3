"""An embedded Ray for one command: closed by default, on loopback, with room for the data tasks."""

import logging
import os
import secrets
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ray
import torch

from ndm.errors import UserError

SOURCE_ROOT = Path(__file__).resolve().parents[2]

# Ray gives reading tasks CPUs of their own. Workers that hold every CPU starve them for ever; workers that leave just
# what the tasks ask for make Ray Data grant them nothing but its emergency ration, for which it polls without a pause:
# that took half of the training's speed.
SPARE_CPUS = 2


Workers = int | tuple[int, int]
"""A number, or the least and the most."""


def resolve_workers(workers: Workers | str) -> Workers:
    """`auto` is one worker per GPU, or two CPU workers.

    Raises:
        UserError: more workers than GPUs, where there are GPUs.
    """
    gpus = torch.cuda.device_count()
    if workers == "auto":
        return gpus or 2
    assert not isinstance(workers, str)
    least = workers[0] if isinstance(workers, tuple) else workers
    if gpus and least > gpus:
        raise UserError(f"scaling.workers={least} but this machine has {gpus} GPU(s); use at most {gpus}, or auto.")
    return workers


@contextmanager
def session(root: Path, workers: Workers) -> Iterator[None]:
    """Start Ray for `workers` workers and stop it at the end, whatever happens; a Ray that this process has is used."""
    if ray.is_initialized():
        yield
        return
    os.environ["RAY_AUTH_TOKEN_PATH"] = str(_token_file(root))
    paths = [str(SOURCE_ROOT), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(paths))
    os.environ.pop("RAY_ADDRESS", None)
    on_termination = signal.getsignal(signal.SIGTERM)
    ray.init(
        address="local",
        num_cpus=max(os.cpu_count() or 1, workers[1] if isinstance(workers, tuple) else workers) + SPARE_CPUS,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    try:
        # Ray has put in its own, which kills the workers before they could save.
        signal.signal(signal.SIGTERM, on_termination)
        yield
    finally:
        ray.shutdown()


def _token_file(root: Path) -> Path:
    """A random token in a file that only its owner can read."""
    path = root / ".ray" / "auth_token"
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not path.exists():
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(32))
    return path
