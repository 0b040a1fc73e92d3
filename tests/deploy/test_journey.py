"""All of a project on a cluster that shares no file with its user: submitted jobs, a real store, a real database."""

import json
import re
import shlex
import shutil
import signal
import sys
from pathlib import Path

import pytest
from commands import REPOSITORY, Tracked, checkpoints, likelihood, records
from commands import here as in_process
from local_cluster import LocalCluster
from processes import Process

EXAMPLES = ("training.examples=2560", "monitor.log_every=640", "monitor.checkpoint_every=640", "samples.count=16")
TINY = ("digits-tiny", *EXAMPLES)


class Client:
    """A user in a folder of their own, whose shell has sourced `client.env`."""

    def __init__(self, cluster: LocalCluster, folder: Path) -> None:
        self.cluster, self.folder = cluster, folder
        self.environment = cluster.client | {"PYTHONPATH": cluster.platform}
        self.said: list[tuple[str, ...]] = []
        """All commands, in their order."""

    def start(self, *words: str) -> Process:
        self.said.append(words)
        program = [sys.executable, "-m", "ndm.cli", *words]
        return Process(program, self.folder, self.folder / f"{len(self.said)}-{words[0]}", self.environment)

    def ndm(self, *words: str, status: int = 0) -> str:
        with self.start(*words) as command:
            assert command.ended() == status, f"{command.output}\n{command.errors}"
        return command.output + command.errors

    def run(self, name: str) -> Path:
        return self.folder / "runs" / name


@pytest.fixture(scope="module")
def client(local: LocalCluster, tmp_path_factory: pytest.TempPathFactory) -> Client:
    return Client(local, tmp_path_factory.mktemp("client"))


def job_of(said: str) -> str:
    found = re.search(r"Submitted (\S+) \((\d+) files, ([\d.]+) MB, ", said)
    assert found, said
    assert float(found[3]) < 2
    return found[1]


def test_a_project_from_data_to_a_model_that_is_handed_on(client: Client, local: LocalCluster) -> None:
    said = client.ndm("prepare", *TINY)
    assert "1437 examples in" in said
    said = client.ndm("train", *TINY, "run.name=one")
    job = job_of(said)
    bound = re.search(r"bound +([\d.]+) \+- ([\d.]+) bits/dim", said)
    assert bound, said
    assert "This brings it here: ndm pull one" in said
    assert "The run one is finished" in client.ndm("train", *TINY, "run.name=one")
    client.ndm("evaluate", "one", "estimator=elbo_T10", "scaling.workers=1")
    client.ndm("sample", "one", "steps=3", "count=4", "scaling.workers=1")
    listed = client.ndm("runs", "list", "data=digits")
    assert f"one  {bound[1]} +- {bound[2]} bits/dim (test, elbo_cont_k4), digits, residual, 2,560 examples" in listed

    assert not client.run("one").exists()
    client.ndm("pull", "one")
    run = client.run("one")
    assert checkpoints(run) == [1920, 2560]
    assert len(likelihood(run)) == len(likelihood(run, "test-elbo_T10")) == 180
    assert len(list((run / "samples").glob("*.npz"))) == 2
    assert [step for step, _ in records(run, "train/bits_per_dim")] == [640, 1280, 1920, 2560]
    results = json.loads((run / "results.json").read_text())
    assert f"{results['likelihood']['scores'][0]['bits_per_dim']['value']:.4f}" == bound[1]

    listed = client.ndm("jobs", "list")
    assert re.search(rf"{job} +succeeded, exit status 0, ", listed)
    assert listed.count("succeeded") == 5
    assert "git.commit" in client.ndm("jobs", "status", job)
    client.ndm("jobs", "wait", job)
    assert "transform.kind" in client.ndm("runs", "show", "one")
    assert f"{bound[1]} +- {bound[2]} bits/dim" in client.ndm("jobs", "logs", job)


def test_a_pulled_run_is_scored_and_drawn_from_and_trained_on_as_if_it_had_been_made_here(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in client.environment if name.startswith(("RAY_", "NDM_", "MLFLOW_", "AWS_"))]:
        monkeypatch.delenv(name, raising=False)
    shutil.copytree(client.run("one"), tmp_path / "runs" / "one")
    run = tmp_path / "runs" / "one"
    before = likelihood(run)
    (run / "likelihood" / "test-elbo_cont_k4.parquet").unlink()
    in_process(tmp_path, "evaluate", "one")
    assert likelihood(run).equals(before)
    here = Tracked(tmp_path / "runs")  # a run of its own in this machine's database, with all that was recorded there
    assert here.history("train/bits_per_dim") == records(run, "train/bits_per_dim")
    assert here.run.info.status == "FINISHED"
    in_process(tmp_path, "sample", "one", "steps=2", "count=4")
    (run / "results.json").unlink()
    shutil.rmtree(run / "checkpoints" / "000000002560")
    said = in_process(tmp_path, "train", *TINY, "run.name=one").output
    assert "from 1920 of 2560 examples on" in said
    assert likelihood(run).equals(before)


def test_a_pulled_run_is_handed_on_and_its_model_used_with_three_lines(client: Client) -> None:
    client.ndm("export", "one", "scaling.workers=1")
    code = "import ndm; model = ndm.load('exports/one'); print(tuple(model.sample(3, seed=0).shape))"
    assert client.cluster.python(code, cwd=client.folder, PYTHONPATH=client.cluster.platform).strip() == "(3, 1, 8, 8)"


def test_a_search_is_a_job_too(client: Client) -> None:
    said = client.ndm("search", "tiny", "name=few", "trials=1", "examples=2560", "pruner={kind: none}")
    assert "This brings it here: ndm pull few" in said
    client.ndm("pull", "few")
    assert (client.run("few") / "report.html").is_file()
    shown = client.ndm("runs", "show", "few")
    assert "few-000" in shown
    assert "bits/dim" in client.ndm("report", "few")


def test_a_run_is_sent_back_and_removed(client: Client) -> None:
    assert "one is in s3://ndm/runs" in client.ndm("push", "one")
    client.ndm("rm", "one", "--store", "--yes")
    assert re.search(r"^ +one .*, here$", client.ndm("runs", "list"), re.MULTILINE)
    assert "There is no run one in s3://ndm/runs" in client.ndm("pull", "one", status=2)
    assert "one is in s3://ndm/runs" in client.ndm("push", "one")
    assert "one is in runs, verified" in client.ndm("pull", "one")


def test_a_job_is_left_and_stopped_and_goes_on_where_it_was(client: Client) -> None:
    words = (*TINY, "run.name=stopped", "training.examples=512000", "monitor.checkpoint_every=64000")
    with client.start("train", *words) as command:
        command.until(lambda: re.search(r"\d+/512000 examples", command.output), 300)
        command.signal(signal.SIGINT)
        assert command.ended() == 0
    job = job_of(command.output)
    assert f"{job} goes on; come back with: ndm jobs logs {job} -f --address http://127.0.0.1:" in command.errors
    assert re.search(rf"{job} +running, ", client.ndm("jobs", "list"))
    assert f"{job} has ended; the same command goes on from there." in client.ndm("jobs", "stop", job)
    said = client.ndm("jobs", "logs", job)
    stopped = re.search(r"Stopped at (\d+) of 512000 examples", said)
    assert stopped, said
    client.ndm("jobs", "wait", job, status=130)
    reached = int(stopped[1])
    again = client.ndm("train", *TINY, "run.name=stopped", f"training.examples={512000}", "--detach")
    second = job_of(again)
    with client.start("jobs", "logs", second, "-f") as command:
        command.until(lambda: f"from {reached} of 512000 examples on" in command.output, 300)
    client.ndm("jobs", "stop", second)


def test_mistakes_are_told_before_anything_is_sent_and_statuses_pass_through(client: Client) -> None:
    said = client.ndm("train", "digits-tyni", status=2)
    assert "digits-tiny" in said
    assert "Submitted" not in said
    said = client.ndm("train", *TINY, "run.name=many", "scaling.workers=8", status=2)
    assert "scaling.workers=8 but the Ray cluster has 2 CPU(s), enough for 2 worker(s)." in said
    said = client.ndm("evaluate", "nobody", status=2)
    assert "There is no run nobody" in said
    assert client.ndm("jobs", "wait", "nobody", status=2).startswith("There is no job nobody at ")


def test_a_job_that_queues_waits_for_nodes(client: Client) -> None:
    with client.start("train", *TINY, "run.name=many", "scaling.workers=8", "--queue") as command:
        waits = "Waiting for nodes: scaling.workers=8 but the Ray cluster has 2 CPU(s), enough for 2 worker(s)."
        command.until(lambda: waits in command.output, 300)
    client.ndm("jobs", "stop", job_of(command.output))


def test_nothing_of_the_cluster_s_secrets_is_in_a_package_a_job_or_a_run(client: Client, local: LocalCluster) -> None:
    secrets = [(local.home / ".ray" / "auth_token").read_text()]
    for file in (local.home / ".aws" / "credentials", local.home / ".mlflow" / "credentials"):
        lines = [line.split(" = ") for line in file.read_text().splitlines() if " = " in line]
        secrets += [value for key, value in lines if "user" not in key]
    assert len(secrets) >= 4
    shown = client.ndm("jobs", "list") + client.ndm("runs", "show", "one")
    files = [path for folder in (client.folder, local.folder / "runs") for path in folder.rglob("*") if path.is_file()]
    files += [path for path in local.temp.rglob("*") if path.is_file()]
    assert len(files) > 100
    for secret in secrets:
        assert secret not in shown
        assert not [path for path in files if secret.encode() in path.read_bytes()]


def test_every_command_of_the_page_was_one_of_these(client: Client) -> None:
    page = (REPOSITORY / "docs" / "cluster" / "jobs.md").read_text()
    blocks = re.findall(r"^```\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    commands = [shlex.split(line)[1:] for block in blocks for line in block.splitlines()]
    assert len(commands) == 16
    for command in commands:
        words = {word for word in command if word != "JOB"}
        assert any(said[0] == command[0] and words <= {*said} for said in client.said), command
