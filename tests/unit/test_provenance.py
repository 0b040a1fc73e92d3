"""What is noted about the code and the machine, in real Git repositories."""

import getpass
import importlib.metadata
import os
import platform
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from ndm.tracking import provenance


def git(repository: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@b")
    command = ["git", "-C", str(repository), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    (folder / "package").mkdir(parents=True)
    (folder / "package" / "module.py").write_text("x = 1\n")
    (folder / ".gitignore").write_text("runs/\n")
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "first")
    return folder


def test_clean_code_is_its_commit(repository: Path) -> None:
    (repository / "runs").mkdir()
    (repository / "runs" / "ignored").touch()
    found = provenance(repository / "package")
    assert found["git.commit"] == git(repository, "rev-parse", "HEAD")
    assert found["git.dirty"] == "False"
    assert "git.diff" not in found


def test_equal_changes_and_only_they_have_equal_hashes(repository: Path) -> None:
    module, new = repository / "package" / "module.py", repository / "new.py"

    def diff() -> str:
        found = provenance(repository / "package")
        assert found["git.dirty"] == "True"
        return found["git.diff"]

    module.write_text("x = 2\n")
    changed = diff()
    module.write_text("x = 3\n")
    other = diff()
    module.write_text("x = 2\n")
    git(repository, "add", ".")
    assert diff() == changed  # staged or not is no difference
    new.write_text("y = 1\n")
    untracked = diff()
    new.write_text("y = 2\n")
    module.unlink()
    deleted = diff()
    assert len({changed, other, untracked, deleted}) == 4


def test_outside_git_the_commit_is_unknown(tmp_path: Path) -> None:
    found = provenance(tmp_path)
    assert (found["git.commit"], found["git.dirty"]) == ("unknown", "unknown")


def test_a_repository_without_a_commit_is_unknown(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    assert provenance(tmp_path)["git.commit"] == "unknown"


def test_versions_are_those_installed_and_nothing_is_imported_for_them(tmp_path: Path) -> None:
    found = provenance(tmp_path)
    assert found["version.python"] == platform.python_version()
    for library in ("torch", "ray", "mlflow", "numpy"):
        assert found[f"version.{library}"] == importlib.metadata.version(library)
    program = (
        "import sys, pathlib; from ndm.tracking import provenance\n"
        "found = provenance(pathlib.Path(sys.argv[1])); assert 'gpus' not in found\n"
        "assert not {'torch', 'ray', 'mlflow', 'numpy'} & set(sys.modules)\n"
    )
    environment = {"PYTHONPATH": os.pathsep.join(sys.path), "PATH": os.environ["PATH"]}
    subprocess.run([sys.executable, "-c", program, tmp_path], env=environment, check=True)


def test_nothing_names_a_person_a_host_or_a_directory(repository: Path) -> None:
    (repository / "new.py").touch()
    values = provenance(repository).values()
    assert all(isinstance(value, str) and "/" not in value for value in values)
    words = {word for value in values for word in value.split()}
    assert not words & {socket.gethostname(), getpass.getuser(), "a@b"}
