"""Checkpoints that somebody made to harm: passed over with a sentence, without reading more than they may hold."""

import hashlib
import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hostile import bounded, refused

from ndm import presets
from ndm.build import build_objective, build_state
from ndm.evaluation import trained
from ndm.objectives import Noise
from ndm.runtime import worker
from ndm.training import checkpoint

HOLES = 2**40
"""Bytes of a file that takes no room on a disk."""


def made(folder: Path, position: int = 20) -> Path:
    tensors = {"model": {"w": torch.arange(4.0)}, "ema": {"w": torch.arange(4.0)}}
    return folder / checkpoint.write(folder, position, tensors, {"experiment": "ab", "data": "cd"}, None)


def sealed(path: Path, **changes: Any) -> None:
    """Change a manifest and seal it again, as somebody would who knows how."""
    manifest = json.loads((path / "manifest.json").read_text()) | changes
    rest = {key: value for key, value in manifest.items() if key != "sha256"}
    rest["sha256"] = hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()
    (path / "manifest.json").write_text(json.dumps(rest))


def replaced(path: Path, content: bytes) -> None:
    """Other bytes for the model, with their hash."""
    (path / "model.safetensors").write_bytes(content)
    files = json.loads((path / "manifest.json").read_text())["files"]
    files["model.safetensors"] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    sealed(path, files=files)


def headed(header: object, data: bytes = b"", length: int | None = None) -> bytes:
    """A file in the format safetensors with any header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(begin: int, end: int, shape: list[int]) -> dict[str, Any]:
    return {"dtype": "F32", "shape": shape, "data_offsets": [begin, end]}


LIES = {
    "a header of gigabytes": headed(b"{}", length=2**33),
    "a header of all bytes there are": headed(b"{}", length=2**64 - 1),
    "a huge shape": headed({"w": entry(0, 16, [2**40, 2**40])}, bytes(16)),
    "a shape that overflows": headed({"w": entry(0, 16, [2**63, 2])}, bytes(16)),
    "a negative shape": headed({"w": entry(0, 16, [-2, -2])}, bytes(16)),
    "offsets beyond the end": headed({"w": entry(0, 2**40, [2**38])}, bytes(16)),
    "offsets that overlap": headed({"a": entry(0, 16, [4]), "b": entry(8, 24, [4])}, bytes(24)),
    "negative offsets": headed({"w": entry(-16, 0, [4])}, bytes(16)),
    "offsets in reverse": headed({"w": entry(16, 0, [4])}, bytes(16)),
    "a hole before the data": headed({"w": entry(16, 32, [4])}, bytes(32)),
    "an unknown type": headed({"w": entry(0, 16, [4]) | {"dtype": "O"}}, bytes(16)),
    "a deep header": headed(b"[" * 100_000),
    "nothing": b"",
}


@pytest.mark.parametrize("lie", LIES)
def test_a_header_that_lies_is_refused(tmp_path: Path, lie: str) -> None:
    path = made(tmp_path)
    replaced(path, LIES[lie])
    with bounded(), pytest.raises(checkpoint.Broken, match=r"model\.safetensors is not in the format safetensors"):
        checkpoint.read(tmp_path, path.name)


def link_to(target: str, name: str) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        (path / name).unlink()
        (path / name).symlink_to(target)

    return damage


def link_to_itself(path: Path) -> None:
    """The bytes are the right ones, and lie elsewhere."""
    elsewhere = (path / "model.safetensors").rename(path.parent / "elsewhere")
    (path / "model.safetensors").symlink_to(elsewhere)


def pipe(path: Path) -> None:
    (path / "model.safetensors").unlink()
    os.mkfifo(path / "model.safetensors")


def holes(name: str) -> Callable[[Path], None]:
    return lambda path: os.truncate(path / name, HOLES)


def announced_holes(path: Path) -> None:
    files = json.loads((path / "manifest.json").read_text())["files"]
    files["model.safetensors"]["bytes"] = -1
    sealed(path, files=files)


def many_entries(path: Path) -> None:
    files = {f"f{i}.safetensors": {"bytes": 1, "sha256": "0" * 64} for i in range(10**6)}
    (path / "manifest.json").write_text(json.dumps({"format": 1, "position": 20, "meta": {}, "files": files}))


def climb(path: Path) -> None:
    content = (path / "model.safetensors").read_bytes()
    (path.parent.parent / "x.safetensors").write_bytes(content)
    named = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    sealed(path, files={"../../x.safetensors": named})


def deep(path: Path) -> None:
    text = (path / "manifest.json").read_text()
    (path / "manifest.json").write_text(text.replace('"ab"', "[" * 50_000 + "]" * 50_000))


def large_number(path: Path) -> None:
    sealed(path, position=10**4000)


def twice(path: Path) -> None:
    text = (path / "manifest.json").read_text()
    (path / "manifest.json").write_text(text.replace('"position"', '"position": 20, "position": 30, "x"', 1))


DAMAGES: dict[str, Callable[[Path], None]] = {
    "a link to a device": link_to("/dev/zero", "model.safetensors"),
    "a manifest that is a link": link_to("/dev/zero", "manifest.json"),
    "a link to a secret": link_to("/etc/passwd", "model.safetensors"),
    "a link to the right bytes": link_to_itself,
    "a pipe": pipe,
    "a file of holes": holes("model.safetensors"),
    "a manifest of holes": holes("manifest.json"),
    "a negative size": announced_holes,
    "a million entries": many_entries,
    "a path that climbs": climb,
    "a deep manifest": deep,
    "a large position": large_number,
    "a key that is there twice": twice,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_hostile_one_is_passed_over_without_being_read(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "checkpoints"
    good, bad = made(folder, 10), made(folder)
    DAMAGES[damage](bad)
    with bounded():
        found = checkpoint.latest(folder)
    assert found is not None
    assert found.name == good.name
    assert caplog.messages[0].startswith(f"Checkpoint {bad.name} is passed over: ")


def test_a_checkpoint_that_is_a_link_is_none(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    (folder / made(tmp_path / "others").name).parent.mkdir()
    (folder / "000000000020").symlink_to(tmp_path / "others" / "000000000020")
    assert checkpoint.candidates(folder) == []
    checkpoint.write(folder, 10, {"model": {}}, {}, 1)
    assert (tmp_path / "others" / "000000000020" / "manifest.json").is_file()


@pytest.mark.parametrize("value", [float("nan"), 10**400, "1e999", [[]], True], ids=str)
def test_a_bound_that_is_none_is_not_the_best(tmp_path: Path, value: object) -> None:
    sealed(made(tmp_path), meta={checkpoint.VALIDATION: value})
    assert checkpoint.best(tmp_path) is None


def test_other_weights_under_the_hashes_of_an_experiment_are_a_sentence(tmp_path: Path) -> None:
    experiment = presets.load("digits-tiny")
    manifest = type("About", (), {"hash": "cd", "shape": (1, 8, 8), "levels": 17})()
    path = made(tmp_path)
    sealed(path, meta={"experiment": experiment.digest(), "data": "cd"})
    refused(lambda: trained.load(tmp_path, experiment, manifest), path.name, "does not hold the weights")
    sealed(path, meta={"experiment": 7, "data": ["cd"]})
    refused(lambda: trained.load(tmp_path, experiment, manifest), "belongs to other experiment")


CHANGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "no weights": lambda tensors: tensors.pop("model"),
    "weights of another shape": lambda tensors: tensors["model"].update(
        {k: v[:1] for k, v in tensors["model"].items()}
    ),
    "moments of another shape": lambda tensors: tensors["optimizer"].update({next(iter(tensors["optimizer"])): V}),
    "moments of nothing": lambda tensors: tensors["optimizer"].update({"nothing/exp_avg": V}),
    "averages that would be spread": lambda tensors: tensors["ema_0.050"].update(
        {k: v.flatten()[:1].clone() for k, v in tensors["ema_0.050"].items()}
    ),
}
V = torch.zeros(3, 5, 7)


@pytest.mark.parametrize("change", CHANGES)
def test_a_training_does_not_resume_from_another_state_under_its_own_hashes(tmp_path: Path, change: str) -> None:
    experiment = presets.load("digits-tiny", ["monitor.ema_widths=[0.05]"])
    manifest: Any = type("About", (), {"hash": "cd", "shape": (1, 8, 8), "levels": 17})()
    state = build_state(experiment, build_objective(experiment, manifest.shape, manifest.levels))
    x = state.objective.model.decoder.encode(torch.zeros(2, 1, 8, 8, dtype=torch.uint8))
    noise = Noise(torch.full((2,), 0.5, dtype=torch.float64), torch.randn_like(x), torch.randn_like(x))
    state.objective.loss(state.objective(x, noise), noise).mean().backward()
    state.optimizer.step()  # so that there are moments
    meta = {"experiment": experiment.digest(), "data": "cd", "seconds": 1.5}
    task: Any = type("Asked", (), {"home": tmp_path, "start": None})()
    checkpoint.write(tmp_path, 20, state.tensors(), meta, None)
    assert worker.resume(state, task, experiment, manifest) == 1.5
    tensors = {part: dict(values) for part, values in state.tensors().items()}
    CHANGES[change](tensors)
    name = checkpoint.write(tmp_path, 40, tensors, meta, None)
    refused(lambda: worker.resume(state, task, experiment, manifest), name, "does not hold the weights")
