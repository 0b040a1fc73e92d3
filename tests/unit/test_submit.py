"""What is sent to a cluster, to which one, and what is refused before anything is sent."""

import argparse
import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from commands import here

from ndm import cli, presets, submit
from ndm.errors import UserError
from ndm.runtime import jobs
from ndm.runtime.package import pack
from ndm.tracking.provenance import code


def git(folder: Path, *words: str) -> None:
    who = ["-c", "user.name=n", "-c", "user.email=e", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "-C", str(folder), *who, *words], check=True, capture_output=True)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A work tree with a commit, a file that Git ignores, and files of no concern to a job."""
    for path in ("platform/ndm/a.py", "jobs/train.py", "docs/page.md", "constraints.txt", ".gitignore"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("ignored.py\n" if path == ".gitignore" else path)
    git(tmp_path, "init")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "first")
    (tmp_path / "platform" / "ignored.py").write_text("of no concern")
    return tmp_path


def names(content: bytes) -> set[str]:
    return {*zipfile.ZipFile(io.BytesIO(content)).namelist()}


SENT = {"platform/ndm/a.py", "jobs/train.py", "constraints.txt", "provenance.json"}


def test_a_package_has_what_a_job_needs_of_the_tree_and_nothing_else(tree: Path) -> None:
    package = pack(tree, {})
    assert names(package.content) == SENT
    assert package.files == 4
    assert package.provenance["git.dirty"] == "False"
    (tree / "platform" / "ndm" / "new.py").write_text("not added yet")
    changed = pack(tree, {"experiment.yaml": b"name: x"})
    assert names(changed.content) == SENT | {"platform/ndm/new.py", "experiment.yaml"}
    assert "with changes that are in no commit" in changed.line()
    assert pack(tree, {}).name != package.name


def test_equal_trees_make_equal_packages(tree: Path) -> None:
    before = pack(tree, {})
    (tree / "jobs" / "train.py").touch()
    assert pack(tree, {}).content == before.content


def test_the_tree_that_was_unpacked_says_of_which_commit_it_is(
    tree: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    (tree / "jobs" / "train.py").write_text("changed")
    package = pack(tree, {})
    there = tmp_path_factory.mktemp("there")
    zipfile.ZipFile(io.BytesIO(package.content)).extractall(there)
    assert code(there) == code(tree) == package.provenance
    assert package.provenance["git.dirty"] == "True"


def test_a_tree_of_no_git_is_packed_whole(tree: Path) -> None:
    subprocess.run(["rm", "-r", str(tree / ".git")], check=True)
    (tree / "platform" / "__pycache__").mkdir()
    (tree / "platform" / "__pycache__" / "a.pyc").write_bytes(b"")
    package = pack(tree, {})
    assert names(package.content) == SENT | {"platform/ignored.py"}
    assert "of no Git work tree" in package.line()


@pytest.mark.parametrize("name", [".env", "auth_token", "credentials", "server.pem", "id_rsa"])
def test_what_looks_like_a_secret_is_not_sent(name: str, tree: Path) -> None:
    (tree / "platform" / name).write_text("secret")
    with pytest.raises(UserError, match=f"^platform/{name} looks like a secret"):
        pack(tree, {})


def test_a_package_that_is_too_large_names_the_largest_file(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ndm.runtime.package.MOST_BYTES", 100)
    (tree / "platform" / "weights.bin").write_bytes(bytes(2000))
    with pytest.raises(UserError, match=r"move platform/weights\.bin elsewhere"):
        pack(tree, {})


def test_this_tree_is_small(tmp_path: Path) -> None:
    package = pack(submit.REPOSITORY, {})
    assert len(package.content) < 2_000_000
    beside = {name for name in names(package.content) if not name.startswith(("platform/", "jobs/", "analysis/"))}
    assert beside == {"LICENSE", "constraints.txt", "provenance.json", "pyproject.toml"}


@pytest.mark.parametrize("address", ["http://127.0.0.1:8265", "http://localhost:8265", "http://[::1]:8265"])
def test_this_machine_may_be_reached_in_clear_text(address: str) -> None:
    jobs.check(address, clear_text=False, no_token=False)


def test_another_machine_is_reached_closed_or_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    with pytest.raises(UserError, match="in clear text: put TLS before the job server"):
        jobs.check("http://10.0.0.1:8265", clear_text=False, no_token=True)
    with pytest.raises(UserError, match="There is no token for https://head:8265"):
        jobs.check("https://head:8265", clear_text=False, no_token=False)
    jobs.check("http://10.0.0.1:8265", clear_text=True, no_token=True)
    (tmp_path / "token").write_text("t" * 64)
    jobs.check("https://head:8265", clear_text=False, no_token=False)
    jobs.check("http://head:8265", clear_text=True, no_token=False)


@pytest.mark.parametrize("address", ["head:8265", "https://", "ray://head:10001", "https://u:word@head:1", "http://[x"])
def test_what_is_no_address_is_refused_and_not_repeated(address: str) -> None:
    with pytest.raises(UserError, match=r"^The address of a cluster's job server is of the form https://head:8265"):
        jobs.check(address, clear_text=True, no_token=True)


def test_the_switches_of_a_submission_are_told_from_the_words_of_the_verb(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "https://there:8265")
    asked, words = submit.options(["digits-tiny", "--queue", "--fresh", "seed=1", "--address", "https://head:1"])
    assert words == ["digits-tiny", "--fresh", "seed=1"]
    assert (asked.address, asked.queue, asked.detach) == ("https://head:1", True, False)
    assert submit.options(["digits-tiny"])[0].address == "https://there:8265"


def refused(verb: str, *words: str) -> str:
    asked = argparse.Namespace(
        address="http://127.0.0.1:1", queue=False, detach=False, allow_clear_text=False, allow_no_token=False
    )
    with pytest.raises(UserError) as refusal:
        submit.submit(verb, words, asked)
    return str(refusal.value)


def test_a_mistake_is_told_before_the_cluster_is_asked() -> None:
    assert refused("train", "digits-tyni") == "There is no experiment digits-tyni: did you mean digits-tiny?"
    assert "training.exmaples" in refused("train", "digits-tiny", "training.exmaples=3")
    assert refused("train").startswith("ndm train takes an experiment or a run")
    assert "tyni" in refused("search", "tyni")


def test_an_experiment_in_a_file_is_sent_with_what_it_extends_and_without_its_places(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("extends: digits-tiny\nseed: 7\nstorage: {root: /somewhere/private}\n")
    words, files, name = submit.portable("train", [str(mine), "training.examples=2560"])
    assert words == ["experiment.yaml", "training.examples=2560"]
    assert b"private" not in files["experiment.yaml"]
    (tmp_path / "experiment.yaml").write_bytes(files["experiment.yaml"])
    sent = presets.load(str(tmp_path / "experiment.yaml"), ["training.examples=2560"])
    asked = presets.load(str(mine), ["training.examples=2560"])
    assert (sent.digest(), sent.run_name()) == (asked.digest(), asked.run_name())
    assert sent.run_name() == name


def test_verbs_are_sent_where_a_job_server_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert {*cli.verbs()} > cli.SUBMITTED
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:1")
    assert "# training step" in here(tmp_path, "train", "digits-tiny", "--dry-run").output
    # Not here: Ray's token, once looked for, is the process's for good.
    words = [sys.executable, "-m", "ndm.cli", "evaluate", "some-run"]
    environment = os.environ | {"PYTHONPATH": str(submit.REPOSITORY / "platform")}
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("The cluster at http://127.0.0.1:1 does not answer: start it")
    assert done.stderr.count("\n") == 1


def test_exit_statuses_are_those_of_the_command() -> None:
    from ray.job_submission import JobDetails, JobStatus, JobType

    def ended(status: JobStatus, code: int | None) -> int:
        return jobs.exit_status(
            JobDetails(type=JobType.SUBMISSION, entrypoint="", status=status, driver_exit_code=code)  # pyright: ignore[reportCallIssue]
        )

    assert ended(JobStatus.SUCCEEDED, 0) == 0
    assert ended(JobStatus.FAILED, 2) == 2
    assert ended(JobStatus.FAILED, None) == 1
    assert ended(JobStatus.STOPPED, None) == ended(JobStatus.STOPPED, -15) == 130
    assert {status.value for status in JobStatus if status.is_terminal()} == jobs.ENDED
