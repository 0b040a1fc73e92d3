"""An S3 store on a host of its own or beside others, for programs on all hosts."""

import sys
from typing import Self

from hosts import Host

PORT = 9000


class ObjectStore:
    """An empty store, for the length of a block; it takes any keys."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.endpoint = f"http://{host.address}:{PORT}"
        self.client = {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": "the-key-of-the-test",
            "AWS_SECRET_ACCESS_KEY": "a-secret-key-of-the-test",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        """What a program on a host needs in its environment to use the store."""

    def __enter__(self) -> Self:
        self._server = self.host.start(sys.executable, "-m", "moto.server", "-H", "0.0.0.0", "-p", str(PORT))
        self._server.until(lambda: "Running on" in self._server.errors, 120)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.__exit__()
