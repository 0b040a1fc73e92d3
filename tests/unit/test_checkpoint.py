"""Checkpoints on a real disk: what was saved comes back bit for bit, what is broken is walked over, never believed.

Over 400 lines: the ways to damage a checkpoint stand beside those to write one.
"""

import contextlib
import functools
import hashlib
import itertools
import json
import logging
import math
import multiprocessing
import os
import pickle
import shutil
import struct
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
import torch

from ndm import presets
from ndm.build import build_objective, build_state
from ndm.training import checkpoint
from ndm.training.state import State, Tensors
from ndm.training.step import Slots, noise, step

META = {"experiment": "ab", "data": "cd", "tracking": None}


def tensors(seed: int = 0) -> Tensors:
    generator = torch.Generator().manual_seed(seed)
    weights = {"a.weight": torch.randn(3, 4, generator=generator), "b": torch.randn((), generator=generator)}
    odd = torch.tensor([math.nan, -math.nan, math.inf, -0.0, 1e-45, torch.finfo(torch.float32).max])
    return {"model": weights, "ema": {"a.weight": odd}, "optimizer": {"b/step": torch.tensor(float(seed))}}


def save(folder: Path, *positions: int, keep: int = 9) -> list[Path]:
    return [folder / checkpoint.write(folder, position, tensors(position), META, keep) for position in positions]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def bits(values: Tensors) -> dict[str, bytes]:
    return {
        f"{part}:{name}": tensor.numpy().tobytes() for part, named in values.items() for name, tensor in named.items()
    }


def sign(manifest: dict) -> str:
    """A manifest with the hash that belongs to it, as someone would write it who knows the format."""
    rest = {key: value for key, value in manifest.items() if key != "sha256"}
    return json.dumps(rest | {"sha256": hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()})


def resign(path: Path, **changes: object) -> None:
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(sign(manifest | changes))


def test_what_was_written_comes_back_bit_for_bit(tmp_path):
    save(tmp_path, 1280)
    found = checkpoint.latest(tmp_path)
    assert found is not None
    assert (found.position, found.meta, found.name) == (1280, META, "000000001280")
    assert bits(found.tensors) == bits(tensors(1280))
    for part, named in tensors().items():
        for name, tensor in named.items():
            assert found.tensors[part][name].shape == tensor.shape
            assert found.tensors[part][name].dtype == tensor.dtype


def trained_state(seed: int, steps: int) -> State:
    experiment = presets.load("digits-tiny", [f"seed={seed}", "network.width=8", "transform.network.width=8"])
    objective = build_objective(experiment, (1, 2, 2), 17)
    state = build_state(experiment, objective)
    for i in range(steps):
        x = objective.model.decoder.encode(torch.full((8, 1, 2, 2), i, dtype=torch.uint8))
        step(objective, state, x, noise(0, Slots(8 * i, 8, 0, 8), (1, 2, 2)), clip=1.0)
        state.ema.update(objective, i + 1)
        state.position += 8
    return state


def test_a_state_comes_back_whole_with_the_step_of_the_optimizer(tmp_path):
    state, other = trained_state(0, 3), trained_state(1, 1)
    checkpoint.write(tmp_path, state.position, state.tensors(), META, keep=2)
    found = checkpoint.latest(tmp_path)
    assert found is not None
    other.load(found.tensors, found.position)
    assert other.position == 24
    assert bits(other.tensors()) == bits(state.tensors())
    steps = [value for name, value in other.tensors()["optimizer"].items() if name.endswith("/step")]
    assert len(steps) == len(list(state.objective.parameters()))
    assert all(value.item() == 3 for value in steps)
    for parameter, again in zip(state.objective.parameters(), other.objective.parameters(), strict=True):
        assert state.optimizer.state[parameter].keys() == other.optimizer.state[again].keys()


def test_there_is_nothing_to_find_in_an_empty_or_a_missing_folder(tmp_path, caplog):
    assert checkpoint.latest(tmp_path) is None
    assert checkpoint.latest(tmp_path / "missing") is None
    assert caplog.records == []


def test_the_newest_is_found_by_number(tmp_path):
    save(tmp_path, 5, 10**12, 5 * 10**11)
    assert checkpoint.candidates(tmp_path) == ["1000000000000", "500000000000", "000000000005"]
    assert checkpoint.latest(tmp_path).position == 10**12


def truncate(path: Path) -> None:
    file = path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])


def flip(path: Path) -> None:
    content = bytearray((path / "ema.safetensors").read_bytes())
    content[-1] ^= 1
    (path / "ema.safetensors").write_bytes(content)


def lose(path: Path) -> None:
    (path / "optimizer.safetensors").unlink()


def lose_manifest(path: Path) -> None:
    (path / "manifest.json").unlink()


def replace_manifest_by_a_folder(path: Path) -> None:
    (path / "manifest.json").unlink()
    (path / "manifest.json").mkdir()


def claim_another_format(path: Path) -> None:
    resign(path, format=2)


def leave_no_json(path: Path) -> None:
    (path / "manifest.json").write_text('{"format": 1, ')


def nest_deeply(path: Path) -> None:
    (path / "manifest.json").write_text("[" * 100_000)


def leave_no_mapping(path: Path) -> None:
    (path / "manifest.json").write_text("[1, 2]")


def leave_no_text(path: Path) -> None:
    (path / "manifest.json").write_bytes(b"\xff\x00")


def change_the_data(path: Path) -> None:
    text = (path / "manifest.json").read_text()
    (path / "manifest.json").write_text(text.replace('"cd"', '"ce"'))


def rename_it(path: Path) -> None:
    resign(path, position=7)


def point_outside(path: Path) -> None:
    """A good file in the older checkpoint, named by the manifest of this one."""
    older = path.parent / "000000000010" / "model.safetensors"
    content = older.read_bytes()
    name = f"../{older.parent.name}/model.safetensors"
    resign(path, files={name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}})


def point_inside_by_a_path(path: Path) -> None:
    files = json.loads((path / "manifest.json").read_text())["files"]
    resign(path, files={f"./{name}": entry for name, entry in files.items()})


BREAKS = [
    truncate,
    flip,
    lose,
    lose_manifest,
    replace_manifest_by_a_folder,
    claim_another_format,
    leave_no_json,
    nest_deeply,
    leave_no_mapping,
    leave_no_text,
    change_the_data,
    rename_it,
    point_outside,
    point_inside_by_a_path,
]


@pytest.mark.parametrize("damage", BREAKS, ids=lambda damage: damage.__name__)
def test_a_broken_one_is_walked_over_with_a_warning_that_names_it(tmp_path, caplog, damage):
    _, newest = save(tmp_path, 10, 20)
    damage(newest)
    with caplog.at_level(logging.WARNING):
        found = checkpoint.latest(tmp_path)
    assert found is not None
    assert found.position == 10
    assert bits(found.tensors) == bits(tensors(10))
    (message,) = [record.getMessage() for record in caplog.records]
    assert message.startswith("Checkpoint 000000000020 is passed over: ")
    with pytest.raises(checkpoint.Broken):
        checkpoint.verify(tmp_path, newest.name)


def test_a_copy_under_a_name_of_ones_own_is_not_believed(tmp_path):
    (path,) = save(tmp_path, 10)
    with pytest.raises(checkpoint.Broken, match="the one at 10, under another name"):
        checkpoint.read(tmp_path, path.rename(tmp_path / "000000000011").name)


def test_all_broken_is_as_good_as_none(tmp_path, caplog):
    for path in save(tmp_path, 10, 20, 30):
        flip(path)
    assert checkpoint.latest(tmp_path) is None
    assert len(caplog.records) == 3


def test_no_flipped_bit_of_a_manifest_is_believed(tmp_path):
    (path,) = save(tmp_path, 10)
    file = path / "manifest.json"
    content = file.read_bytes()
    for i in range(len(content)):
        file.write_bytes(content[:i] + bytes([content[i] ^ 1]) + content[i + 1 :])
        if json_or_none(file) != json.loads(content):
            with pytest.raises(checkpoint.Broken):
                checkpoint.read(tmp_path, path.name)


def json_or_none(file: Path) -> object:
    try:
        return json.loads(file.read_bytes())
    except ValueError:
        return None


class Executed:
    """What a pickle of it runs when it is loaded."""

    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple:
        return Path.touch, (self.victim,)


@pytest.mark.parametrize("disguise", ["pickle", "torch", "header"])
def test_a_pickle_in_disguise_is_never_executed(tmp_path, caplog, disguise):
    folder, victim, file = tmp_path / "checkpoints", tmp_path / "executed", tmp_path / "payload"
    payload = pickle.dumps({"a.weight": Executed(victim)})
    if disguise == "torch":
        torch.save({"a.weight": Executed(victim)}, file)
        payload = file.read_bytes()
    if disguise == "header":
        header = json.dumps({"__metadata__": {"format": "pt"}}).encode()
        payload = struct.pack("<Q", len(header)) + header + payload
    _, newest = save(folder, 10, 20)
    (newest / "model.safetensors").write_bytes(payload)
    files = json.loads((newest / "manifest.json").read_text())["files"]
    files["model.safetensors"] = {"bytes": len(payload), "sha256": hashlib.sha256(payload).hexdigest()}
    resign(newest, files=files)
    assert checkpoint.latest(folder).position == 10
    assert "model.safetensors is not in the format safetensors" in caplog.text
    assert not victim.exists()
    pickle.loads(pickle.dumps(Executed(victim)))  # the payload does run where something unpickles it
    assert victim.exists()


def test_only_the_newest_are_kept(tmp_path):
    save(tmp_path, *range(10, 70, 10), keep=3)
    assert names(tmp_path) == ["000000000040", "000000000050", "000000000060"]


@pytest.mark.parametrize("damage", [flip, lose_manifest, lose])
def test_the_last_good_one_is_kept_whatever_is_broken_after_it(tmp_path, damage):
    """Broken ones do not count, wherever they lie: the newest `keep` good ones stay."""
    for path in save(tmp_path, 10, 20, 30, 40)[1:]:
        damage(path)
    save(tmp_path, 25, keep=2)
    assert names(tmp_path) == ["000000000010", "000000000020", "000000000025", "000000000030", "000000000040"]
    save(tmp_path, 50, keep=2)
    assert checkpoint.latest(tmp_path).position == 50
    assert "000000000025" in names(tmp_path)
    assert "000000000010" not in names(tmp_path)
    flip(tmp_path / "000000000050")
    assert checkpoint.latest(tmp_path).position == 25


def test_writing_the_same_position_again_replaces_it(tmp_path):
    save(tmp_path, 10)
    checkpoint.write(tmp_path, 10, tensors(99), {"again": True}, keep=2)
    assert names(tmp_path) == ["000000000010"]
    found = checkpoint.latest(tmp_path)
    assert found.meta == {"again": True}
    assert bits(found.tensors) == bits(tensors(99))


def test_a_broken_one_is_replaced_when_the_run_comes_by_again(tmp_path, caplog):
    flip(save(tmp_path, 10, 20)[1])
    save(tmp_path, 20)
    assert checkpoint.latest(tmp_path).position == 20
    assert caplog.records == []


def test_what_a_kill_left_half_written_is_ignored_and_then_removed(tmp_path):
    (path,) = save(tmp_path, 10)
    whole = shutil.copytree(path, tmp_path / ".000000000020.partial")
    (whole / "manifest.json").unlink()
    shutil.copytree(path, tmp_path / ".000000000030.partial")
    assert checkpoint.latest(tmp_path).position == 10
    save(tmp_path, 30)
    assert names(tmp_path) == ["000000000010", "000000000030"]
    assert bits(checkpoint.latest(tmp_path).tensors) == bits(tensors(30))


def test_other_files_and_copies_are_left_alone(tmp_path):
    (path,) = save(tmp_path, 10)
    shutil.copytree(path, tmp_path / "000000000010.copy")
    (tmp_path / "123").write_text("a file")
    (tmp_path / "notes").mkdir()
    save(tmp_path, 20, 30, keep=1)
    assert names(tmp_path) == ["000000000010.copy", "000000000030", "123", "notes"]
    assert checkpoint.latest(tmp_path).position == 30


class Crash(BaseException):
    """The process is gone: nothing after this runs."""


@pytest.mark.parametrize("position", [20, 30], ids=["over one that is there", "as a new one"])
def test_a_crash_between_any_two_operations_leaves_a_good_one(tmp_path, monkeypatch, position):
    real = {(os, "fsync"): os.fsync, (Path, "rename"): Path.rename, (Path, "mkdir"): Path.mkdir}
    real |= {(shutil, "rmtree"): shutil.rmtree, (Path, "open"): Path.open}
    for calls in range(100):
        folder = tmp_path / str(calls)
        save(folder, 10, 20)
        left = [calls]

        def counted(*arguments, operation, left=left, **keywords):
            if not left[0]:
                raise Crash
            left[0] -= 1
            return operation(*arguments, **keywords)

        with monkeypatch.context() as patch:
            for (owner, name), operation in real.items():
                counter = functools.partial(counted, operation=operation)
                patch.setattr(owner, name, functools.partialmethod(counter) if owner is Path else counter)
            try:
                checkpoint.write(folder, position, tensors(99), META, keep=2)
                finished = True
            except Crash:
                finished = False
        found = checkpoint.latest(folder)
        assert found is not None
        expected = tensors(99) if bits(found.tensors) == bits(tensors(99)) else tensors(found.position)
        assert bits(found.tensors) == bits(expected)
        save(folder, 40)  # the next write cleans up
        assert all(name.isdecimal() for name in names(folder))
        if finished:
            assert found.position == position
            assert calls > 10
            return
    pytest.fail("a write has fewer than a hundred operations")


def write_for_ever(folder: Path, written: Connection) -> None:
    for position in itertools.count(1):
        value = torch.full((20_000,), float(position))
        checkpoint.write(folder, position, {"model": {"w": value}, "ema": {"w": value}}, {}, keep=2)
        written.send(position)


def test_a_writer_that_is_killed_at_any_moment_leaves_its_last_checkpoint(tmp_path):
    context = multiprocessing.get_context("fork")
    for _ in range(3):
        here, there = context.Pipe(duplex=False)
        writer = context.Process(target=write_for_ever, args=(tmp_path, there))
        writer.start()
        there.close()
        reached = [here.recv() for _ in range(10)]
        writer.kill()
        writer.join()
        with contextlib.suppress(EOFError):
            while True:
                reached.append(here.recv())
        found = checkpoint.latest(tmp_path)
        assert found is not None
        assert found.position in (reached[-1], reached[-1] + 1)
        expected = torch.full((20_000,), float(found.position))
        assert all(torch.equal(part["w"], expected) for part in found.tensors.values())
        assert {"model", "ema"} == set(found.tensors)
        shutil.rmtree(tmp_path)


def test_the_best_by_validation_is_kept_beside_the_newest(tmp_path):
    bounds = {10: 3.0, 20: 2.0, 30: 2.5, 40: None, 50: math.nan, 60: 2.2, 70: 2.0}
    for position, bound in bounds.items():
        checkpoint.write(tmp_path, position, tensors(position), META | {"validation": bound}, keep=2)
        if position == 60:
            assert names(tmp_path) == ["000000000020", "000000000050", "000000000060"]
            assert checkpoint.best(tmp_path) == "000000000020"
    assert checkpoint.best(tmp_path) == "000000000070"  # the newer of equal ones
    assert names(tmp_path) == ["000000000060", "000000000070"]
    flip(tmp_path / "000000000070")
    assert checkpoint.best(tmp_path) == "000000000060"


def test_what_is_known_to_be_good_is_not_read_again(tmp_path, monkeypatch):
    good: checkpoint.Good = {}
    checkpoint.write(tmp_path, 10, tensors(10), META, 9, good)
    read: list[str] = []
    real = checkpoint.Disk.get

    def counted(self, name, file, most):
        read.append(name)
        return real(self, name, file, most)

    monkeypatch.setattr(checkpoint.Disk, "get", counted)
    checkpoint.write(tmp_path, 20, tensors(20), META, 9, good)
    assert read == []
    assert list(good) == ["000000000020", "000000000010"]
    checkpoint.write(tmp_path, 30, tensors(30), META, 9)
    assert set(read) == {"000000000010", "000000000020"}
