"""Shared by every test: one thread, one seed, networks with fixed random weights, and what many share: Ray, hosts."""

import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import hosts as namespaces
import local_cluster
import pytest
import torch
from hosts import Hosts
from local_cluster import LocalCluster
from ray_cluster import RayCluster
from torch import nn

from ndm.runtime.session import session  # before any test imports Ray, which then reads the settings made there

REQUIRED = "NDM_REQUIRE_HOSTS"
"""In the environment where hosts that could be made, but do not work, are an error: in the gate."""

for _name in ("RAY_ADDRESS", "NDM_ROOT", "NDM_STORE", "MLFLOW_TRACKING_URI"):
    os.environ.pop(_name, None)  # of a shell that is the client of a cluster

torch.set_num_threads(1)  # tests side by side do not fight for the cores


@pytest.fixture(autouse=True)
def _same_weights_every_time() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def store_address() -> Iterator[str]:
    """Where a test may start an S3 store: in the environment, with keys, from before Ray starts its workers."""
    with socket.socket() as free, pytest.MonkeyPatch.context() as patch:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        patch.setenv("AWS_ENDPOINT_URL", address)
        patch.setenv("AWS_ACCESS_KEY_ID", "the-key-of-the-test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret-key-of-the-test")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        free.close()
        yield address


@pytest.fixture(scope="session")
def endpoint(store_address: str) -> Iterator[str]:
    """An S3 store."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(port=urlsplit(store_address).port or 0, verbose=False)
    server.start()
    yield store_address
    server.stop()


@pytest.fixture(scope="session")
def store(endpoint: str) -> Any:
    """A client of the store."""
    import boto3

    return boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1")


@pytest.fixture(scope="session")
def embedded_ray(tmp_path_factory: pytest.TempPathFactory, store_address: str) -> Iterator[None]:
    """A Ray for two workers, kept to the end: Ray Data waits for ever in the second Ray of a process."""
    with session(tmp_path_factory.mktemp("ray"), 2):
        yield


@pytest.fixture
def randomise() -> Callable[..., nn.Module]:
    """Moves every trainable parameter off its start: an output layer of zeros would hide mistakes."""

    def apply(module: nn.Module, scale: float = 0.1, seed: int = 7) -> nn.Module:
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in module.parameters():
                if parameter.requires_grad:
                    parameter += scale * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        return module

    return apply


@pytest.fixture(scope="session")
def possible() -> None:
    """Skips, with the reason, where hosts cannot be made."""
    if reason := namespaces.missing():
        pytest.skip(reason)
    if reason := namespaces.broken():
        if os.environ.get(REQUIRED):
            pytest.fail(f"{reason} ({REQUIRED} is set, so this is no reason to skip)")
        pytest.skip(reason)


@pytest.fixture(scope="module")
def hosts(possible: None) -> Iterator[Hosts]:
    """Three of them."""
    with Hosts("ada", "bea", "cleo") as three:
        yield three


@pytest.fixture(scope="module")
def cluster(hosts: Hosts) -> Iterator[RayCluster]:
    """A cluster with one CPU on each host, so that two workers are on two of them."""
    with RayCluster(hosts) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def local() -> Iterator[LocalCluster]:
    """The cluster of cluster/local on this machine, up, for all tests of it; a test leaves it up."""
    if reason := local_cluster.missing():
        if os.environ.get(REQUIRED):
            pytest.fail(f"{reason} ({REQUIRED} is set, so this is no reason to skip)")
        pytest.skip(reason)
    # Not below pytest's folders, which keep the user of PostgreSQL out.
    with tempfile.TemporaryDirectory(prefix="ndm-t") as folder:
        Path(folder).chmod(0o711)
        with LocalCluster(Path(folder) / "cluster") as cluster:
            yield cluster
