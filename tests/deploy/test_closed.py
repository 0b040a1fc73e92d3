"""What listens on a cluster's nodes is what docs/cluster/ports.md lists, and none of it serves a client without keys.

Of the cluster of cluster/local all is on loopback; there, the stranger is another user of the machine. Nodes of Ray on
a network, as other ways to a cluster start them, are asked by a host that is no node.
"""

import json
import os
import re
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections import defaultdict
from pathlib import Path

import psutil
import pytest
from hosts import Hosts
from local_cluster import LocalCluster
from processes import LONG
from ray_cluster import RayCluster

TABLE = Path(__file__).resolve().parents[2] / "docs" / "cluster" / "ports.md"
NOBODY = 65534

BUSY = """
import ray, sys, time
ray.init(address=sys.argv[1], log_to_driver=False)
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as On
@ray.remote(num_cpus=0)
class Actor:
    def here(self):
        return 1
actors = [Actor.options(scheduling_strategy=On(node["NodeID"], False)).remote() for node in ray.nodes()]
ray.get([actor.here.remote() for actor in actors])
print("BUSY", flush=True)
time.sleep(600)
"""
"""A driver with an actor on each node: its processes listen, too."""

GRPC = """
import grpc, importlib, json, sys
modules = ("autoscaler", "core_worker", "events_event_aggregator_service", "gcs_service", "node_manager", "pubsub",
           "ray_client", "reporter")
methods = ["/ray.rpc.ObjectManagerService/Push", "/ray.rpc.ObjectManagerService/Pull"]
for name in modules:
    described = importlib.import_module(f"ray.core.generated.{name}_pb2").DESCRIPTOR
    for service in described.services_by_name.values():
        methods += [f"/{service.full_name}/{method.name}" for method in service.methods]
for place in sys.argv[1:]:
    said = {}
    channel = grpc.insecure_channel(place, options=[("grpc.enable_http_proxy", 0)])
    grpc.channel_ready_future(channel).result(600)
    for method in methods:
        try:
            channel.unary_unary(method)(b"", timeout=600)
            said[method] = "OK"
        except grpc.RpcError as error:
            said[method] = error.code().name
    print("SAID", json.dumps([place, said]))
"""
"""Calls each of Ray's methods without a token, with an empty request."""

HTTP = """
import json, sys, urllib.error, urllib.request
for url in sys.argv[1:]:
    request = urllib.request.Request(url, method="GET")
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=600) as answer:
            print("SAID", json.dumps([url, answer.status, answer.read(300).decode(errors="replace")]))
    except urllib.error.HTTPError as error:
        print("SAID", json.dumps([url, error.code, ""]))
"""

OPEN_TO_ALL = {
    "/": "<!doctype html>",  # the dashboard's page, which then asks for the token
    "/favicon.ico": "",
    "/api/authentication_mode": '{"authentication_mode": "token"}',
    "/api/gcs_healthz": "success",
    "/api/local_raylet_healthz": "success",
    "/api/healthz": "raylet: success",
}
"""Path -> how the answer begins: all that Ray tells anybody over HTTP."""

PATHS = [
    *OPEN_TO_ALL,
    *("/api/version", "/api/jobs/", "/api/job_agent/jobs/", "/api/cluster_status", "/api/v0/nodes", "/api/v0/logs"),
    *("/nodes", "/logs/", "/metrics", "/timezone", "/get_runtime_envs_info", "/worker/traceback"),
]


def listed() -> dict[str, set[int]]:
    """Service -> its ports in the table, counted from the cluster's first port; those of workers are left out."""
    ports: dict[str, set[int]] = {}
    for line in TABLE.read_text().splitlines():
        if match := re.match(r"\| (\d+)(?: to (\d+))? \| ([a-z0-9-]+) \|", line):
            first, last, service = match.groups()
            ports.setdefault(service, set()).update(range(int(first), int(last or first) + 1))
    return ports


def asked(said: str) -> list[list]:
    """What a program that asks was told."""
    return [json.loads(line.removeprefix("SAID ")) for line in said.splitlines() if line.startswith("SAID ")]


def closed_grpc(said: str, places: int) -> None:
    """No method of Ray answers at any of so many places, and at each some refuse for want of a token."""
    answers = asked(said)
    assert len(answers) == places
    for place, methods in answers:
        assert set(methods.values()) <= {"UNAUTHENTICATED", "UNIMPLEMENTED"}, (place, methods)
        assert "UNAUTHENTICATED" in methods.values(), place


def closed_http(said: str, urls: list[str]) -> None:
    """Nothing but signs of life and the empty page is told."""
    answers = asked(said)
    assert [url for url, _, _ in answers] == urls
    for url, status, text in answers:
        path = "/" + url.split("/", 3)[3]
        if status == 200:
            assert text.startswith(OPEN_TO_ALL[path]), (url, text)
        else:
            assert status in (401, 404), (url, status)
    for place in {url.rpartition("//")[2].partition("/")[0] for url in urls}:
        assert 401 in [status for url, status, _ in answers if f"//{place}/" in url], place


def stranger(program: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    """A program of another user of this machine."""
    as_user = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
    settings = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/nonexistent"} | environment
    return subprocess.run(
        program, env=settings, cwd="/", capture_output=True, text=True, timeout=LONG, check=False, **as_user
    )


def python(code: str, *arguments: str) -> str:
    """What a program in Python without token and keys prints."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=LONG,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def ports(local: LocalCluster):
    """Service -> its ports, while a driver has an actor on each node; and the addresses that all of them are at."""
    settings = local.client | {"RAY_DEDUP_LOGS": "0"}
    driver = subprocess.Popen(
        [sys.executable, "-c", BUSY, local.gcs], env=settings, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        assert driver.stdout is not None
        assert any(b"BUSY" in line for line in driver.stdout)
        found = defaultdict(set)
        addresses = set()
        for service, address, port in local.listening():
            found[service].add(port)
            addresses.add(address)
        for connection in psutil.Process(driver.pid).net_connections("inet"):
            if connection.status == psutil.CONN_LISTEN:
                found["driver"].add(connection.laddr.port)
                addresses.add(connection.laddr.ip)
        yield dict(found), addresses
    finally:
        driver.kill()
        driver.wait()


def test_all_that_listens_is_in_the_table_and_on_loopback(local: LocalCluster, ports) -> None:
    found, addresses = ports
    assert addresses <= {"127.0.0.1", "::ffff:127.0.0.1"}
    first, table = local.first_port, listed()
    workers = table.pop("workers")
    drivers = found["driver"]
    for service in {*found} - {"driver"}:
        offsets = {port - first for port in found[service]} - workers
        if service in ("ceph-osd", "ceph-mgr"):  # they choose
            assert offsets
            assert offsets <= table[service]
        else:
            assert offsets == table.get(service, set()), service
    assert {*table} == {service for service in found if service != "driver"}
    assert {port - first for port in drivers} <= workers
    for service in ("ray-head", "ray-node-1"):
        assert {port - first for port in found[service]} & workers, service


def test_nothing_of_it_is_reached_from_the_network(local: LocalCluster, ports) -> None:
    cards = [a.address for some in psutil.net_if_addrs().values() for a in some if a.family == socket.AF_INET]
    others = [address for address in cards if not address.startswith("127.")]
    if not others:
        pytest.skip("this machine has no address but that of loopback")
    for port in {port for some in ports[0].values() for port in some}:
        for address in others:
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection((address, port), timeout=30).close()


def test_ray_serves_nobody_without_the_token(local: LocalCluster, ports) -> None:
    found, _ = ports
    first = local.first_port
    http = {first, first + 103, first + 105, first + 203, first + 205}
    grpc = (found["ray-head"] | found["ray-node-1"] | found["driver"]) - http
    assert len(grpc) >= 7 + 2  # and a worker on each node
    closed_grpc(python(GRPC, *(f"127.0.0.1:{port}" for port in sorted(grpc))), len(grpc))
    urls = [f"http://127.0.0.1:{port}{path}" for port in sorted(http) for path in PATHS]
    closed_http(python(HTTP, *urls), urls)


def test_mlflow_serves_nobody_without_an_account(local: LocalCluster) -> None:
    there = local.client["MLFLOW_TRACKING_URI"]
    closed = ["/", "/version", "/metrics", "/graphql", "/openapi.json", "/get-artifact", "/signup"]
    closed += [
        f"/{api}/2.0/mlflow/{call}" for api in ("api", "ajax-api") for call in ("experiments/search", "runs/get")
    ]
    closed += ["/api/2.0/mlflow-artifacts/artifacts", "/api/2.0/mlflow/users/get?username=admin"]
    answers = asked(python(HTTP, *(there + path for path in [*closed, "/health", "/api/3.0/mlflow/server-info"])))
    *refused, health, server = answers
    assert {status for _, status, _ in refused} == {401}, refused
    assert health[1:] == [200, "OK"]
    assert server[2].startswith('{"store_type":"SqlStore"')
    request = urllib.request.Request(there + "/api/2.0/mlflow/experiments/search", headers={"Host": "evil.example"})
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(request)


def test_the_store_serves_nobody_without_a_key(local: LocalCluster) -> None:
    there = local.client["AWS_ENDPOINT_URL"]
    for method, path in (("GET", "ndm"), ("GET", "ndm/thing"), ("PUT", "ndm/thing"), ("PUT", "new"), ("GET", "mlflow")):
        request = urllib.request.Request(f"{there}/{path}", method=method, data=b"x" if method == "PUT" else None)
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(request)
    with urllib.request.urlopen(there) as answer:
        assert b"<Buckets></Buckets>" in answer.read()
    place = f"v1:127.0.0.1:{local.first_port + 10}"
    nothing = ["--conf=/dev/null", "--keyring=/dev/null", "--connect-timeout=30"]
    said = stranger(["ceph", *nothing, "-m", place, "status"])
    assert said.returncode != 0
    assert "permission error" in said.stderr


def test_the_database_lets_no_other_user_in(local: LocalCluster) -> None:
    sockets = local.temp / "postgres"
    assert psutil.Process(local.pid("postgres")).net_connections("inet") == []
    if os.geteuid() != 0:
        pytest.skip("only root can try it as another user")
    with pytest.raises(PermissionError):
        _as_nobody(sockets / ".s.PGSQL.5432")


def _as_nobody(path: Path) -> None:
    """Connect to a socket as another user.

    Raises:
        PermissionError: it is kept out.
    """
    code = "import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])"
    done = stranger(["/usr/bin/python3", "-c", code, str(path)])
    if "PermissionError" in done.stderr:
        raise PermissionError
    assert done.returncode == 0, done.stderr


LISTENING = """
import json, psutil
for connection in psutil.net_connections("inet"):
    if connection.status == psutil.CONN_LISTEN and connection.laddr.ip not in ("127.0.0.1", "::1"):
        title = " ".join(psutil.Process(connection.pid).cmdline())
        print("SAID", json.dumps([connection.laddr.port, title]))
"""
SHUT = {"RAY_enable_metrics_collection": "0", "DASHBOARD_METRIC_PORT": "-1", "AUTOSCALER_METRIC_PORT": "-1"}
"""What every way to a cluster gives its nodes: these three would tell anybody who asks."""
HTTP_TITLES = ("dashboard/dashboard.py", "ray::RuntimeEnvAgent")
AGENT_HTTP = 52365


def test_nodes_on_a_network_serve_no_other_host_without_the_token(hosts: Hosts) -> None:
    ada, bea, cleo = hosts
    with (
        RayCluster([ada, bea], dashboard=ada.address, **SHUT) as cluster,
        cluster.head.start(sys.executable, "-c", BUSY, cluster.address, **cluster.client) as driver,
    ):
        driver.until(lambda: "BUSY" in driver.output)
        http, grpc = set[str](), set[str]()
        for host in (ada, bea):
            for port, title in asked(host.python(LISTENING)):
                is_http = port == AGENT_HTTP or any(word in title for word in HTTP_TITLES)
                (http if is_http else grpc).add(f"{host.address}:{port}")
        assert len(http) == 1 + 2 + 2
        assert len(grpc) >= 2 + 3 * 2 + 1 + 2  # the head's own, three of each node, the driver and two actors
        closed_grpc(cleo.python(GRPC, *sorted(grpc)), len(grpc))
        urls = [f"http://{place}{path}" for place in sorted(http) for path in PATHS]
        closed_http(cleo.python(HTTP, *urls), urls)
