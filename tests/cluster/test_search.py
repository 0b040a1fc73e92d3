"""A search over three hosts loses one of them and ends as it does on one machine."""

import pytest
from commands import Command
from hosts import Hosts
from ray_cluster import RayCluster
from searches import TINY, reached, told, undisturbed

pytestmark = pytest.mark.ray


def test_a_search_outlives_a_host(hosts: Hosts, cluster: RayCluster, tmp_path_factory) -> None:
    (hosts.shared / "tiny.yaml").write_text(TINY)
    alone = undisturbed(tmp_path_factory.getbasetemp())
    root = f"storage.root={hosts.shared / 'runs'}"
    with Command(hosts.shared, "search", "tiny.yaml", root, within=cluster.head, **cluster.client) as command:
        others = [host for host in hosts if host is not cluster.head]
        command.until(lambda: reached(hosts.shared) >= 1 and any(host.running("ray::ImplicitFunc") for host in others))
        lost = next(host for host in others if host.running("ray::ImplicitFunc"))
        lost.kill()
        assert command.ended() == 0, command.errors
    cluster.until_dead(lost)
    assert told(hosts.shared) == told(alone.folder)
    lost.restart()
    cluster.join(lost)
