"""Hosts and a cluster over three of them, for all tests of a file."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import hosts as namespaces
import local_cluster
import pytest
from hosts import Hosts
from local_cluster import LocalCluster
from ray_cluster import RayCluster

REQUIRED = "NDM_REQUIRE_HOSTS"
"""In the environment where hosts that could be made, but do not work, are an error: in the gate."""


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
