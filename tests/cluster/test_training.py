"""A training on two hosts ends bit for bit where one on this machine does, also when a host dies on the way."""

import re
from pathlib import Path

import pytest
from commands import TINY, Command, checkpoints, likelihood, records, tensors, uninterrupted
from hosts import Host, Hosts
from ray_cluster import RayCluster

pytestmark = pytest.mark.ray

BITS = 3e-5
"""What another order of sums may change in a record, in bits per dimension."""
SLOWLY = ("monitor.validate_every=640", "monitor.validation_draws=100")
"""The same training; the long validations leave time to kill a host between two checkpoints."""


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return uninterrupted(tmp_path_factory.getbasetemp()).run


class Training(Command):
    """`ndm train` of TINY by two workers, from the head's host, to the folder that the hosts share."""

    def __init__(self, hosts: Hosts, cluster: RayCluster, name: str, *arguments: str) -> None:
        root = hosts.shared / "runs"
        self.run = root / name
        where = (f"storage.root={root}", f"run.name={name}", "scaling.workers=2")
        super().__init__(hosts.shared, "train", *TINY, *where, *arguments, within=cluster.head, **cluster.client)


def working(hosts: Hosts) -> list[Host]:
    """The host of each training worker."""
    return [host for host in hosts if host.up for _ in host.running("ray::RayTrainWorker")]


def test_two_hosts_train_what_one_does(hosts: Hosts, cluster: RayCluster, expected: Path) -> None:
    with Training(hosts, cluster, "undisturbed") as training:
        training.until(lambda: len({*working(hosts)}) == 2)
        assert training.ended() == 0, training.errors
    assert training.errors == ""
    assert tensors(training.run, 5120) == tensors(expected, 5120)
    assert likelihood(training.run).equals(likelihood(expected))
    for key in ("train/bits_per_dim", "validation/bits_per_dim"):
        assert records(training.run, key) == records(expected, key)
    assert cluster.alive() == [host.name for host in hosts]  # the cluster outlives the command


def test_a_training_outlives_a_host(hosts: Hosts, cluster: RayCluster, expected: Path) -> None:
    with Training(hosts, cluster, "killed", *SLOWLY) as training:
        training.until(lambda: checkpoints(training.run))
        lost = next(host for host in working(hosts) if host is not cluster.head)
        lost.kill()
        cluster.until_dead(lost)
        lost.restart()
        cluster.join(lost)
        assert training.ended() == 0, training.errors
    assert "A worker died; the training goes on from the checkpoint at" in training.errors
    assert tensors(training.run, 5120) == tensors(expected, 5120)
    steps = [step for step, _ in records(training.run, "train/bits_per_dim")]
    assert steps == list(range(640, 5121, 640))
    assert records(training.run, "train/bits_per_dim") == records(expected, "train/bits_per_dim")


def test_what_the_cluster_has_not_is_refused_at_once(hosts: Hosts, cluster: RayCluster) -> None:
    with Training(hosts, cluster, "refused", "scaling.workers=4") as training:
        assert training.ended() == 2
    assert training.errors == ("scaling.workers=4 but the Ray cluster has 3 CPU(s), enough for 3 worker(s).\n")
    assert not training.run.exists()


def test_a_group_shrinks_when_a_host_is_lost(hosts: Hosts, cluster: RayCluster, expected: Path) -> None:
    with Training(hosts, cluster, "elastic", *SLOWLY, "scaling.workers=[1,3]") as training:
        training.until(lambda: checkpoints(training.run) and len({*working(hosts)}) == 3)
        lost = next(host for host in working(hosts) if host is not cluster.head)
        lost.kill()
        assert training.ended() == 0, training.errors
    assert re.search(
        r"Now there are [12] worker\(s\), not 3; the training goes on from the checkpoint", training.errors
    )
    assert records(training.run, "train/examples_checksum") == records(expected, "train/examples_checksum")
    few, two = (dict(records(run, "train/bits_per_dim")) for run in (training.run, expected))
    assert [few[step] for step in two] == pytest.approx([two[step] for step in two], abs=BITS)


def test_a_training_that_lost_its_room_waits_no_longer_than_it_may(hosts: Hosts, cluster: RayCluster) -> None:
    """After the test above two hosts are left, and then one."""
    with Training(hosts, cluster, "waits", *SLOWLY, "scaling.patience=45") as training:
        training.until(lambda: checkpoints(training.run))
        next(host for host in working(hosts) if host is not cluster.head).kill()
        assert training.ended() == 2
    assert re.search(r"The cluster has had no room for the workers for 4\d s \(scaling\.patience\): ", training.errors)
