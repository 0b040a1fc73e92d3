"""A run's folder: one job at a time, records that are whole or refused, and runs found by name or experiment."""

import json
import multiprocessing
import signal
import time
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest
from analysis.run import read
from processes import LONG

from ndm import presets
from ndm.errors import UserError
from ndm.runs import SEARCH, RunFolder, find, folders, searches
from ndm.runtime import inventory

FORK = multiprocessing.get_context("fork")


def sentence(call, *arguments) -> str:
    with pytest.raises(UserError) as caught:
        call(*arguments)
    text = str(caught.value)
    assert text.isprintable()
    assert "Traceback" not in text
    return text


def enter(folder: RunFolder) -> None:
    with folder.lock():
        pass


def started(root: Path, *overrides: str, name: str = "digits-tiny") -> RunFolder:
    """A run as `ndm train` leaves it when it starts."""
    experiment = presets.load(name, overrides)
    folder = RunFolder(root / experiment.run_name())
    folder.write("experiment", experiment.model_dump(mode="json"))
    return folder


# The lock


def hold(path: Path, held: Connection) -> None:
    with RunFolder(path).lock():
        held.send("held")
        time.sleep(600)


def test_a_second_job_is_refused_until_the_first_one_ends_however_it_ends(tmp_path):
    folder = RunFolder(tmp_path / "runs" / "mine")
    here, there = FORK.Pipe()
    holder = FORK.Process(target=hold, args=(folder.path, there))
    holder.start()
    try:
        assert here.poll(60)
        refused = sentence(enter, folder)
        assert refused == "The run mine is in use by another job; wait for it, stop it, or choose run.name=..."
        enter(RunFolder(tmp_path / "runs" / "other"))
    finally:
        holder.kill()
        holder.join()
    assert holder.exitcode == -signal.SIGKILL
    enter(folder)


def test_a_run_is_held_within_one_process_and_freed_after_an_error(tmp_path):
    folder = RunFolder(tmp_path / "mine")

    def fail() -> None:
        with folder.lock():
            assert "in use by another job" in sentence(enter, RunFolder(folder.path))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    enter(folder)
    assert not folder.path.exists()


def test_a_lock_outlives_the_folder_that_is_moved_aside(tmp_path):
    folder = started(tmp_path)
    with folder.lock():
        folder.clear()
        assert "in use by another job" in sentence(enter, folder)


def test_a_root_that_cannot_hold_runs_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    for root in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/ndm")):
        text = sentence(enter, RunFolder(root / "mine"))
        assert text.startswith(f"Runs cannot be kept in {root} (")
        assert text.endswith("choose another storage.root=...")


# Records


def test_records_come_back_and_a_missing_one_is_empty(tmp_path):
    folder = RunFolder(tmp_path / "mine")
    assert folder.read("results") == {}
    content = {"a": [1, 2.5, None], "ä": {"b": "c"}}
    folder.write("results", content)
    folder.write("results", content | {"a": 1})
    assert folder.read("results") == content | {"a": 1}
    assert [path.name for path in folder.path.iterdir()] == ["results.json"]


def rewrite(path: Path, stop: Event) -> None:
    folder, n = RunFolder(path), 0
    while not stop.is_set():
        n = (n + 1) % 1000
        folder.write("tracking", {"n": n, "text": str(n) * 2000})


def test_a_reader_never_sees_half_a_record(tmp_path):
    folder = RunFolder(tmp_path / "mine")
    folder.write("tracking", {"n": 0, "text": "0" * 2000})
    stop = FORK.Event()
    writer = FORK.Process(target=rewrite, args=(folder.path, stop))
    writer.start()
    try:
        seen, end = set(), time.monotonic() + LONG
        while len(seen) < 5 and time.monotonic() < end:
            record = folder.read("tracking")
            assert record["text"] == str(record["n"]) * 2000
            seen.add(record["n"])
    finally:
        stop.set()
        writer.join()
    assert len(seen) == 5


def test_a_write_that_fails_leaves_the_record_before_it(tmp_path):
    folder = RunFolder(tmp_path / "mine")
    folder.write("results", {"a": 1})
    with pytest.raises(TypeError):
        folder.write("results", {"a": object()})
    assert folder.read("results") == {"a": 1}


@pytest.mark.parametrize("content", [b"", b'{"a": ', b"[1]", b"null", b"\xff\xfe", b"3"])
def test_a_damaged_record_is_a_sentence(tmp_path, content):
    folder = RunFolder(tmp_path / "mine")
    folder.path.mkdir()
    (folder.path / "results.json").write_bytes(content)
    expected = "results.json of the run mine is damaged; restore it, or start the run afresh with --fresh."
    assert sentence(folder.read, "results") == expected


def test_an_experiment_of_another_version_is_a_sentence(tmp_path):
    folder = started(tmp_path)
    record = folder.read("experiment")
    folder.write("experiment", {**record, "gone": 1})
    text = sentence(folder.experiment)
    assert text.startswith(
        f"experiment.json of the run {folder.name} cannot be used; restore it, or start the run afresh"
    )
    assert "Unknown key gone" in text


def test_moving_a_run_aside_deletes_nothing(tmp_path):
    folder = RunFolder(tmp_path / "mine")
    folder.clear()
    for n in range(3):
        folder.write("results", {"n": n})
        (folder.path / "samples").mkdir()
        folder.clear()
        assert not folder.path.exists()
    kept = sorted(path.name for path in tmp_path.iterdir())
    assert kept == ["mine.old1", "mine.old2", "mine.old3"]
    assert [RunFolder(tmp_path / name).read("results")["n"] for name in kept] == [0, 1, 2]


# Finding


def test_a_run_is_found_by_its_name_and_by_its_experiment(tmp_path):
    folder = started(tmp_path, "seed=3")
    for target, overrides in ((folder.name, []), ("digits-tiny", ["seed=3"])):
        found, experiment, _ = find(tmp_path, target, overrides)
        assert found.path == folder.path
        assert experiment == presets.load("digits-tiny", ["seed=3"])


def test_how_a_run_is_scored_and_watched_may_be_overridden(tmp_path):
    folder = started(tmp_path)
    overrides = ["evaluation.draws=7", "sampler.kind=ode", "samples.count=5", "scaling.workers=1"]
    _, experiment, _ = find(tmp_path, folder.name, overrides)
    assert (experiment.evaluation.draws, experiment.sampler.kind, experiment.samples.count) == (7, "ode", 5)
    assert experiment.digest() == presets.load("digits-tiny").digest()


def test_overrides_that_make_another_experiment_are_refused_by_run_and_lead_to_another_run_by_experiment(tmp_path):
    folder = started(tmp_path)
    text = sentence(find, tmp_path, folder.name, ["seed=4"])
    assert text.startswith(f"The overrides make another experiment than the run {folder.name} was trained with")
    other = presets.load("digits-tiny", ["seed=4", "tracking.experiment=a b"]).run_name()
    text = sentence(find, tmp_path, "digits-tiny", ["seed=4", "tracking.experiment=a b"])
    command = "ndm train digits-tiny seed=4 'tracking.experiment=a b'"
    assert text == f"There is no run {other} under {tmp_path.name}/; train it first: {command}"


def test_a_run_is_found_by_its_folder_and_a_checkpoint_by_its_own(tmp_path):
    folder = started(tmp_path / "elsewhere")
    (checkpoint := folder.checkpoints / "000000000128").mkdir(parents=True)
    assert find(tmp_path, str(folder.path), [])[0].path == folder.path
    found, _, named = find(tmp_path, str(checkpoint), [])
    assert (found.path, named) == (folder.path, "000000000128")
    for at, expected in {"@best": "best", "@128": "000000000128", "": None}.items():
        assert find(folder.path.parent, f"{folder.name}{at}", [])[2] == find(tmp_path, f"{folder.path}{at}", [])[2]
        assert find(folder.path.parent, f"digits-tiny{at}", [])[2] == expected
    text = sentence(find, folder.path.parent, f"{folder.name}@newest", [])
    assert text == "newest is no checkpoint: say @best, or how many examples it has seen, @12800."


@pytest.mark.parametrize("target", ["digits-tiny-12345678", "", "..", "../x", "a\0b", "x" * 5000, ".", "/", "/tmp"])
def test_an_unknown_run_is_a_sentence(tmp_path, target):
    started(tmp_path)
    text = sentence(find, tmp_path, target, [])
    assert text.startswith("There is no run ")
    assert len(text) < 600


def test_a_near_run_is_suggested_and_others_are_listed(tmp_path):
    folder = started(tmp_path, "run.name=my-first-run")
    assert sentence(find, tmp_path, "my-frist-run", []).endswith(f"did you mean {folder.name}?")
    text = sentence(find, tmp_path, "zzz", [])
    assert all(name in text for name in (folder.name, "digits-ndm"))


def test_there_may_be_no_folder_of_runs_yet(tmp_path):
    assert "train it first: ndm train digits-tiny" in sentence(find, tmp_path / "runs", "digits-tiny", [])
    assert "There is no run nothing under runs/" in sentence(find, tmp_path / "runs", "nothing", [])


def test_the_runs_and_searches_of_a_folder_are_those_with_a_record_and_of_nothing_there_is_nothing(tmp_path):
    assert folders(tmp_path / "runs") == searches(tmp_path / "runs") == []
    for name, record in {"b": "experiment", "a": "experiment", "c": SEARCH, "d": "results"}.items():
        RunFolder(tmp_path / name).write(record, {})
    (tmp_path / "experiment.json").write_text("{}")
    assert [folder.name for folder in folders(tmp_path)] == ["a", "b"]
    assert [folder.name for folder in searches(tmp_path)] == ["c"]


def test_where_no_run_is_none_can_be_suggested(tmp_path):
    known = inventory.inventory(tmp_path / "runs", None)
    assert sentence(inventory.find, known, "mine") == "There is no run mine: there are none yet."
    root = tmp_path / "runs"
    assert sentence(read, root, "mine") == f"There is no run mine under {root}/: there are none yet."


def test_a_run_of_a_file_is_found_by_the_file(tmp_path):
    file = tmp_path / "own.yaml"
    file.write_text("extends: digits-tiny\nseed: 8\n")
    folder = started(tmp_path / "runs", name=str(file))
    assert find(tmp_path / "runs", str(file), [])[0].path == folder.path
    assert folder.name.startswith("own-")
    assert json.loads((folder.path / "experiment.json").read_text())["seed"] == 8
