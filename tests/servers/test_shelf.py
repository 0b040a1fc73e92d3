"""Runs in a store: what is pushed comes back whole, what was changed on two sides is not overwritten."""

import contextlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import here as ndm
from commands import refusal
from faults import Faults, between

from ndm import notation, presets
from ndm.data import places
from ndm.errors import UserError
from ndm.runs import RunFolder
from ndm.runtime import objects, storage
from ndm.runtime.shelf import LISTING, Shelf, kept
from ndm.terminal import Terminal
from ndm.training import checkpoint

BUCKET = "shelf"
TABLE = os.urandom(1 << 20)


@pytest.fixture(scope="module", autouse=True)
def _bucket(store: Any) -> None:
    store.create_bucket(Bucket=BUCKET)


@pytest.fixture(params=["s3", "folder"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    name = request.node.name.partition("[")[0]
    return f"s3://{BUCKET}/{name}" if request.param == "s3" else str(tmp_path / "shared")


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """The folder of a run as a training leaves it, with small files in the place of large ones."""
    return make(tmp_path / "here" / "runs" / "one")


def make(path: Path, kind: str = "identity") -> RunFolder:
    experiment = presets.load("digits-tiny", [f"transform.kind={kind}", "storage.checkpoints=/somewhere/private"])
    folder = RunFolder(path)
    folder.write("experiment", experiment.model_dump(mode="json"))
    (path / "experiment.yaml").write_text(notation.write(experiment.model_dump(mode="json")))
    score = {"estimator": "elbo", "split": "test", "images": 3, "data": {"name": "digits"}}
    scores = [score | {"bits_per_dim": {"value": 2.0, "error": 0.1}, "more": 1}]
    folder.write("results", {"run": "r", "likelihood": {"scores": scores}})
    for part, content in (("likelihood/test-elbo.parquet", TABLE), ("samples/grid.png", b"png"), ("spool.jsonl", b"")):
        (path / part).parent.mkdir(exist_ok=True)
        (path / part).write_bytes(content)
    (path / "likelihood" / "blocks").mkdir()
    (path / "likelihood" / "blocks" / "0").write_bytes(b"of an evaluation under way")
    for position, bound in ((10, 1.0), (20, 3.0), (30, 2.0)):
        tensors = {"model": {"w": torch.full((1000,), float(position))}}
        checkpoint.write(folder.checkpoints, position, tensors, {"validation": bound}, None)
        checkpoint.write(checkpoint.snapshots(folder.checkpoints), position, tensors, {}, None)
    return folder


def content(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def pushed(run: RunFolder, place: str) -> Shelf:
    ndm(run.path.parent.parent, "push", run.name, f"store={place}")
    return Shelf.of(place)


def pull(folder: Path, place: str, *words: str) -> RunFolder:
    folder.mkdir(exist_ok=True)
    ndm(folder, "pull", "one", f"store={place}", *words)
    return RunFolder(folder / "runs" / "one")


def test_a_run_that_is_pulled_is_the_run_that_was_pushed_without_its_places(
    run: RunFolder, place: str, tmp_path: Path
) -> None:
    pushed(run, place)
    got = pull(tmp_path / "there", place)
    before, after = content(run.path), content(got.path)
    stripped = {"experiment.json", "experiment.yaml"}
    assert {name: before[name] for name in before if name not in stripped} == {
        **{name: after[name] for name in after if name not in stripped},
        "likelihood/blocks/0": b"of an evaluation under way",
    }
    assert got.experiment().digest() == run.experiment().digest()
    assert b"private" not in b"".join(after.values())
    assert presets.load(str(got.path / "experiment.yaml")).digest() == run.experiment().digest()


def test_a_part_of_a_run_brings_its_records_and_another_completes_it(
    run: RunFolder, place: str, tmp_path: Path
) -> None:
    pushed(run, place)
    got = pull(tmp_path / "there", place, "--what", "samples")
    assert {*content(got.path)} >= {"experiment.json", "results.json", "spool.jsonl", "samples/grid.png"}
    assert not (got.path / "likelihood").exists()
    assert not got.checkpoints.exists()
    pull(tmp_path / "there", place, "--what", "weights,likelihood")
    assert (got.path / "likelihood" / "test-elbo.parquet").read_bytes() == TABLE
    assert checkpoint.candidates(got.checkpoints) == ["000000000030", "000000000010"]  # the newest, the best
    assert checkpoint.best(got.checkpoints) == "000000000010"


def test_what_a_pull_left_half_done_or_damaged_is_completed_by_the_same_command(
    run: RunFolder, place: str, tmp_path: Path
) -> None:
    pushed(run, place)
    got = pull(tmp_path / "there", place)
    whole = content(got.path)
    table = got.path / "likelihood" / "test-elbo.parquet"
    table.unlink()
    table.with_name(f".{table.name}.partial").write_bytes(TABLE[: len(TABLE) // 2])
    shutil.rmtree(got.checkpoints / "000000000020")
    (got.checkpoints / "000000000030" / "manifest.json").unlink()
    assert content(pull(tmp_path / "there", place).path) == whole


def test_a_download_goes_on_where_it_ended(store: Any, tmp_path: Path) -> None:
    target = places.at(f"s3://{BUCKET}/ranges/file")
    (tmp_path / "file").write_bytes(TABLE)
    sent = objects.send(tmp_path / "file", target)
    (tmp_path / ".got.partial").write_bytes(TABLE[:1000] + b"damaged")  # a longer one than the connection had brought
    asked: list[str] = []

    def note(params: dict[str, Any], **_: Any) -> None:
        asked.append(params["headers"]["Range"])

    events = objects.client(target.system).meta.events
    events.register("before-call.s3.GetObject", note)
    objects.fetch(target, sent, tmp_path / "got")
    events.unregister("before-call.s3.GetObject", note)
    assert (tmp_path / "got").read_bytes() == TABLE
    assert asked == [f"bytes=1007-{len(TABLE) - 1}", f"bytes=0-{len(TABLE) - 1}"]  # the hash told, and all came again


def test_a_large_file_goes_in_parts_and_comes_back(store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "PART", 5 << 20)
    large = os.urandom((11 << 20) + 1)
    (tmp_path / "file").write_bytes(large)
    target = places.at(f"s3://{BUCKET}/parts/file")
    sent = objects.send(tmp_path / "file", target)
    objects.fetch(target, sent, tmp_path / "got")
    assert (tmp_path / "got").read_bytes() == large
    assert store.head_object(Bucket=BUCKET, Key="parts/file")["ETag"].endswith('-3"')


def test_changes_on_one_side_are_carried_over_and_on_both_are_refused(
    run: RunFolder, place: str, tmp_path: Path
) -> None:
    shelf = pushed(run, place)
    there = pull(tmp_path / "there", place)
    (there.path / "samples" / "more.png").write_bytes(b"more")
    there.write("results", {"run": "of there"})
    pushed(there, place)
    assert shelf.require("one").about["scores"] == []
    (run.path / "samples" / "grid.png").write_bytes(b"changed here alone")
    pull(tmp_path / "here", place)
    assert run.read("results") == {"run": "of there"}
    assert (run.path / "samples" / "more.png").read_bytes() == b"more"
    assert (run.path / "samples" / "grid.png").read_bytes() == b"changed here alone"
    there.write("results", {"run": "of there again"})
    pushed(there, place)
    assert "was changed by another command" in refusal(tmp_path / "here", "push", "one", f"store={place}")
    run.write("results", {"run": "of here"})
    said = refusal(tmp_path / "here", "pull", "one", f"store={place}")
    assert said.startswith("results.json of the run one was changed here and in the store: pull it --to another")
    assert run.read("results") == {"run": "of here"}


def test_a_part_of_a_run_that_is_pushed_takes_nothing_away(run: RunFolder, place: str, tmp_path: Path) -> None:
    shelf = pushed(run, place)
    whole = shelf.require("one").files
    part = pull(tmp_path / "there", place, "--what", "samples")
    (part.path / "samples" / "more.png").write_bytes(b"more")
    pushed(part, place)
    assert {*shelf.require("one").files} == {*whole, "samples/more.png"}
    assert (pull(tmp_path / "there", place).path / "likelihood" / "test-elbo.parquet").read_bytes() == TABLE


def test_of_two_that_publish_at_once_one_is_refused(run: RunFolder, place: str) -> None:
    pushed(run, place)
    listing = places.at(f"{place}/runs/one/{LISTING}")
    found = objects.read(listing)
    assert found is not None
    objects.replace(listing, found[0], found[1])
    objects.replace(listing, found[0] + b" ", found[1])
    with pytest.raises(objects.Changed):
        objects.replace(listing, b"{}", found[1])
    with pytest.raises(objects.Changed):
        objects.replace(listing, b"{}", None)


def test_a_file_that_is_damaged_in_the_store_is_named_and_not_kept(run: RunFolder, place: str, tmp_path: Path) -> None:
    pushed(run, place)
    objects.write(b"x" * len(TABLE), places.at(f"{place}/runs/one/likelihood/test-elbo.parquet"))
    (tmp_path / "there").mkdir()
    said = refusal(tmp_path / "there", "pull", "one", f"store={place}")
    assert "likelihood/test-elbo.parquet is not what its listing says: it was damaged in the store" in said
    assert not (tmp_path / "there" / "runs" / "one" / "likelihood" / "test-elbo.parquet").exists()


@pytest.mark.parametrize("kinds", [("error", "throttled", "reset"), ("slow", "cut")])
def test_a_store_that_fails_at_every_tenth_request_loses_nothing(
    kinds: tuple[str, ...], endpoint: str, run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "FIRST_WAIT", 0.01)
    for number in range(12):  # enough requests for a tenth of them to be some
        (run.path / "samples" / f"{number}.npz").write_bytes(TABLE[: 90_000 * number])
    faults = Faults(0.1, kinds=kinds)
    with between(endpoint, faults) as proxy:
        place = f"s3://{BUCKET}/{kinds[0]}?endpoint_override={proxy}&scheme=http&region=us-east-1"
        for _ in range(2):
            pushed(run, place)
            got = pull(tmp_path / "there", place)
            whole = {name: data for name, data in content(got.path).items() if name != "experiment.json"}
            assert whole.items() <= {**content(run.path), "experiment.yaml": whole["experiment.yaml"]}.items()
            shutil.rmtree(got.path)
            (run.path / "samples" / "grid.png").write_bytes(b"another")
    assert sum(faults.seen[kind] for kind in kinds) >= 5, faults.seen


def test_a_command_begins_with_what_is_in_the_store_and_leaves_there_what_it_made(
    run: RunFolder, place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pushed(run, place)
    folder, terminal = RunFolder(tmp_path / "job" / "one"), Terminal()
    with kept(place, folder, terminal) as publish:
        assert folder.read("results")["run"] == "r"
        assert not folder.checkpoints.exists()  # a job works on those in the store
        folder.write("results", {"run": "early"})
        publish()
        assert pull(tmp_path / "there", place).read("results") == {"run": "early"}
        folder.write("results", {"run": "late"})
    assert pull(tmp_path / "there", place).read("results") == {"run": "late"}
    with contextlib.suppress(KeyboardInterrupt), kept(place, folder, terminal):
        folder.write("results", {"run": "interrupted"})
        raise KeyboardInterrupt
    assert pull(tmp_path / "there", place).read("results") == {"run": "interrupted"}
    assert checkpoint.candidates(Shelf.of(place).home("one"))[0] == "000000000030"


def test_a_publication_that_was_cut_before_it_was_noted_is_known_for_its_own(run: RunFolder, place: str) -> None:
    shelf = pushed(run, place)
    run.write("results", {"run": "new"})
    shelf.publish(run, Terminal())
    known, listed = run.path / "shelf.json", shelf.require("one")
    (run.path / "shelf.next.json").write_bytes(known.read_bytes())
    known.unlink()
    run.write("results", {"run": "newer"})
    shelf.publish(run, Terminal())
    assert shelf.require("one").sha256 != listed.sha256


@pytest.fixture
def several(run: RunFolder, place: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two runs, and a search with a trial; all but one run are in the store too."""
    root = run.path.parent
    make(root / "two", kind="time_basis")
    make(root / "wide-000")
    RunFolder(root / "wide").write("search", {"digest": "d", "search": {}})
    for name in ("one", "wide", "wide-000"):
        pushed(RunFolder(root / name), place)
    monkeypatch.setenv("NDM_STORE", place)
    return root.parent


def test_runs_are_listed_by_what_they_are(several: Path) -> None:
    listed = ndm(several, "runs", "list").output
    assert [line.split()[0] for line in listed.split("\n") if line.strip()] == ["one", "two", "wide", "wide-000"]
    assert "2.0000 +- 0.1000 bits/dim (test, elbo), digits, identity" in listed
    chosen = ndm(several, "runs", "list", "data=digits", "transform.kind=time_basis").output
    assert [line.split()[0] for line in chosen.split("\n") if line.strip()] == ["two"]
    shown = ndm(several, "runs", "show", "wide").output
    assert "search, here and in the store" in shown
    assert "wide-000" in shown
    assert "transfrom" in refusal(several, "runs", "list", "transfrom=identity")
    assert refusal(several, "runs", "show", "tow") == "There is no run tow: did you mean two?\n"


def test_a_run_is_removed_only_on_a_yes_and_a_trial_only_with_its_search(several: Path) -> None:
    assert refusal(several, "rm", "wide-000", "--yes") == (
        "wide-000 is a trial of the search wide, which would miss it: remove wide.\n"
    )
    for misspelt in ("rot=/elsewhere", "storage.rot=/elsewhere"):
        assert refusal(several, "rm", "two", "--yes", misspelt) == (
            f"{misspelt} is not of the form root=FOLDER or store=s3://bucket/prefix.\n"
        )
    assert (several / "runs" / "two").is_dir()
    said = ndm(several, "rm", "two", status=2)
    assert "There is no other copy of two." in said.output
    assert said.errors == "Nothing is removed without a yes: add --yes.\n"
    assert (several / "runs" / "two").is_dir()
    ndm(several, "rm", "two", "--yes")
    assert not (several / "runs" / "two").exists()
    ndm(several, "rm", "wide", "--yes", "--store")
    assert Shelf.of(os.environ["NDM_STORE"]).names() == ["one"]
    assert (several / "runs" / "wide-000").is_dir()
    with RunFolder(several / "runs" / "one").lock():
        assert "is in use by another job" in ndm(several, "rm", "one", "--yes", status=2).errors


def test_a_listing_that_names_files_elsewhere_is_refused(run: RunFolder, place: str, tmp_path: Path) -> None:
    pushed(run, place)
    listing = places.at(f"{place}/runs/one/{LISTING}")
    found = objects.read(listing)
    assert found is not None
    tree = json.loads(found[0])
    tree["files"]["../../../escaped"] = tree["files"].pop("results.json")
    objects.replace(listing, json.dumps(tree).encode(), found[1])
    (tmp_path / "there").mkdir()
    assert "manifest.json of the run one" in refusal(tmp_path / "there", "pull", "one", f"store={place}")
    assert not list(tmp_path.rglob("escaped"))


@pytest.mark.parametrize("name", ["nobody", "../one", ".", "a/b"])
def test_a_run_that_is_not_there_is_a_sentence(name: str, run: RunFolder, place: str, tmp_path: Path) -> None:
    pushed(run, place)
    assert refusal(tmp_path, "pull", name, f"store={place}").startswith(f"There is no run {name} in ")


def test_a_command_without_a_store_says_how_to_give_one(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NDM_STORE", raising=False)
    root = run.path.parent.parent
    for verb in ("push", "pull"):
        assert refusal(root, verb, "one").startswith("There is no store: give it as store=s3://bucket/prefix")
    assert "There is no bucket s3://no-such-bucket: create it" in refusal(
        root, "push", "one", "store=s3://no-such-bucket/x"
    )
    assert refusal(root, "push", "one", "store=gs://b/x").startswith(
        "storage.store=gs://b/x is not valid: it must be a local"
    )
    with pytest.raises(UserError, match="does not answer"):
        Shelf.of("s3://b/p?endpoint_override=127.0.0.1:9&scheme=http&region=x").names()
