"""The spool file: order, repair, and that a resumed training records nothing twice. No server is involved."""

import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ndm.tracking.spool import FILE, Spool, held, read

ENVIRONMENT = {"PYTHONPATH": os.pathsep.join(sys.path)}


def records(folder: Path) -> list[dict]:
    return [{k: v for k, v in record.items() if k != "time"} for record, _ in read(folder / FILE) if record]


def train(spool: Spool, steps: range) -> None:
    for step in steps:
        spool.metrics(step, {"train/loss": 1 / (1 + step), "train/rate": step})


def test_the_time_that_is_held_goes_from_each_start_to_the_last_record_of_the_training(tmp_path: Path) -> None:
    written = [
        (1000, {"kind": "status", "status": "RUNNING"}),
        (4000, {"kind": "metrics", "step": 64, "values": {}}),
        (9000, {"kind": "metrics", "step": 128, "values": {}}),
        (60_000, {"kind": "status", "status": "KILLED"}),
        (100_000, {"kind": "status", "status": "RUNNING"}),
        (101_500, {"kind": "metrics", "step": 192, "values": {}}),
        (150_000, {"kind": "metrics", "step": 0, "values": {}}),  # a result
        (200_000, {"kind": "status", "status": "RUNNING"}),  # and nothing after it
    ]
    file = tmp_path / FILE
    file.write_text("".join(json.dumps({"time": time} | record) + "\n" for time, record in written))
    assert held(file) == 8.0 + 1.5


def test_records_keep_the_order_of_the_calls_and_have_times_in_order(tmp_path: Path) -> None:
    (tmp_path / "samples").mkdir()
    png = tmp_path / "samples" / "a.png"
    png.touch()
    spool = Spool(tmp_path)
    spool.status("RUNNING")
    spool.tags({"kind": "test"})
    spool.metrics(3, {"train/loss": 0.5})
    spool.image("samples/ema", 3, png)
    spool.artifact(tmp_path / "samples", "pictures")
    spool.status("FINISHED")
    spool.close()
    assert records(tmp_path) == [
        {"kind": "status", "status": "RUNNING"},
        {"kind": "tags", "tags": {"kind": "test"}},
        {"kind": "metrics", "step": 3, "values": {"train/loss": 0.5}},
        {"kind": "image", "key": "samples/ema", "step": 3, "file": "samples/a.png"},
        {"kind": "artifact", "file": "samples", "folder": "pictures"},
        {"kind": "status", "status": "FINISHED"},
    ]
    times = [json.loads(line)["time"] for line in (tmp_path / FILE).read_text().splitlines()]
    assert times == sorted(times)
    assert times[0] > 1.7e12  # milliseconds


def test_values_that_are_not_finite_survive(tmp_path: Path) -> None:
    Spool(tmp_path).metrics(0, {"a": math.nan, "b": math.inf, "c": -math.inf})
    values = records(tmp_path)[0]["values"]
    assert math.isnan(values["a"])
    assert (values["b"], values["c"]) == (math.inf, -math.inf)


def test_a_resumed_training_records_each_step_once(tmp_path: Path) -> None:
    png = tmp_path / "a.png"
    png.touch()
    first = Spool(tmp_path)
    train(first, range(8))
    first.image("samples", 4, png)
    first.close()
    second = Spool(tmp_path)
    train(second, range(5, 10))  # from a checkpoint after step 4
    second.metrics(6, {"train/loss": 9.0, "validation/loss": 2.0})  # a key of its own counts for itself
    second.image("samples", 4, png)
    second.image("samples", 8, png)
    metrics = [r for r in records(tmp_path) if r["kind"] == "metrics"]
    assert [(r["step"], set(r["values"])) for r in metrics] == [
        *((step, {"train/loss", "train/rate"}) for step in range(10)),
        (6, {"validation/loss"}),
    ]
    assert [r["step"] for r in records(tmp_path) if r["kind"] == "image"] == [4, 8]


def test_a_file_cut_at_any_byte_is_mended_and_completed(tmp_path: Path) -> None:
    whole = Spool(tmp_path / "whole")
    train(whole, range(3))
    expected = records(tmp_path / "whole")
    content = (tmp_path / "whole" / FILE).read_bytes()
    for length in range(len(content)):
        folder = tmp_path / str(length)
        folder.mkdir()
        (folder / FILE).write_bytes(content[:length])
        spool = Spool(folder)
        assert (folder / FILE).read_bytes() == content[: content.rfind(b"\n", 0, length) + 1]
        train(spool, range(3))
        spool.close()
        assert records(folder) == expected


def test_a_line_torn_by_another_process_does_not_spoil_the_next_one(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    train(spool, range(2))
    with (tmp_path / FILE).open("ab") as file:
        file.write(b'{"time": 1, "kind": "metr')
    train(spool, range(2, 4))
    assert [r["step"] for r in records(tmp_path)] == [0, 1, 2, 3]


def test_a_damaged_line_does_not_hide_the_others(tmp_path: Path) -> None:
    train(Spool(tmp_path), range(3))
    lines = (tmp_path / FILE).read_bytes().splitlines(keepends=True)
    (tmp_path / FILE).write_bytes(lines[0] + b"\0" * 8 + b"\xff\n" + lines[2])
    train(Spool(tmp_path), range(2, 4))
    assert [r["step"] for r in records(tmp_path)] == [0, 2, 3]


def test_a_killed_process_loses_nothing_that_a_call_returned_from(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib; from ndm.tracking.spool import Spool\n"
        "spool = Spool(pathlib.Path(sys.argv[1])); step = 0\n"
        "while True: spool.metrics(step, {'a': step}); print(step, flush=True); step += 1\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout
        returned = [int(writer.stdout.readline()) for _ in range(50)]
        writer.send_signal(signal.SIGKILL)
        returned += [int(line) for line in writer.stdout if line.endswith("\n")]
    Spool(tmp_path)
    steps = [r["step"] for r in records(tmp_path)]
    assert steps == list(range(len(steps)))
    assert len(steps) > returned[-1]


def test_writing_opens_no_socket_and_needs_no_mlflow(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib; events = []\n"
        "sys.addaudithook(lambda event, _: events.append(event) if event.startswith('socket') else None)\n"
        "from ndm.tracking import Spool\n"
        "spool = Spool(pathlib.Path(sys.argv[1])); spool.metrics(1, {'a': 1}); spool.status('FINISHED')\n"
        "spool.close(); assert not events, events; assert 'mlflow' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program, tmp_path], env=ENVIRONMENT, check=True)
    assert len(records(tmp_path)) == 2


def test_files_must_be_in_the_folder_and_names_must_be_mlflow_names(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "run")
    (tmp_path / "run" / "sub").mkdir()
    (tmp_path / "outside.png").touch()
    with pytest.raises(ValueError, match=r"outside\.png"):
        spool.artifact(tmp_path / "outside.png")
    with pytest.raises(ValueError, match=r"outside\.png"):
        spool.image("a", 0, tmp_path / "run" / "sub" / ".." / ".." / "outside.png")
    for name in ("", "a b%", "/a", "a//b", "../a", "a/", "a" * 251):
        with pytest.raises(AssertionError, match="names are"):
            spool.metrics(0, {name: 1.0})
    assert records(tmp_path / "run") == []
