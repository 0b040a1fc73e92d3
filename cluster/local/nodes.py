"""The nodes of Ray: a head and others on the same machine, each with ports of its own, all closed by one token."""

import os
import sys
from pathlib import Path

import store
from service import Service, status_of
from start_node import ADDRESS
from state import State, secret
from tracking import Tracking

DASHBOARD = 0
"""A port of the cluster."""
GCS, NODE_MANAGER, OBJECT_MANAGER, AGENT_HTTP, AGENT_GRPC, RUNTIME_ENV = range(6)
FIRST_WORKER, LAST_WORKER = 10, 99
"""Ports of a node. Drivers take theirs from the same range."""

STORE_BYTES = 500_000_000
START = Path(__file__).with_name("start_node.py")


def token_file(state: State) -> Path:
    return state.home / ".ray" / "auth_token"


def environment(state: State) -> dict[str, str]:
    """What every process on a node finds in its environment: where things are, and no secret."""
    return store.environment(state) | {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token_file(state)),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
        "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.25",
        "RAY_enable_metrics_collection": "0",  # it would open a port for anybody
        "GLOO_SOCKET_IFNAME": "lo",
        "NCCL_SOCKET_IFNAME": "lo",
        "DASHBOARD_METRIC_PORT": "-1",  # likewise; there is no other way to keep it shut
        "MLFLOW_TRACKING_URI": Tracking(state).address,
        "NDM_ROOT": str(state.runs),
        "NDM_STORE": f"s3://{store.BUCKETS[0]}",
    }


class Node(Service):
    """Node 0 is the head; the others follow it."""

    def __init__(self, state: State, number: int = 0) -> None:
        super().__init__(state)
        self.number = number
        self.name = f"ray-node-{number}" if number else "ray-head"
        self.follows = "ray-head" if number else None

    @property
    def address(self) -> str:
        return "" if self.number else f"http://{ADDRESS}:{self.state.port(DASHBOARD)}"

    def before(self) -> None:
        secret(token_file(self.state))
        # Ray lets everybody into its folder, and whoever comes to a socket there needs no token.
        self._temp.parent.mkdir(mode=0o700, exist_ok=True)

    def command(self) -> list[str]:
        head = f"{ADDRESS}:{self.state.node_port(0, GCS)}"
        role = [f"--address={head}"]
        if not self.number:
            dashboard = [f"--dashboard-host={ADDRESS}", f"--dashboard-port={self.state.port(DASHBOARD)}"]
            role = ["--head", f"--port={self._port(GCS)}", *dashboard, "--no-monitor"]
        ports = {
            "node-manager-port": NODE_MANAGER,
            "object-manager-port": OBJECT_MANAGER,
            "dashboard-agent-listen-port": AGENT_HTTP,
            "dashboard-agent-grpc-port": AGENT_GRPC,
            "runtime-env-agent-port": RUNTIME_ENV,
            "min-worker-port": FIRST_WORKER,
            "max-worker-port": LAST_WORKER,
        }
        # Every node would count all GPUs of the machine as its own: one of them has them.
        gpus = [] if self.number == min(1, self.state.settings.nodes) else ["--num-gpus=0"]
        return [
            *(sys.executable, str(START), "start", "--block", *role, f"--node-ip-address={ADDRESS}"),
            *(f"--{name}={self._port(offset)}" for name, offset in ports.items()),
            *(f"--num-cpus={self.state.settings.cpus}", *gpus, f"--object-store-memory={STORE_BYTES}"),
            f"--temp-dir={self._temp}",
        ]

    def environment(self) -> dict[str, str]:
        programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
        return environment(self.state) | {"PATH": programs}

    def answers(self) -> bool:
        return status_of(f"http://{ADDRESS}:{self._port(AGENT_HTTP)}/api/local_raylet_healthz") == 200 and (
            self.number > 0 or status_of(f"{self.address}/api/gcs_healthz") == 200
        )

    @property
    def _temp(self) -> Path:
        """Of this node alone: each removes the code of a job before it unpacks it."""
        return self.state.temp / "ray" / f"n{self.number}"

    def _port(self, offset: int) -> int:
        return self.state.node_port(self.number, offset)
