"""A Ray cluster over hosts, as an administrator would start it: closed by a token that lies in a file on each host.

Nothing of it is in the environment but what the nodes need, and the token never is. `ray stop` is never used: it ends
every Ray of a machine, and hosts have one in common.
"""

import json
import re
import secrets
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from hosts import CARD, Host
from processes import LONG, Process

PORT = 6379
RAY = Path(sys.executable).with_name("ray")
STARTED = "Ray runtime started."
STORE_BYTES = 150_000_000

NODE = {
    "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_DEDUP_LOGS": "0",
    # The nodes share a machine's memory, of which each sees all.
    "RAY_memory_monitor_refresh_ms": "0",
    # gloo takes the interface of the host's name otherwise, and NCCL the first that it finds.
    "GLOO_SOCKET_IFNAME": CARD,
    "NCCL_SOCKET_IFNAME": CARD,
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.25",
    # The head misses a silent node after ten seconds instead of half a minute; sooner, a busy machine would be one.
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "4",
}
"""In the environment of every node, and so of every worker."""

WATCH = """
import json, sys, time, ray
ray.init(address=sys.argv[1], log_to_driver=False)
before = None
while True:
    alive = sorted(node["NodeManagerHostname"] for node in ray.nodes() if node["Alive"])
    if alive != before:
        print("ALIVE", json.dumps(alive))
    before = alive
    time.sleep(0.1)
"""


class RayCluster:
    """A head on the first host and a node on each other one; leaving the block ends it, if the hosts are on."""

    def __init__(
        self,
        hosts: Sequence[Host],
        *,
        cpus: int = 1,
        dashboard: str | None = None,
        **environment: str,
    ) -> None:
        """`dashboard` is the address that it listens at, if there is to be one; `environment` is for every node."""
        self.head, self._others = hosts[0], list(hosts[1:])
        self.address = f"{self.head.address}:{PORT}"
        self.cpus, self._dashboard, self._environment = cpus, dashboard, NODE | environment
        self.token = secrets.token_hex(32)
        self._nodes: dict[str, Process] = {}
        self._watch: Process | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Start the head, then all others at a time, and wait until all are alive."""
        dashboard = ["--include-dashboard=false"]
        if self._dashboard is not None:
            dashboard = ["--include-dashboard=true", f"--dashboard-host={self._dashboard}"]
        self._start(self.head, "--head", f"--port={PORT}", *dashboard)
        self._until_started(self.head)
        watch = (sys.executable, "-c", WATCH, self.address)
        self._watch = self.head.start(*watch, **self.client)
        self.join(*self._others)

    def join(self, *hosts: Host, gpus: int = 0) -> None:
        """Make nodes of hosts that are none, or no longer, and wait until they are alive.

        They may say that they have GPUs, which Ray believes.
        """
        for host in hosts:
            self._start(host, f"--address={self.address}", gpus=gpus)
        for host in hosts:
            self._until_started(host)
        self.until_alive(self.head, *hosts)

    def admit(self, host: Host) -> None:
        """Give a host the token."""
        file = host.home_outside / ".ray" / "auth_token"
        file.parent.mkdir(mode=0o700, exist_ok=True)
        file.touch(mode=0o600)
        file.write_text(self.token)

    def leave(self, host: Host) -> None:
        """End a node as a scheduler does, and wait until it has gone; its host stays."""
        self._nodes[host.name].signal(signal.SIGTERM)
        self.until_left(host)
        self.until_dead(host)

    @property
    def client(self) -> dict[str, str]:
        """What a program on a host needs in its environment to find the cluster and be let in."""
        return {"RAY_ADDRESS": self.address, "RAY_AUTH_MODE": "token"}

    def alive(self) -> list[str]:
        """Names of the hosts whose nodes the head takes for alive."""
        assert self._watch is not None
        said = re.findall(r"^ALIVE (.*)\n", self._watch.output, re.MULTILINE)  # Ray writes there, too
        return json.loads(said[-1]) if said else []

    def until_alive(self, *hosts: Host) -> None:
        """Wait until the head takes their nodes for alive."""
        assert self._watch is not None
        self._watch.until(lambda: {host.name for host in hosts} <= {*self.alive()})

    def until_left(self, host: Host) -> int:
        """Wait until the node on a host has ended by itself; returns its exit status."""
        return self._nodes[host.name].process.wait(LONG)

    def until_dead(self, *hosts: Host) -> None:
        """Wait until the head takes their nodes for dead."""
        assert self._watch is not None
        self._watch.until(lambda: not {host.name for host in hosts} & {*self.alive()})

    def python(self, code: str, *arguments: str, on: Host | None = None, status: int = 0, **environment: str) -> str:
        """What a driver prints, on the head's host or another one, to its end; it has to call `ray.init()`."""
        return (on or self.head).python(code, *arguments, status=status, **(self.client | environment))

    def driver(self, code: str, *arguments: str) -> Process:
        """Start a driver on the head's host; as a block, it is ended with it."""
        return self.head.start(sys.executable, "-c", code, *arguments, **self.client)

    def close(self) -> None:
        """End every process of the cluster, also those whose node left it."""
        programs = [*self._nodes.values(), *([self._watch] if self._watch else [])]
        for program in programs:
            program.__exit__()

    def _start(self, host: Host, *arguments: str, gpus: int = 0) -> None:
        """Start a node, after what is left of an earlier one on the host has been ended."""
        if earlier := self._nodes.pop(host.name, None):
            earlier.__exit__()
        self.admit(host)
        self._nodes[host.name] = host.start(
            str(RAY),
            "start",
            "--block",
            *arguments,
            f"--node-ip-address={host.address}",
            f"--num-cpus={self.cpus}",
            f"--num-gpus={gpus}",
            f"--object-store-memory={STORE_BYTES}",
            f"--temp-dir={host.scratch}",
            **self._environment,
        )

    def _until_started(self, host: Host) -> None:
        node = self._nodes[host.name]
        node.until(lambda: STARTED in node.output)
