"""A run's folder that somebody changed: what it records leads to no file outside of it and to no code."""

import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hostile import bounded, refused
from PIL import Image

from ndm import presets
from ndm.evaluation import score
from ndm.runs import RunFolder
from ndm.tracking import Forwarder, Spool, TrackingConfig, ensure_run, resolve_uri, spool, ui_command
from ndm.tracking.client import connect

NOW = 1_700_000_000_000
SECRET = "a-secret-of-this-machine"


def lines(folder: Path, *records: Any) -> None:
    texts = [record if isinstance(record, str) else json.dumps(record) for record in records]
    (folder / spool.FILE).write_text("".join(f"{text}\n" for text in texts))


def artifact(file: str, folder: str = "") -> dict[str, Any]:
    return {"time": NOW, "kind": "artifact", "file": file, "folder": folder}


def image(**changes: Any) -> dict[str, Any]:
    return {"time": NOW, "kind": "image", "key": "samples", "step": 1, "file": "a.png"} | changes


GOOD = {"time": NOW, "kind": "metrics", "step": 1, "values": {"loss": 1.0}}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run's folder with a secret beside it, and ways that lead there."""
    folder = tmp_path / "runs" / "run"
    folder.mkdir(parents=True)
    (tmp_path / "secret.png").write_text(SECRET)
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "key").write_text(SECRET)
    (folder / "link.txt").symlink_to(tmp_path / "secret.png")
    (folder / "folder").mkdir()
    (folder / "folder" / "inner").symlink_to(tmp_path / "secrets" / "key")
    (folder / "linked").symlink_to(tmp_path / "secrets")
    Image.new("RGB", (4, 4)).save(folder / "a.png")
    return folder


def sent(run: Path) -> tuple[dict[str, float], list[str]]:
    """What arrives of a spool: metrics, and the contents of files."""
    root = run.parent
    run_id = ensure_run(TrackingConfig(), root, name="a run", params={}, tags={}, run_id=None)
    uri = resolve_uri(TrackingConfig(), root)
    with bounded():
        assert Forwarder(run, uri, run_id).close(15.0) == 0
    files = [path.read_text(errors="replace") for path in (root / "artifacts").rglob("*") if path.is_file()]
    return connect(uri).get_run(run_id).data.metrics, files


def test_a_record_that_names_a_file_outside_of_the_run_is_left_out(run: Path, caplog: pytest.LogCaptureFixture) -> None:
    absolute = str(run.parent.parent / "secret.png")
    ways = ["../../secret.png", "../../secrets", absolute, "link.txt", "folder", "linked", "linked/key", ".."]
    lines(run, *map(artifact, ways), *(image(file=way) for way in ways), GOOD)
    assert sent(run) == ({"loss": 1.0}, [])
    assert sum("it leads out of the run's folder" in message for message in caplog.messages) == 2 * len(ways)


RECORDS = {
    "a step that is a path": image(step="/../../../../escaped"),
    "a time that is a path": image(time="/../../../../escaped"),
    "a key that climbs": image(key="../../escaped"),
    "a key that is none": image(key=7),
    "no mapping": [1, 2],
    "a number": 7,
    "a deep line": "[" * 100_000,
    "an unknown kind": {"time": NOW, "kind": "execute", "command": "x"},
    "no kind": {"time": NOW},
    "values that are a list": GOOD | {"values": ["loss"]},
    "values that are texts": GOOD | {"values": {"loss": "1"}},
    "a step that is a list": GOOD | {"step": [1]},
    "tags that are no texts": {"time": NOW, "kind": "tags", "tags": {"a": [1]}},
    "a place that climbs": artifact("a.png", "../../../escaped"),
    "a place that climbs on its way": artifact("a.png", "a/../../../../escaped"),
    "an absolute place": artifact("a.png", "/escaped"),
    "a status of one's own": {"time": NOW, "kind": "status", "status": "OWNED"},
    "a time that is none": {"time": "now", "kind": "status", "status": "RUNNING"},
}


@pytest.mark.parametrize("record", RECORDS)
def test_a_line_of_another_form_is_left_out_and_holds_up_nothing(run: Path, record: str) -> None:
    lines(run, RECORDS[record], GOOD | {"values": {"later": 2.0}})
    assert [found for found, _ in spool.read(run / spool.FILE)] == [None, GOOD | {"values": {"later": 2.0}}]
    assert spool.held(run / spool.FILE) >= 0
    Spool(run).close()


def test_what_is_no_record_or_no_picture_neither_stops_the_sending_nor_leaves_a_trace(run: Path) -> None:
    (run / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    lines(run, *RECORDS.values(), image(), GOOD)
    assert sent(run) == ({"loss": 1.0}, [])
    assert not list(run.parent.parent.rglob("*escaped*"))
    assert not Path("/escaped").exists()


@pytest.mark.parametrize("record", ["experiment", "results", "tracking"])
@pytest.mark.parametrize(
    "content", ["[" * 100_000, '{"run_id": "../../x"}', '{"run_id": [1]}', "pipe", "holes", "link"]
)
def test_a_record_of_a_run_that_was_tampered_with_is_a_sentence(tmp_path: Path, record: str, content: str) -> None:
    folder = RunFolder(tmp_path)
    path = tmp_path / f"{record}.json"
    if content == "pipe":
        os.mkfifo(path)
        assert folder.read(record) == {}
        return
    if content == "link":
        path.symlink_to("/dev/zero")
        assert folder.read(record) == {}
        return
    path.write_text(content)
    if content == "holes":
        os.truncate(path, 2**40)
    refused(lambda: folder.read(record), f"{record}.json", "damaged")


def test_an_experiment_with_keys_of_ones_own_is_a_sentence(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    tree = presets.load("digits-tiny").model_dump(mode="json")
    folder.write("experiment", tree | {"__class__": "os.system"})
    refused(folder.experiment, "experiment.json", "__class__")
    folder.write("experiment", tree | {"tracking": {"uri": "http://ada:secret@host"}})
    assert "secret" not in refused(folder.experiment, "tracking.uri")


@pytest.mark.parametrize("damage", ["no table", "no account", "a deep account", "an account that is none"])
def test_a_table_of_likelihoods_that_was_tampered_with_is_a_sentence(tmp_path: Path, damage: str) -> None:
    path, table = tmp_path / "a.parquet", pa.table({"id": [0]})
    accounts = {"a deep account": "[" * 100_000, "an account that is none": "import os"}
    if damage in accounts:
        table = table.replace_schema_metadata({"ndm": accounts[damage]})
    pq.write_table(table, path)
    if damage == "no table":
        path.write_bytes(b"PAR1 no table")
    refused(lambda: score.read(path), "a.parquet is damaged")


def test_pickles_of_mlflow_are_off_whatever_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "true")
    uri = resolve_uri(TrackingConfig(), tmp_path)
    connect(uri)
    assert os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] == "false"
    assert "MLFLOW_ALLOW_PICKLE_DESERIALIZATION=false" in ui_command(uri)
