"""The tracking layer against a real MLflow server on loopback, which is killed and frozen on the way.

Over 400 lines: one server and one proxy before it serve all of it.
"""

import contextlib
import fcntl
import http.server
import logging
import math
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow.artifacts import download_artifacts
from PIL import Image
from processes import LONG

from ndm.errors import UserError
from ndm.tracking import Forwarder, Spool, TrackingConfig, ensure_run, log_dataset, register, resolve_uri, ui_command
from ndm.tracking.client import connect
from ndm.tracking.forward import CURSOR, LOCK


def until(condition: Callable[[], Any]) -> None:
    end = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


class Server:
    """The server that `ui_command` describes, in a process group of its own."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.uri, self.folder = f"http://127.0.0.1:{self.port}", folder
        self.database = resolve_uri(TrackingConfig(), folder)
        self.start()

    def start(self) -> None:
        with (self.folder / "server.log").open("ab") as log:
            command = ui_command(self.database, self.port)
            self.process = subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log, start_new_session=True)
        until(self.answers)

    def answers(self) -> bool:
        assert self.process.poll() is None, (self.folder / "server.log").read_text()
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.uri}/health", timeout=5) as reply:
            return reply.status == 200
        return False

    def signal(self, number: int) -> None:
        os.killpg(self.process.pid, number)

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):  # a failed test may leave it dead
            self.signal(signal.SIGKILL)
        self.process.wait()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("server"))
    yield server
    server.kill()


@pytest.fixture
def run_id(server: Server, tmp_path: Path) -> str:
    return start(server.uri, tmp_path)


def start(uri: str | None, root: Path, run_id: str | None = None, **params: Any) -> str:
    config = TrackingConfig.model_construct(uri=uri)  # as an address of the environment may be
    return ensure_run(config, root, name="a run", params=params, tags={"purpose": "test"}, run_id=run_id)


def history(uri: str, run_id: str, key: str) -> list[tuple[int, float]]:
    """In the order of the rows' times and steps, with every row that the server holds."""
    rows = connect(uri).get_metric_history(run_id, key)
    return [(row.step, row.value) for row in sorted(rows, key=lambda row: (row.timestamp, row.step))]


def train(spool: Spool, steps: range) -> None:
    for step in steps:
        spool.metrics(step, {"train/loss": 1 / (1 + step)})
        if step % 10 == 0:
            spool.metrics(step, {"validation/loss": 2 / (1 + step)})


def expected(steps: range) -> list[tuple[int, float]]:
    return [(step, 1 / (1 + step)) for step in steps]


def picture(file: Path, width: int = 300, height: int = 200) -> Path:
    Image.frombytes("RGB", (width, height), os.urandom(3 * width * height)).save(file)
    return file


def images(uri: str, run_id: str) -> list[str]:
    return [file.path for file in connect(uri).list_artifacts(run_id, "images")]


def test_all_that_is_recorded_while_the_server_is_dead_arrives_once_and_in_order(
    server: Server, run_id: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "ndm.tracking")
    spool = Spool(tmp_path)
    forwarder = Forwarder(tmp_path, server.uri, run_id)
    train(spool, range(30))
    until(lambda: forwarder.pending() == 0)
    server.kill()
    train(spool, range(30, 1500))  # more than one call of MLflow's
    spool.status("FINISHED")
    until(lambda: "is lost" in caplog.text)
    waiting = forwarder.pending()
    assert waiting == 1470 + 147 + 1
    server.start()
    assert forwarder.close(LONG) == 0
    assert history(server.uri, run_id, "train/loss") == expected(range(1500))
    assert [step for step, _ in history(server.uri, run_id, "validation/loss")] == list(range(0, 1500, 10))
    assert connect(server.uri).get_run(run_id).info.status == "FINISHED"
    messages = [record.getMessage() for record in caplog.records if record.name == "ndm.tracking"]
    assert [("is lost" in m, "is back" in m) for m in messages] == [(True, False), (False, True)]


def test_a_frozen_server_holds_up_neither_the_writer_nor_the_end(server: Server, run_id: str, tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    forwarder = Forwarder(tmp_path, server.uri, run_id)
    server.signal(signal.SIGSTOP)
    try:
        train(spool, range(25))
        spool.status("FINISHED")
        assert forwarder.close(0.5) == 25 + 3 + 1
    finally:
        server.signal(signal.SIGCONT)
    assert Forwarder(tmp_path, server.uri, run_id).close(LONG) == 0
    assert history(server.uri, run_id, "train/loss") == expected(range(25))
    assert connect(server.uri).get_run(run_id).info.status == "FINISHED"


def test_sending_everything_a_second_time_changes_nothing(server: Server, run_id: str, tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.metrics(0, {"a": math.nan, "b": math.inf, "c": 0.1})
    train(spool, range(20))
    spool.image("samples/ema", 10, picture(tmp_path / "a.png"))
    spool.artifact(picture(tmp_path / "b.png"))
    spool.tags({"best": "10"})
    spool.status("FINISHED")
    assert Forwarder(tmp_path, server.uri, run_id).close(LONG) == 0
    client = connect(server.uri)
    before = client.get_run(run_id).to_dictionary(), images(server.uri, run_id)
    (tmp_path / CURSOR).unlink()  # as if the process had been killed between sending and noting it
    assert Forwarder(tmp_path, server.uri, run_id).close(LONG) == 0
    after = client.get_run(run_id).to_dictionary(), images(server.uri, run_id)
    assert repr(after) == repr(before)
    assert len(after[1]) == 2
    assert history(server.uri, run_id, "train/loss") == expected(range(20))
    assert len(history(server.uri, run_id, "a")) == len(history(server.uri, run_id, "b")) == 1


def test_a_resumed_training_continues_the_run_and_logs_nothing_twice(server: Server, tmp_path: Path) -> None:
    run_id = start(server.uri, tmp_path, **{"model.width": 64, "seed": None})
    first = Spool(tmp_path)
    train(first, range(12))
    first.status("FAILED")
    first.close()
    assert Forwarder(tmp_path, server.uri, run_id).close(LONG) == 0
    client = connect(server.uri)
    assert client.get_run(run_id).info.status == "FAILED"
    assert start(server.uri, tmp_path, run_id, **{"model.width": 64, "seed": None, "new": 1.5}) == run_id
    assert client.get_run(run_id).info.status == "RUNNING"
    train(Spool(tmp_path), range(8, 16))
    assert Forwarder(tmp_path, server.uri, run_id).close(LONG) == 0
    assert history(server.uri, run_id, "train/loss") == expected(range(16))
    data = client.get_run(run_id).data
    assert data.params == {"model.width": "64", "seed": "None", "new": "1.5"}
    assert data.tags["purpose"] == "test"


def test_two_processes_with_a_forwarder_send_each_record_once(server: Server, run_id: str, tmp_path: Path) -> None:
    program = (
        "import sys, pathlib; from ndm.tracking import Forwarder, Spool\n"
        "folder = pathlib.Path(sys.argv[1]); spool = Spool(folder)\n"
        "forwarder = Forwarder(folder, sys.argv[2], sys.argv[3])\n"
        "for step in range(300): spool.metrics(step, {'train/loss': 1 / (1 + step)})\n"
        "print(forwarder.close(60))\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path), server.uri, run_id]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    here = Forwarder(tmp_path, server.uri, run_id)
    other = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    assert (other.stdout, other.stderr, here.close(LONG)) == ("0\n", "", 0)
    train(Spool(tmp_path), range(300, 303))
    with (tmp_path / LOCK).open() as sending:
        fcntl.flock(sending, fcntl.LOCK_EX)
        assert Forwarder(tmp_path, server.uri, run_id).close(1.0) == 3 + 1
    assert Forwarder(tmp_path, server.uri, run_id).close(LONG) == 0
    assert history(server.uri, run_id, "train/loss") == expected(range(303))


def test_images_and_files_are_where_the_pages_of_mlflow_look_for_them(
    server: Server, run_id: str, tmp_path: Path
) -> None:
    client = connect(server.uri)
    spool = Spool(tmp_path / "run")
    png = picture(tmp_path / "run" / "a.png")
    (tmp_path / "run" / "tables").mkdir()
    (tmp_path / "run" / "tables" / "bound.csv").write_text("t,nats\n")
    spool.image("samples/ema", 10, png)
    spool.artifact(tmp_path / "run" / "tables", "evaluation")
    assert Forwarder(tmp_path / "run", server.uri, run_id).close(LONG) == 0
    found = images(server.uri, run_id)
    original = next(path for path in found if path.endswith(".png"))
    assert Path(client.download_artifacts(run_id, original, str(tmp_path))).read_bytes() == png.read_bytes()
    csv = client.download_artifacts(run_id, "evaluation/tables/bound.csv", str(tmp_path))
    assert Path(csv).read_text() == "t,nats\n"

    other = start(server.uri, tmp_path)
    with Image.open(png) as image:
        client.log_image(other, image, key="samples/ema", step=10, synchronous=True)
    theirs = images(server.uri, other)

    def shape(paths: list[str]) -> list[str]:
        digits = [re.sub(r"timestamp\+\d{13}", "timestamp", path) for path in paths]
        return sorted(re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "id", path) for path in digits)

    assert shape(found) == shape(theirs)
    tags = [client.get_run(run).data.tags["mlflow.loggedImages"] for run in (run_id, other)]
    assert tags[0] == tags[1]
    for place, paths, run in (("ours", found, run_id), ("theirs", theirs, other)):
        (tmp_path / place).mkdir()
        thumbnail = next(path for path in paths if path.endswith(".webp"))
        with Image.open(client.download_artifacts(run, thumbnail, str(tmp_path / place))) as image:
            assert image.size == (256, 170)


def test_a_record_that_mlflow_refuses_does_not_hold_up_the_others(
    server: Server, run_id: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spool = Spool(tmp_path)
    train(spool, range(3))
    spool.artifact(picture(tmp_path / "lost.png"))
    (tmp_path / "lost.png").unlink()
    spool.tags({"": "a tag without a name"})
    (tmp_path / "no.png").write_text("not an image")
    spool.image("samples", 3, tmp_path / "no.png")
    train(spool, range(3, 6))
    assert Forwarder(tmp_path, server.uri, run_id).close(LONG) == 0
    assert history(server.uri, run_id, "train/loss") == expected(range(6))
    errors = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert ["lost.png" in errors[0], "without a name" in errors[1], "no.png" in errors[2]] == [True] * 3


def test_records_of_a_deleted_run_wait_until_it_is_restored(
    server: Server, run_id: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    client = connect(server.uri)
    client.delete_run(run_id)
    train(Spool(tmp_path), range(6))
    forwarder = Forwarder(tmp_path, server.uri, run_id)
    until(lambda: f"run {run_id} is deleted" in caplog.text)
    assert forwarder.pending() == 6 + 1
    with pytest.raises(UserError, match=f"mlflow runs restore --run-id {run_id}"):
        start(server.uri, tmp_path, run_id)
    client.restore_run(run_id)
    assert forwarder.close(LONG) == 0
    assert history(server.uri, run_id, "train/loss") == expected(range(6))


def test_parameters_beyond_the_limits_of_a_call_are_kept_and_cannot_change(server: Server, tmp_path: Path) -> None:
    params: dict[str, Any] = {f"group.p{i}": i for i in range(250)} | {"long": "x" * 7000}
    run_id = start(server.uri, tmp_path, **params)
    kept = connect(server.uri).get_run(run_id).data.params
    assert {key: kept[key] for key in params if key != "long"} == {f"group.p{i}": str(i) for i in range(250)}
    assert len(kept["long"]) == 6000
    start(server.uri, tmp_path, run_id, **params)
    with pytest.raises(UserError, match=r"has group\.p7 = 7, now it is 8; .* start a new run"):
        start(server.uri, tmp_path, run_id, **(params | {"group.p7": 8}))
    with pytest.raises(UserError, match="has long = x"):
        start(server.uri, tmp_path, run_id, **(params | {"long": "x" * 6999 + "y"}))
    with pytest.raises(UserError, match=f"has no run {'0' * 32}: correct tracking.uri"):
        start(server.uri, tmp_path, "0" * 32)


def test_the_data_set_is_noted_once(server: Server, run_id: str) -> None:
    for _ in range(2):
        log_dataset(server.uri, run_id, name="digits/train", digest="ab" * 32, source="s3://bucket/digits")
    inputs = connect(server.uri).get_run(run_id).inputs
    assert inputs
    (used,) = inputs.dataset_inputs
    assert (used.dataset.name, used.dataset.digest) == ("digits/train", ("ab" * 32)[:36])
    assert used.dataset.source == '{"uri": "s3://bucket/digits"}'
    assert [(tag.key, tag.value) for tag in used.tags] == [("mlflow.data.context", "training")]


def test_the_embedded_database_needs_no_server_says_nothing_and_stays_in_its_folder(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib; from ndm.tracking import *\n"
        "root = pathlib.Path(sys.argv[1]); folder = root / 'run'; config = TrackingConfig()\n"
        "run = ensure_run(config, root, name='r', params={'a.b': 1}, tags={}, run_id=None, description='y')\n"
        "spool = Spool(folder); forwarder = Forwarder(folder, resolve_uri(config, root), run)\n"
        "for step in range(5): spool.metrics(step, {'train/loss': 1 / (1 + step)})\n"
        "(folder / 'a.txt').write_text('a'); spool.artifact(folder / 'a.txt'); spool.status('FINISHED')\n"
        "print(forwarder.close(60), run)\n"
    )
    (tmp_path / "elsewhere").mkdir()
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    finished = subprocess.run(
        [sys.executable, "-c", program, "../runs"],
        cwd=tmp_path / "elsewhere",
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    assert finished.stderr == ""
    left, run_id = finished.stdout.split()
    assert left == "0"
    uri = resolve_uri(TrackingConfig(), tmp_path / "runs")
    run = connect(uri).get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params == {"a.b": "1"}
    assert run.data.tags["mlflow.note.content"] == "y"
    assert history(uri, run_id, "train/loss") == expected(range(5))
    assert [file.read_text() for file in (tmp_path / "runs" / "artifacts").rglob("a.txt")] == ["a"]
    assert not list((tmp_path / "elsewhere").iterdir())


class Refusal(http.server.BaseHTTPRequestHandler):
    """Answers every request with the server's `status` and a page that is not MLflow's."""

    def do_GET(self) -> None:
        assert isinstance(self.server, Refuser)
        self.send_response(self.server.status)
        self.end_headers()
        self.wfile.write(b"<html>no</html>")

    def log_message(self, format: str, *_: Any) -> None:
        """Nothing."""


class Refuser(http.server.ThreadingHTTPServer):
    status = 200


@pytest.fixture
def refuser() -> Iterator[Refuser]:
    with Refuser(("127.0.0.1", 0), Refusal) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        (401, "refuses access: set MLFLOW_TRACKING_USERNAME"),
        (403, "refuses access: set MLFLOW_TRACKING_USERNAME"),
        (200, "does not answer like MLflow"),
        (404, "does not answer like MLflow"),
        (503, "cannot be reached (too many 503 error responses): start it"),
    ],
)
def test_a_server_that_is_of_no_use_is_one_sentence(
    refuser: Refuser, status: int, sentence: str, tmp_path: Path
) -> None:
    refuser.status = status
    with pytest.raises(UserError) as caught:
        start(f"http://ada:secret@127.0.0.1:{refuser.server_port}", tmp_path)
    text = str(caught.value)
    assert f"http://***@127.0.0.1:{refuser.server_port} {sentence}" in text
    assert not {"ada", "secret", "\n"} & set(re.split(r"(\W)", text))


def test_a_server_that_is_down_is_one_sentence_and_costs_no_credentials(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    train(Spool(tmp_path), range(3))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and never listens
        port = taken.getsockname()[1]
        with pytest.raises(UserError) as caught:
            start(f"http://ada:secret@127.0.0.1:{port}", tmp_path)
        forwarder = Forwarder(tmp_path, f"http://ada:secret@127.0.0.1:{port}", "0" * 32)
        until(lambda: caplog.messages)
        assert forwarder.close(0.0) == 3 + 1
    assert caplog.messages == [
        f"Tracking at http://***@127.0.0.1:{port} is lost (Connection refused); records wait in spool.jsonl."
    ]
    assert str(caught.value) == (
        f"The tracking server http://***@127.0.0.1:{port} cannot be reached (Connection refused): "
        "start it, or correct tracking.uri."
    )
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("uri", ["file:/runs", "runs", "postgresql://ada:secret@host/db", "localhost:5000"])
def test_an_address_that_cannot_work_is_refused_before_anything_starts(uri: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be used: give http") as caught:
        start(uri, tmp_path)
    assert "secret" not in str(caught.value)


def test_a_file_that_is_no_database_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("something else entirely, and long enough to be looked at")
    with pytest.raises(UserError, match=r"mlflow\.db cannot be used \(file is not a database\)"):
        start(None, tmp_path)
    with pytest.raises(UserError, match="cannot be used"):
        start(f"sqlite:///{tmp_path}/mlflow.db/mlflow.db", tmp_path)


def test_the_ui_command_is_for_a_database_only() -> None:
    with pytest.raises(UserError, match=r"http://\*\*\*@host is a tracking server already"):
        ui_command("http://ada:secret@host")


def test_a_folder_is_registered_once_with_its_files_and_its_run(
    server: Server, run_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "weights").write_bytes(b"numbers")
    card = {"description": "what it is " * 1000, "tags": {"test/bpd_elbo": "1.5"}}

    def versions() -> list[str]:
        found = [register(server.uri, run_id, folder, name="mine", sha256=sha, **card) for sha in ("a1", "a1", "b2")]
        return [*found, register(server.uri, run_id, folder, name="mine", sha256="a1", **card)]

    assert versions() == ["1", "1", "2", "1"]
    client = connect(server.uri)
    assert client.get_model_version_by_alias("mine", "newest").version == "1"
    first = client.get_model_version("mine", "1")
    assert (first.run_id, first.status, first.tags["test/bpd_elbo"]) == (run_id, "READY", "1.5")
    assert len(first.description) == 5000
    assert first.description.endswith("in the README.md of the files.")
    experiment = client.get_run(run_id).info.experiment_id
    assert len(client.search_logged_models([experiment], "tags.export_sha256 = 'a1'")) == 1
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    fetched = Path(download_artifacts("models:/mine@newest", dst_path=str(tmp_path / "fetched")))
    assert {path.name: path.read_bytes() for path in fetched.iterdir()} == {"weights": b"numbers"}


def test_what_cannot_be_registered_is_a_sentence(server: Server, run_id: str, tmp_path: Path) -> None:
    for uri, run, name, words in (
        (server.uri, run_id, "a/b", "is no name of a model"),
        (server.uri, "0" * 32, "mine", "has no run 00000"),
        ("http://127.0.0.1:9", run_id, "mine", "cannot be reached"),
    ):
        with pytest.raises(UserError, match=words):
            register(uri, run, tmp_path, name=name, sha256="c3", description="", tags={})
