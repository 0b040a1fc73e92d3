"""An S3 store on loopback."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from moto.server import ThreadedMotoServer


@pytest.fixture(scope="session")
def endpoint(store_address: str) -> Iterator[str]:
    server = ThreadedMotoServer(port=urlsplit(store_address).port or 0, verbose=False)
    server.start()
    yield store_address
    server.stop()


@pytest.fixture(scope="session")
def store(endpoint: str) -> Any:
    """A client of the store."""
    return boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1")
