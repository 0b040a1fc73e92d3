"""A command joins the cluster that RAY_ADDRESS names, leaves it as it was, or says in a sentence why it cannot."""

import sys

from hosts import Host, Hosts
from processes import Process
from ray_cluster import RayCluster

JOIN = """
import os, pathlib, sys
from ndm.errors import UserError
from ndm.runtime.session import resolve_workers, session
try:
    workers = resolve_workers(sys.argv[1] if sys.argv[1] == "auto" else int(sys.argv[1]))
    with session(pathlib.Path("runs"), workers):
        import ray
        path = ray.get(ray.remote(lambda: os.environ["PYTHONPATH"]).remote())
        print(workers, int(ray.cluster_resources()["CPU"]), path)
except UserError as error:
    print(error)
print(pathlib.Path("runs").exists())
"""


def start(cluster: RayCluster, host: Host, workers: str = "auto", **environment: str) -> Process:
    """A command that wants so many workers."""
    more = cluster.client | {"PYTHONPATH": "/of/ours"} | environment
    return host.start(sys.executable, "-c", JOIN, workers, **more)


def said(command: Process) -> str:
    """What it says in the end; nothing is on standard error, and nothing was embedded."""
    assert command.ended() == 0
    assert command.errors == ""
    sentence, embedded, _ = command.output.split("\n")
    assert embedded == "False"
    return sentence


def join(cluster: RayCluster, host: Host, workers: str = "auto", **environment: str) -> str:
    return said(start(cluster, host, workers, **environment))


def test_a_command_finds_the_workers_of_the_cluster(cluster: RayCluster, hosts: Hosts) -> None:
    for host, address in ((hosts[0], cluster.address), (hosts[1], cluster.address), (hosts[2], "auto")):
        workers, cpus, path = join(cluster, host, RAY_ADDRESS=address).split()
        assert (workers, cpus) == ("2", "3")
        assert path.endswith("platform:/of/ours")
    assert cluster.alive() == [host.name for host in hosts]


def test_more_workers_than_the_cluster_has_cpus_are_refused(cluster: RayCluster, hosts: Hosts) -> None:
    said = join(cluster, hosts[0], "4")
    assert said.startswith("scaling.workers=4 but the Ray cluster has 3 CPU(s), enough for 3 worker(s).")


def test_where_there_are_gpus_they_are_counted(cluster: RayCluster, hosts: Hosts) -> None:
    cluster.leave(hosts[2])
    cluster.join(hosts[2], gpus=1)
    assert join(cluster, hosts[0]).split()[0] == "1"
    assert join(cluster, hosts[0], "2").startswith("scaling.workers=2 but the Ray cluster has 1 GPU(s), enough for 1")


def test_a_cluster_that_cannot_be_joined_is_a_sentence(cluster: RayCluster, hosts: Hosts) -> None:
    guest = hosts.add("guest")
    cluster.admit(guest)
    cases = (
        (hosts[1], {"RAY_AUTH_TOKEN_PATH": "/nowhere"}, "does not let this command in: the token in ~/.ray/auth_token"),
        (hosts[1], {"RAY_AUTH_TOKEN_PATH": "/etc/hosts"}, "does not let this command in: the token in ~/.ray/"),
        (hosts[1], {"RAY_ADDRESS": "ada:7"}, "The Ray cluster at RAY_ADDRESS=ada:7 does not answer: start it"),
        (hosts[1], {"RAY_ADDRESS": "nobody:6379"}, "at RAY_ADDRESS=nobody:6379 does not answer: start it"),
        (hosts[1], {"RAY_ADDRESS": "ada"}, "RAY_ADDRESS=ada cannot be used: run the command on a node"),
        (hosts[1], {"RAY_ADDRESS": "ray://ada:10001"}, "RAY_ADDRESS=ray://ada:10001 cannot be used: run the command"),
        (guest, {}, f"The Ray cluster at RAY_ADDRESS={cluster.address} has no node on this machine: run the command"),
        (guest, {"RAY_ADDRESS": "auto"}, "The Ray cluster at RAY_ADDRESS=auto has no node on this machine: run"),
    )
    commands = [start(cluster, host, **environment) for host, environment, _ in cases]
    for command, (_, environment, sentence) in zip(commands, cases, strict=True):
        assert sentence in said(command), environment
