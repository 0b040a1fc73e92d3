"""How the cluster's processes find the S3 store: keys in a file, the address beside it, two buckets."""

import configparser
import io
import os

from ceph import Gateway
from state import State, secret_file

from ndm.errors import UserError

BUCKETS = ("ndm", "mlflow")
REGION = "us-east-1"
# Without them pyarrow sends sums after the data, which Ceph does not take.
CHECKSUMS = {"AWS_REQUEST_CHECKSUM_CALCULATION": "when_required", "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required"}


def endpoint(state: State) -> str:
    """The address of the user's store, or of the cluster's own."""
    return state.settings.endpoint or Gateway(state).address


def environment(state: State) -> dict[str, str]:
    """What a client needs in its environment: where, and which files; no keys."""
    folder = state.home / ".aws"
    return CHECKSUMS | {
        "AWS_ENDPOINT_URL": endpoint(state),
        "AWS_SHARED_CREDENTIALS_FILE": str(folder / "credentials"),
        "AWS_CONFIG_FILE": str(folder / "config"),
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def prepare(state: State) -> None:
    """Write the keys and the address, unless they are there, and make the buckets that are missing.

    Raises:
        UserError: there are no keys for the user's store, or it does not let them in.
    """
    credentials, config = state.home / ".aws" / "credentials", state.home / ".aws" / "config"
    if not credentials.is_file():
        key, secret = _given() if state.settings.endpoint else Gateway(state).keys()
        secret_file(credentials, _ini("default", aws_access_key_id=key, aws_secret_access_key=secret))
    names = {name.removeprefix("AWS_").lower(): value for name, value in CHECKSUMS.items()}
    secret_file(config, _ini("default", region=REGION, endpoint_url=endpoint(state), **names))
    _buckets(state)


def _given() -> tuple[str, str]:
    """The keys to the user's store, which its environment has at the first start."""
    try:
        return os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]
    except KeyError:
        raise UserError(
            "The keys to the store at --endpoint are missing: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY "
            "for the first start; the cluster keeps them in a file that only you can read."
        ) from None


def _buckets(state: State) -> None:
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    file = configparser.ConfigParser(interpolation=None)
    file.read(state.home / ".aws" / "credentials")
    keys = dict(file["default"])
    patient = Config(
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        read_timeout=60,
        proxies={},
    )
    client = boto3.client("s3", endpoint_url=endpoint(state), region_name=REGION, config=patient, **keys)
    try:
        there = {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}
        for bucket in BUCKETS:
            if bucket not in there:
                client.create_bucket(Bucket=bucket)
    except (BotoCoreError, ClientError) as error:
        raise UserError(f"The store at {endpoint(state)} cannot be used ({error}): mend that, then up again.") from None


def _ini(section: str, **values: str) -> str:
    file, text = configparser.ConfigParser(interpolation=None), io.StringIO()
    file[section] = values
    file.write(text)
    return text.getvalue()
