"""`client.env`: what makes a shell a client of the cluster. It names files; the secrets stay in them."""

import shlex

import store
from nodes import Node, token_file
from state import State, secret_file
from tracking import Tracking

HEADER = "# source this file: the shell is then a client of the cluster\n"
FROM_FILE = "export {name}=\"$(sed -n 's/^{key} *= *//p' {file})\"\n"


def write(state: State) -> None:
    """Write the file."""
    tracking = Tracking(state)
    plain = store.environment(state) | {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token_file(state)),
        # A driver on this machine takes loopback for its address, as the nodes do.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_ADDRESS": Node(state).address,
        "NDM_STORE": f"s3://{store.BUCKETS[0]}",
        "MLFLOW_TRACKING_URI": tracking.address,
    }
    text = HEADER + "".join(f"export {name}={shlex.quote(value)}\n" for name, value in plain.items())
    file = shlex.quote(str(tracking.credentials))
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        text += FROM_FILE.format(name=name, key=name.lower(), file=file)
    secret_file(state.folder / "client.env", text)
