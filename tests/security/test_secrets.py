"""A training with secrets all around it: none is in anything that it makes, says or logs."""

import base64
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from commands import TINY, Command
from hostile import refused

from ndm.runtime import cluster

BUCKET = "security"
ACCOUNT = "somebody"
SECRETS = {
    "AWS_ACCESS_KEY_ID": "AKIAPLANTEDKEYIDENT1",
    "AWS_SECRET_ACCESS_KEY": "planted/aws+secret/key/of/forty/letters1",
    "AWS_SESSION_TOKEN": "planted-aws-session-token-2",
    "MLFLOW_TRACKING_PASSWORD": "planted-mlflow-password-3",
    "MLFLOW_TRACKING_TOKEN": "planted-mlflow-token-4",
    "RAY_AUTH_TOKEN": "planted-ray-token-5" * 3,
    "HF_TOKEN": "hf_planted6",
    "WANDB_API_KEY": "planted-wandb-key-7",
}
PROXY_PASSWORD = "planted-proxy-password-8"
FILES = {
    ".mlflow/credentials": (
        "[mlflow]\nmlflow_tracking_username = somebody\nmlflow_tracking_password = {}\n",
        "planted-9",
    ),
    ".aws/credentials": ("[default]\naws_access_key_id = x\naws_secret_access_key = {}\n", "planted-aws-file-10"),
    ".ray/auth_token": ("{}", "planted-ray-file-token-11"),
}
PLANTED = [*SECRETS.values(), PROXY_PASSWORD, *(secret for _, secret in FILES.values())]

pytestmark = pytest.mark.ray


class Left(NamedTuple):
    """All that a training with these secrets around it left, and where it left it."""

    contents: dict[str, bytes]
    root: Path


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory, endpoint: str, store: Any) -> Iterator[Left]:
    folder, home = tmp_path_factory.mktemp("train"), tmp_path_factory.mktemp("home")
    for name, (text, secret) in FILES.items():
        (home / name).parent.mkdir(mode=0o700)
        (home / name).write_text(text.format(secret))
        (home / name).chmod(0o600)
    store.create_bucket(Bucket=BUCKET)
    ray = Path(tempfile.mkdtemp(prefix="ndm-"))  # of a short path: there are sockets in it
    around = {
        **SECRETS,
        "HOME": str(home),
        "RAY_TMPDIR": str(ray),
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_DEFAULT_REGION": "us-east-1",
        "MLFLOW_TRACKING_USERNAME": ACCOUNT,
        "HTTPS_PROXY": f"http://{ACCOUNT}:{PROXY_PASSWORD}@127.0.0.1:9",
    }
    arguments = (*TINY, "training.examples=2560", f"storage.checkpoints=s3://{BUCKET}/checkpoints")
    try:
        with Command(folder, "train", *arguments, **around) as command:
            assert command.ended() == 0, command.errors
        contents = {str(p): p.read_bytes() for top in (folder, ray) for p in top.rglob("*") if p.is_file()}
        for entry in store.list_objects_v2(Bucket=BUCKET)["Contents"]:
            contents[f"s3://{entry['Key']}"] = store.get_object(Bucket=BUCKET, Key=entry["Key"])["Body"].read()
        for path in home.rglob("*"):
            if path.is_file() and str(path.relative_to(home)) not in FILES:
                contents[str(path)] = path.read_bytes()
        yield Left(contents, folder / "runs")
    finally:
        shutil.rmtree(ray)


def test_the_places_where_a_secret_could_be_are_looked_at(left: Left) -> None:
    for part in ("spool.jsonl", "mlflow.db", "/artifacts/", "results.json", ".stdout", ".stderr", "/logs/", "s3://"):
        assert any(part in name for name in left.contents), part


@pytest.mark.parametrize("secret", PLANTED)
def test_no_secret_is_in_what_a_training_leaves(left: Left, secret: str) -> None:
    forms = [secret.encode(), *(base64.b64encode(f"{before}{secret}".encode()) for before in ("", f"{ACCOUNT}:"))]
    assert [name for name, content in left.contents.items() if any(form in content for form in forms)] == []


def test_the_token_of_the_embedded_ray_is_in_its_file_alone(left: Left) -> None:
    token = left.root / ".ray" / "auth_token"
    assert token.stat().st_mode & 0o077 == 0
    assert [name for name, content in left.contents.items() if token.read_bytes() in content] == [str(token)]


def test_a_token_in_the_environment_is_refused_before_a_cluster_is_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", SECRETS["RAY_AUTH_TOKEN"])
    sentence = refused(lambda: cluster.join("127.0.0.1:1", ""), "every task could read", "file of mode 0600")
    assert SECRETS["RAY_AUTH_TOKEN"] not in sentence
