"""One command brings up a whole cluster on this machine; it works, is mended by the same command, and can be ended."""

import json
import os
import re
import signal
import stat
from pathlib import Path

import psutil
import pytest
from local_cluster import LocalCluster
from processes import LONG

SERVICES = ("ceph-mon", "ceph-mgr", "ceph-osd", "ceph-gateway", "postgres", "mlflow", "ray-head", "ray-node-1")

PUT = """
import boto3, sys
boto3.client("s3").put_object(Bucket="ndm", Key=sys.argv[1], Body=b"some bytes")
"""
GET = """
import boto3, sys
import pyarrow.fs
s3 = boto3.client("s3")
print(s3.get_object(Bucket="ndm", Key=sys.argv[1])["Body"].read().decode())
files = pyarrow.fs.FileSystem.from_uri("s3://ndm")[0]
with files.open_output_stream("ndm/arrow") as stream:
    stream.write(b"of arrow")
print(files.open_input_stream("ndm/arrow").read().decode())
print(sorted(bucket["Name"] for bucket in s3.list_buckets()["Buckets"]))
"""
LOG = """
import mlflow, sys
mlflow.set_experiment("trial")
with mlflow.start_run(run_name=sys.argv[1]):
    mlflow.log_metric("loss", 0.5)
    mlflow.log_text("a text", "notes/text.txt")
"""
READ = """
import boto3, mlflow, json
runs = mlflow.search_runs(experiment_names=["trial"], output_format="list")
texts = [mlflow.artifacts.load_text(run.info.artifact_uri + "/notes/text.txt") for run in runs]
print("FOUND", json.dumps([[run.info.run_name, run.data.metrics["loss"], text] for run, text in zip(runs, texts)]))
kept = boto3.client("s3").list_objects_v2(Bucket="mlflow")["Contents"]
assert any(entry["Key"].endswith("notes/text.txt") for entry in kept)
"""
TASK = """
import json, os, ray, sys
from ndm.runtime import cluster
cluster.join(sys.argv[1], sys.argv[2])
@ray.remote
def where():
    return ray.get_runtime_context().get_node_id(), dict(os.environ)
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as On
asked = [where.options(scheduling_strategy=On(node["NodeID"], False)).remote() for node in ray.nodes()]
print("FOUND", json.dumps(ray.get(asked)))
"""
JOB = """
import os, sys, time
from ray.job_submission import JobSubmissionClient
client = JobSubmissionClient(os.environ["RAY_ADDRESS"])
job = client.submit_job(entrypoint="python -c 'import os; print(os.environ[\\"NDM_STORE\\"])'")
while not client.get_job_status(job).is_terminal():
    time.sleep(0.2)
print(client.get_job_status(job).value, client.get_job_logs(job))
"""


def found(said: str) -> list:
    """What a program has found; libraries say things around it."""
    return json.loads(said.partition("FOUND ")[2].splitlines()[0])


def test_each_service_is_up_and_no_secret_is_where_others_can_read_it(local: LocalCluster) -> None:
    lines = local.run("status").splitlines()
    assert [line.split()[:2] for line in lines] == [[name, "up"] for name in SERVICES]
    secret_files = [local.home / place for place in (".ray/auth_token", ".aws/credentials", ".mlflow/credentials")]
    for file in [*secret_files, local.folder / "client.env"]:
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    words = [secret_files[0].read_text()]
    for file in secret_files[1:]:
        words += [
            line.split(" = ")[1] for line in file.read_text().splitlines() if " = " in line and "name" not in line
        ]
    assert len(words) == 4
    titles = " ".join(" ".join(process.cmdline()) for some in local.processes().values() for process in some)
    shown = (local.folder / "client.env").read_text() + titles
    assert not [word for word in words if word in shown]


def test_the_store_keeps_what_it_is_given(local: LocalCluster) -> None:
    local.python(PUT, "thing")
    assert local.python(GET, "thing").splitlines() == ["some bytes", "of arrow", "['mlflow', 'ndm']"]


def test_a_run_is_logged_with_the_account_and_not_without(local: LocalCluster) -> None:
    local.python(LOG, "first")
    assert ["first", 0.5, "a text"] in found(local.python(READ))
    nobody = {"MLFLOW_TRACKING_USERNAME": None, "MLFLOW_TRACKING_PASSWORD": None, "HOME": "/nonexistent"}
    assert "You are not authenticated" in local.python(LOG, "second", status=1, **nobody)
    wrong = {"MLFLOW_TRACKING_PASSWORD": "wrong"}
    assert "You are not authenticated" in local.python(LOG, "second", status=1, **wrong)


def test_a_driver_joins_with_the_token_and_its_tasks_find_what_they_need(local: LocalCluster) -> None:
    path = local.platform
    said = local.python(TASK, local.gcs, path, PYTHONPATH=path)
    nodes = dict(found(said))
    assert len(nodes) == 2
    token = (local.home / ".ray" / "auth_token").read_text()
    for environment in nodes.values():
        assert environment["NDM_STORE"] == "s3://ndm"
        assert environment["NDM_ROOT"] == str(local.folder / "runs")
        assert environment["HOME"] == str(local.home)
        assert environment["PYTHONPATH"] == path
        assert token not in environment.values()
    said = local.python(TASK, local.gcs, path, PYTHONPATH=path, RAY_AUTH_TOKEN_PATH="/etc/hostname", status=1)
    assert "does not let this command in" in said


def test_a_job_is_taken_with_the_token_and_refused_without(local: LocalCluster) -> None:
    said = local.python(JOB)
    assert "SUCCEEDED" in said
    assert said.split()[-1] == "s3://ndm"
    said = local.python(JOB, status=1, RAY_AUTH_MODE="disabled", RAY_AUTH_TOKEN_PATH=None)
    assert "AuthenticationError" in said


def test_up_changes_nothing_where_all_is_up(local: LocalCluster) -> None:
    before = {name: local.pid(name) for name in SERVICES}
    assert "The cluster was up already." in local.run("up")
    assert {name: local.pid(name) for name in SERVICES} == before
    assert "was made with --nodes 1" in local.run("up", "--nodes", "3", status=2)


@pytest.mark.parametrize(("dies", "again"), [("postgres", {"postgres"}), ("ceph-osd", {"ceph-osd"})])
def test_up_restores_what_died_with_its_data(local: LocalCluster, dies: str, again: set[str]) -> None:
    local.python(PUT, f"before {dies}")
    local.python(LOG, f"before {dies}")
    before = {name: local.pid(name) for name in SERVICES}
    os.kill(local.pid(dies), signal.SIGKILL)
    psutil.wait_procs([psutil.Process(before[dies])] if psutil.pid_exists(before[dies]) else [], timeout=LONG)
    assert f"{dies}" in local.run("status", status=1)
    local.run("up")
    assert {name for name in SERVICES if local.pid(name) != before[name]} == again
    assert local.python(GET, f"before {dies}").startswith("some bytes")
    assert f"before {dies}" in local.python(READ)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs PostgreSQL as another user")
def test_a_folder_that_keeps_postgresql_out_is_refused_before_anything_starts(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    cluster = LocalCluster(tmp_path / "cluster")
    said = re.search(r" and (\S+) keeps that user out: choose another --folder\.", cluster.run("up", status=2))
    assert said
    assert tmp_path.is_relative_to(said[1])  # pytest's own folders may keep it out, too
    assert not (tmp_path / "cluster" / "cluster.json").exists()


def test_a_number_that_is_somebody_elses_now_is_left_alone(local: LocalCluster) -> None:
    file = local.folder / "pids" / "ceph-mgr.json"
    text, mine = file.read_text(), os.getpid()
    file.write_text(json.dumps(json.loads(text) | {"pid": mine}))
    assert "ceph-mgr      down" in local.run("status", status=1)
    file.write_text(text)
    assert psutil.pid_exists(mine)
    local.run("status")


def test_down_leaves_no_process_and_no_port_and_keeps_the_data(local: LocalCluster) -> None:
    local.python(PUT, "kept")
    local.python(LOG, "kept")
    processes = [process for some in local.processes().values() for process in some]
    ports = {port for _, _, port in local.listening()}
    assert len(processes) > 20
    assert len(ports) > 20
    said = local.run("down")
    assert all(f"stopped {name}" in said for name in SERVICES)
    gone = psutil.STATUS_ZOMBIE
    assert not [process for process in processes if process.is_running() and process.status() != gone]
    assert not ports & {c.laddr.port for c in psutil.net_connections() if c.status == psutil.CONN_LISTEN}
    local.run("up")
    assert local.python(GET, "kept").startswith("some bytes")
    assert "kept" in local.python(READ)


def test_the_database_is_upgraded_with_a_command(local: LocalCluster) -> None:
    before = local.pid("mlflow")
    assert "what this version of MLflow needs" in local.run("upgrade")
    assert local.pid("mlflow") != before
    local.python(LOG, "after the upgrade")
