"""Experiments, searches, overrides and names that somebody wrote to harm: a sentence, quickly, and nothing else."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hostile import refused

from ndm import presets, runs
from ndm.search import config as search
from ndm.tracking import TrackingConfig

LAUGHS = "a: &a [x, x]\n" + "".join(f"{b}: &{b} [*{a}, *{a}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True))
TEXTS = {
    "an object": "seed: !!python/object/apply:os.system ['touch {canary}']\n",
    "an object that is made": "seed: !!python/object/new:os.mkdir ['{canary}']\n",
    "a module": "seed: !!python/module:antigravity\n",
    "a tag of one's own": "!open '{canary}'\n",
    "a billion laughs": LAUGHS,
    "an anchor of itself": "a: &a [*a]\n",
    "a merge": "a: &a {{b: 1}}\nc:\n  <<: *a\n",
    "a key twice": "seed: 1\nseed: 2\n",
    "a deep list": "a: " + "[" * 5000 + "\n",
    "a deep mapping": "a: " + "{{b: " * 2000 + "\n",
    "a number of many digits": "seed: " + "9" * 10_000 + "\n",
    "a key that is a list": "? [a]\n: 1\n",
    "two documents": "seed: 1\n---\nseed: 2\n",
    "no text": "seed: \x01\n",
}


def written(folder: Path, text: str) -> str:
    (folder / "a.yaml").write_text(text.format(canary=folder / "executed") if "canary" in text else text)
    return str(folder / "a.yaml")


@pytest.mark.parametrize("load", [presets.load, search.load], ids=["experiment", "search"])
@pytest.mark.parametrize("text", TEXTS)
def test_a_hostile_file_is_refused_and_runs_nothing(tmp_path: Path, text: str, load: Callable[[str], object]) -> None:
    file = written(tmp_path, TEXTS[text])
    refused(lambda: load(file), "a.yaml")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("target", ["/dev/zero", "/dev/stdin", "pipe", "holes"])
def test_a_file_that_is_none_is_not_read(tmp_path: Path, target: str) -> None:
    file = tmp_path / "a.yaml"
    if target == "pipe":
        os.mkfifo(file)
    elif target == "holes":
        file.touch()
        os.truncate(file, 2**40)
    elif target == "/dev/stdin":
        file.symlink_to("/dev/tty")
    else:
        file.symlink_to(target)
    for load in (presets.load, search.load):
        refused(lambda load=load: load(str(file)), "cannot be read")


OVERRIDES = [
    "../../x=1",
    "__class__.__init__=1",
    "a." * 50_000 + "b=1",
    "transform=" + "{a: " * 300 + "1" + "}" * 300,
    "seed=" + "[" * 5000,
    "seed=" + "9" * 5000,
    "optimizer.lr=1e999",
    "optimizer.lr=.nan",
    "run.name=../../x",
    "run.name=/etc/x",
    'run.name="a\\0b"',
    'run.name="a\u202eb"',
    "run.name=\uff0e\uff0e",
    "name=..",
    "data={kind: images, path: 'a\u202eb', x: 1}",
    'data={kind: images, path: "a\\0b"}',
    "s\u0435ed=1",
    "\u202eseed=1",
    "seed=\u0661",
    "\ud800=1",
    "seed=\ud800",
    "storage.data=s3://key:secret@bucket/x",
    "storage.checkpoints=https://user:secret@host/x",
]


@pytest.mark.parametrize("override", OVERRIDES, ids=lambda text: ascii(text)[:40])
def test_a_hostile_override_is_refused(tmp_path: Path, override: str) -> None:
    sentence = refused(lambda: presets.load("digits-tiny", [override]))
    assert "secret" not in sentence


@pytest.mark.parametrize("name", ["../../x", "/etc/x", "..", "a/b", "a\0b", "a\u202e"], ids=ascii)
def test_a_name_of_a_search_stays_in_its_folder(name: str) -> None:
    tree = {"name": name, "experiment": "digits-tiny", "space": {}, "examples": 1}
    refused(lambda: search.resolve(tree))


@pytest.mark.parametrize(
    "target", ["../../x", "/etc", "..", "a\0b", "x@../../y", "x@\u0663", "x@" + "9" * 5000], ids=ascii
)
def test_a_target_that_climbs_is_no_run(tmp_path: Path, target: str) -> None:
    (tmp_path / "runs").mkdir()
    refused(lambda: runs.find(tmp_path / "runs", target, []))
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


@pytest.mark.parametrize(
    "uri", ["http://ada:secret@host:5000", "https://secret@host", "postgresql://ada:se/cret@host/db"]
)
def test_an_address_with_a_password_is_refused_where_it_is_given(uri: str) -> None:
    sentence = refused(lambda: presets.load("digits-tiny", [f"tracking.uri={uri}"]), "MLFLOW_TRACKING_PASSWORD")
    assert "cret" not in sentence
    assert TrackingConfig(uri="http://host:5000").uri == "http://host:5000"
