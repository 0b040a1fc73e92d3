"""The transform of CONTRIBUTING.md is added to a copy of the project, by the page's own commands."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from commands import REPOSITORY
from processes import LONG

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def copy(contributing, tmp_path_factory) -> Path:
    copy = tmp_path_factory.mktemp("contributing")
    for folder in ("platform", "jobs", "tests"):
        shutil.copytree(REPOSITORY / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    shutil.copy(REPOSITORY / "pyproject.toml", copy)
    (code,) = contributing.python
    assert len(code.splitlines()) < 60
    (copy / "platform/ndm/transforms/my_transform.py").write_text(code)
    return copy


def run(command: str, copy: Path) -> str:
    words = shlex.split(command)
    if words[0] == "ndm":
        words = [sys.executable, "-m", "ndm.cli", *words[1:]]
        if "--dry-run" not in words:
            words += ["training.examples=2560", "evaluation.draws=2", "scaling.workers=1"]
    else:
        words = [sys.executable, *words[1:], "-k", "my_transform", "-p", "no:cacheprovider"]
    environment = os.environ | {"PYTHONPATH": str(copy / "platform")}
    done = subprocess.run(words, cwd=copy, env=environment, capture_output=True, text=True, timeout=LONG)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_the_new_transform_trains_and_is_under_contract(copy: Path, contributing) -> None:
    outputs = {command: run(command, copy) for command in contributing.commands}
    described, trained, tested = outputs.values()
    assert "transform parameters     1\n" in described
    assert "180 of 180" in trained
    passed = int(tested.rpartition(" passed")[0].split()[-1])
    assert passed >= 8
