"""A client on a host that is no node, and shares no file with the workers: all goes over the network, closed."""

import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from commands import REPOSITORY, checkpoints, likelihood, records
from hosts import Host, Hosts
from object_store import ObjectStore
from processes import Process
from ray_cluster import RayCluster

BUCKET = """
import boto3
boto3.client("s3").create_bucket(Bucket="ndm")
"""
TINY = (
    "digits-tiny",
    "training.examples=2560",
    "monitor.log_every=640",
    "monitor.checkpoint_every=640",
    "run.name=far",
)


class Setting(NamedTuple):
    client: Host
    address: str
    store: ObjectStore
    cluster: RayCluster

    def start(self, *words: str, **environment: str) -> Process:
        """`ndm` on the client's host, in its home."""
        settings = self.store.client | {
            "PYTHONPATH": str(REPOSITORY / "platform"),
            "RAY_ADDRESS": self.address,
            "NDM_STORE": "s3://ndm",
        }
        return self.client.start(sys.executable, "-m", "ndm.cli", *words, **(settings | environment))

    def ndm(self, *words: str, status: int = 0, **environment: str) -> str:
        with self.start(*words, **environment) as command:
            assert command.ended() == status, command.output + command.errors
        return command.output + command.errors


@pytest.fixture(scope="module")
def far(possible: None) -> Iterator[Setting]:
    """Nodes on two hosts, a store on a third, and a client on a fourth; each with a disk of its own."""
    with Hosts("ada", "bea") as nodes:
        keeper, client = nodes.add("cleo", shared=False), nodes.add("dora", shared=False)
        with ObjectStore(keeper) as store:
            keeper.python(BUCKET, **store.client)
            path = os.pathsep.join(
                [str(Path(sys.executable).parent), os.environ["PATH"]]
            )  # a job's python is the nodes'
            settings = {"NDM_STORE": "s3://ndm", "NDM_ROOT": str(nodes[0].home / "runs"), "PATH": path}
            with RayCluster(nodes[:2], dashboard="0.0.0.0", **store.client, **settings) as cluster:
                yield Setting(client, f"http://{nodes[0].address}:8265", store, cluster)


def test_a_client_far_from_the_nodes_trains_there_and_brings_the_run_home(far: Setting) -> None:
    refused = far.ndm("train", *TINY, status=2)
    assert "would be sent the token and the code in clear text" in refused
    refused = far.ndm("train", *TINY, "--allow-clear-text", status=2)
    assert f"There is no token for {far.address}" in refused
    refused = far.ndm("train", *TINY, "--allow-clear-text", "--allow-no-token", status=2)
    assert "does not let this command in" in refused
    far.cluster.admit(far.client)
    said = far.ndm("train", *TINY, "scaling.workers=2", "--allow-clear-text")
    bound = re.search(r"bound +([\d.]+) \+- ([\d.]+) bits/dim", said)
    assert bound, said
    assert not list(far.client.home_outside.rglob("experiment.json"))
    far.ndm("pull", "far")
    run = far.client.home_outside / "runs" / "far"
    assert checkpoints(run) == [1920, 2560]
    assert len(likelihood(run)) == 180
    assert len(records(run, "train/bits_per_dim")) > 0
    score = json.loads((run / "results.json").read_text())["likelihood"]["scores"][0]
    assert f"{score['bits_per_dim']['value']:.4f}" == bound[1]


def test_a_head_that_is_lost_leaves_a_run_that_another_goes_on_with(far: Setting) -> None:
    """The folder of runs on the head's disk is removed; the same command finds the run in the store."""
    root: Path = far.cluster.head.home_outside / "runs"
    assert (root / "far" / "results.json").is_file()
    far.cluster.head.run("rm", "-r", str(far.cluster.head.home / "runs"))
    assert not root.exists()
    said = far.ndm("train", *TINY, "scaling.workers=2", "--allow-clear-text")
    assert "The run far is finished" in said
    assert "bits/dim" in far.ndm("evaluate", "far", "estimator=elbo_T10", "scaling.workers=1", "--allow-clear-text")


def test_a_cluster_that_is_not_there_is_a_sentence(far: Setting) -> None:
    away = "http://127.0.0.1:1"
    assert "does not answer: start it" in far.ndm("jobs", "list", status=2, RAY_ADDRESS=away)
    for address in ("https://user:word@head:8265", "head:8265", "ftp://head:1", "https://"):
        said = far.ndm("jobs", "list", "--address", address, status=2)
        assert "is of the form https://head:8265, without a user." in said
        assert "word" not in said
