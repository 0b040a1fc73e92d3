"""A cluster over hosts does what the tests of trainings take for granted: it is closed, and it misses a dead host."""

import json
import sys
import time

import psutil
from hosts import Host, Hosts
from processes import LONG, Process
from ray_cluster import RayCluster

EVERYWHERE = """
import json, os, ray, socket
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as On
ray.init(log_to_driver=False)
@ray.remote
def here():
    return socket.gethostname(), dict(os.environ)
asked = [here.options(scheduling_strategy=On(node["NodeID"], False)).remote() for node in ray.nodes()]
print(json.dumps(ray.get(asked)))
"""

ASKS = """
from ray._raylet import GcsClient
import sys
GcsClient(address=sys.argv[1])
"""

WORKS_ON = """
import ray, socket, time
ray.init(log_to_driver=False)
@ray.remote(num_cpus=1, scheduling_strategy="SPREAD")
def piece(number):
    time.sleep(0.3)
    return number, socket.gethostname()
waiting, number = [], 0
while True:
    while len(waiting) < 6:
        waiting.append(piece.remote(number))
        number += 1
    ready, waiting = ray.wait(waiting)
    for done in ray.get(ready):
        print("DONE", *done)
"""
"""Prints the number and the host of each piece of work without an end; what was lost with a host is done again."""


def hosts_of(driver: Process, start: int = 0) -> list[str]:
    """Where the pieces were done, in the order in which they came in, from the `start`th on."""
    done = [line.split() for line in driver.output.splitlines(keepends=True) if line.endswith("\n")]
    return [line[2] for line in done if line[:1] == ["DONE"]][start:]


def until_works(driver: Process, *hosts: Host) -> None:
    """Wait for new pieces from each of these hosts."""
    known = len(hosts_of(driver))
    driver.until(lambda: {host.name for host in hosts} <= {*hosts_of(driver, known)})


def test_a_task_runs_on_every_host_and_does_not_find_the_token(cluster: RayCluster, hosts: Hosts) -> None:
    found = dict(json.loads(cluster.python(EVERYWHERE)))
    assert {*found} == {host.name for host in hosts}
    for host in hosts:
        assert host.run("stat", "-c", "%a", str(host.home / ".ray" / "auth_token")).output == "600\n"
        assert found[host.name]["HOME"] == str(host.home)
        assert found[host.name]["GLOO_SOCKET_IFNAME"] == "eth0"
        assert cluster.token not in "".join(found[host.name].values())
        titles = [" ".join(process.cmdline()) for process in host.running()]
        assert cluster.token not in "".join(titles)


def test_only_a_client_with_the_token_is_let_in(cluster: RayCluster, hosts: Hosts) -> None:
    cluster.python(ASKS, cluster.address, on=hosts[1])
    wrong = hosts.shared / "wrong"
    wrong.write_text(cluster.token[::-1])
    for environment in ({"RAY_AUTH_MODE": "disabled"}, {"RAY_AUTH_TOKEN_PATH": str(wrong)}):
        said = hosts[1].run(sys.executable, "-c", ASKS, cluster.address, status=1, **(cluster.client | environment))
        assert "AuthenticationError: RPC error: InvalidAuthToken" in said.errors


def test_work_goes_on_when_a_host_dies_and_comes_to_it_when_it_is_back(cluster: RayCluster, hosts: Hosts) -> None:
    ada, bea, cleo = hosts
    with cluster.driver(WORKS_ON) as driver:
        until_works(driver, ada, bea, cleo)
        cleo.kill()
        cluster.until_dead(cleo)
        assert cluster.alive() == ["ada", "bea"]
        until_works(driver, ada, bea)
        cleo.restart()
        cluster.join(cleo)
        until_works(driver, cleo)
        done = [int(line.split()[1]) for line in driver.output.splitlines() if line.startswith("DONE")]
    assert len(done) == len({*done})
    assert {*range(max(done) - 10)} <= {*done}


def test_a_host_that_is_cut_off_is_missed_only_after_a_while(cluster: RayCluster, hosts: Hosts) -> None:
    ada, bea, cleo = hosts
    with cluster.driver(WORKS_ON) as driver:
        until_works(driver, ada, bea, cleo)
        bea.disconnect()
        time.sleep(2)
        bea.reconnect()
        until_works(driver, bea)  # the node of before: nobody has joined

        bea.disconnect()
        cluster.until_dead(bea)
        until_works(driver, ada, cleo)
        bea.reconnect()
        assert cluster.until_left(bea) != 0  # it learns that it counts for dead
        cluster.join(bea)
        until_works(driver, bea)


def test_a_node_can_leave_and_its_host_stays(cluster: RayCluster, hosts: Hosts) -> None:
    cluster.leave(hosts[2])
    assert cluster.alive() == ["ada", "bea"]
    assert hosts[2].run("hostname").output == "cleo\n"
    assert psutil.wait_procs(hosts[2].running("ray::"), timeout=LONG)[1] == []
    cluster.join(hosts[2])
