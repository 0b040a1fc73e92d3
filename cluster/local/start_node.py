"""`ray start` on the loopback interface alone, and without a port for Ray Client: `python start_node.py start ...`.

Ray takes 127.0.0.1 for a mistake and the address of a network card for what was meant, and then listens on all of
them. Where it does take the loopback address, as on other systems, it listens there only.
"""

import os
import sys
from typing import Any

import ray.scripts.scripts
from ray._private import services

ADDRESS = "127.0.0.1"


def hook(parameters: Any, head: bool) -> None:
    """Ray calls this before it starts a node."""
    del head
    del os.environ["RAY_START_HOOK"]
    parameters.ray_client_server_port = None
    # For all that runs on the node, drivers of jobs too: the machine's own address is that of loopback.
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"


if __name__ == "__main__":
    services.resolve_ip_for_localhost = lambda host: host
    os.environ["RAY_START_HOOK"] = "__main__.hook"
    sys.exit(ray.scripts.scripts.main())
