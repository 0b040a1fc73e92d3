"""The command line as a person meets it: real processes, their output, their exit status, and what they import."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy
import pytest
from processes import LONG

from ndm import cli, environment, presets

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT / "platform")}
HEAVY = {"torch", "ray", "mlflow", "pydantic", "numpy", "pyarrow", "scipy", "sklearn", "matplotlib", "boto3", "yaml"}


def run(*arguments: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    return subprocess.run(command, env=ENVIRONMENT, cwd=folder, capture_output=True, text=True, timeout=LONG)


def ndm(*arguments: str, **keywords: Path) -> subprocess.CompletedProcess[str]:
    return run("-m", "ndm.cli", *arguments, **keywords)


def imported(*arguments: str) -> set[str]:
    """The packages that a command has imported when it ends."""
    found = run("-X", "importtime", "-m", "ndm.cli", *arguments)
    assert found.returncode == 0, found.stderr
    return {name.partition(".")[0] for name in re.findall(r"\|\s+([\w.]+)$", found.stderr, re.MULTILINE)}


def test_help_names_every_verb_with_its_first_line():
    found, bare = ndm("--help"), ndm()
    assert found.returncode == bare.returncode == 0
    assert found.stdout == bare.stdout
    assert set(cli.verbs()) >= {"prepare", "train", "evaluate", "sample", "ui"}
    for verb, line in cli.verbs().items():
        assert re.search(rf"^  {verb} +{re.escape(line)}$", found.stdout, re.MULTILINE)
        assert line


@pytest.mark.parametrize("arguments", [("--help",), ("train", "--help"), ("ui", "--help")], ids=" ".join)
def test_help_imports_nothing_heavy(arguments):
    packages = imported(*arguments)
    assert "argparse" in packages
    assert not packages & HEAVY


@pytest.mark.parametrize("verb", sorted(cli.verbs()))
def test_every_verb_has_help(verb):
    found = ndm(verb, "--help")
    assert found.returncode == 0
    assert found.stdout.startswith(f"usage: ndm {verb}")
    assert cli.verbs()[verb] in found.stdout
    assert found.stderr == ""


def test_an_unknown_verb_is_a_sentence():
    near, far = ndm("trian", "digits-ndm"), ndm("xyz")
    assert (near.returncode, near.stdout, near.stderr) == (2, "", "Unknown verb trian: did you mean train?\n")
    assert far.returncode == 2
    assert far.stderr == f"Unknown verb xyz: the verbs are {', '.join(cli.verbs())}.\n"


def test_what_argparse_refuses_has_status_2_and_no_traceback():
    for arguments in (("train",), ("train", "digits-tiny", "--frsh"), ("ui", "--port", "x")):
        found = ndm(*arguments)
        assert found.returncode == 2
        assert found.stderr.startswith(f"usage: ndm {arguments[0]}")
        assert "Traceback" not in found.stderr


@pytest.fixture
def main(capsys, monkeypatch):
    """`ndm` in this process: (status, output, errors)."""
    monkeypatch.setattr(sys, "argv", sys.argv)
    before = signal.getsignal(signal.SIGTERM)
    yield lambda *arguments: (cli.main(arguments), *capsys.readouterr())
    signal.signal(signal.SIGTERM, before)


def test_a_dry_run_is_the_same_by_either_way_in_and_writes_nothing(main, tmp_path):
    script = run(str(ROOT / "jobs" / "train.py"), "--dry-run", "digits-tiny", "seed=3", folder=tmp_path)
    assert (script.returncode, script.stderr) == (0, "")
    assert main("train", "digits-tiny", "seed=3", "--dry-run") == (0, script.stdout, "")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "again.yaml").write_text(script.stdout)
    again = presets.load(str(tmp_path / "again.yaml"))
    assert again.digest() == presets.load("digits-tiny", ["seed=3"]).digest()


def test_a_users_mistake_is_one_sentence_with_status_2(tmp_path):
    found = ndm("train", "digits-ndm", "transfrom.kind=residual", folder=tmp_path)
    assert (found.returncode, found.stdout) == (2, "")
    assert found.stderr == "Unknown key transfrom.kind: did you mean transform.kind?\n"
    assert list(tmp_path.iterdir()) == []


BODY = """
import os, signal, sys, time
from ndm.cli import job
from ndm.errors import UserError

def body(options):
    match options.experiment:
        case "mistake": raise UserError("This is how to mend it.")
        case "bug": raise ValueError("not the user's")
        case "fine": return print(options.overrides, options.fresh)
    os.kill(os.getpid(), signal.Signals[options.experiment])
    time.sleep(60)

signal.signal(signal.SIGINT, signal.default_int_handler)  # the tests may run in the background, where it is ignored
if "ignored" in sys.argv:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
sys.exit(job(body, "A job.", fresh="a switch"))
"""


ENDS = {
    "fine a=1 b=2": (0, "['a=1', 'b=2'] False\n", ""),
    "fine a=1 --fresh b=2": (0, "['a=1', 'b=2'] True\n", ""),
    "mistake": (2, "", "This is how to mend it.\n"),
    "SIGINT": (130, "", ""),
    "SIGTERM": (130, "", ""),
    "SIGTERM ignored": (130, "", ""),
}


@pytest.mark.parametrize(("arguments", "expected"), ENDS.items(), ids=ENDS)
def test_how_a_job_ends(arguments, expected):
    found = run("-c", BODY, *arguments.split())
    assert (found.returncode, found.stdout, found.stderr) == expected


SHORT = {"sampler": "sampler.kind", "count": "samples.count", "estimator": "evaluation.estimators[]"}


@pytest.mark.parametrize(
    ("text", "expected"),
    {
        "sampler=heun": "sampler.kind=heun",
        "count=9": "samples.count=9",
        "count=": "samples.count=",
        "estimator=elbo": "evaluation.estimators=[elbo]",
        "estimator=elbo,ode": "evaluation.estimators=[elbo,ode]",
        "estimator=[elbo, ode]": "evaluation.estimators=[elbo, ode]",
        "sampler.kind=heun": "sampler.kind=heun",
        "sampler={kind: heun}": "sampler={kind: heun}",
        "counts=9": "counts=9",
        "count": "count",
    }.items(),
)
def test_a_short_name_stands_for_its_key(text, expected):
    assert cli.in_full(text, SHORT) == expected


def test_short_names_are_in_the_help_and_reach_the_job():
    body = BODY.replace('a switch"', f'a switch", short={SHORT}')
    told = run("-c", body, "--help").stdout
    assert "sampler (sampler.kind), count (samples.count), estimator (evaluation.estimators)" in told
    found = run("-c", body, "fine", "count=9", "--fresh", "a=1")
    assert found.stdout == "['samples.count=9', 'a=1'] True\n"


def test_a_switch_may_take_a_value():
    body = BODY.replace('a switch"', 'a switch", to=("FOLDER", "where to")').replace("options.fresh", "options.to")
    assert re.search(r"--to FOLDER +where to$", run("-c", body, "--help").stdout, re.MULTILINE)
    assert run("-c", body, "fine", "--to", "a/b", "a=1").stdout == "['a=1'] a/b\n"
    assert run("-c", body, "fine", "a=1").stdout == "['a=1'] None\n"


def test_the_short_names_of_sample_are_keys(main, tmp_path):
    asked = ["sampler=heun", "steps=0", "count=9"]
    assert main("sample", "digits-tiny", f"storage.root={tmp_path}", *asked)[2].startswith("sampler.steps=0 is not ")
    assert main("sample", "digits-tiny", f"storage.root={tmp_path}", "count=0")[2].startswith("samples.count=0 is not ")
    assert "sampler.eta=2.0" in main("sample", "digits-tiny", f"storage.root={tmp_path}", "eta=2.0")[2]


def test_a_bug_keeps_its_traceback():
    found = run("-c", BODY, "bug")
    assert found.returncode == 1
    assert "Traceback" in found.stderr
    assert found.stderr.endswith("ValueError: not the user's\n")


def test_main_returns_the_status_of_a_job(main):
    status, out, err = main("train", "no-such-experiment")
    assert (status, out) == (2, "")
    assert err.startswith("There is no experiment no-such-experiment: ")
    assert main("train", "--help")[0] == 0


def test_a_job_says_where_its_node_has_other_versions(tmp_path, monkeypatch, capsys) -> None:
    def said(pinned: str) -> str:
        (tmp_path / "constraints.txt").write_text(f"# tested\nnumpy=={pinned}\nno-such-package==1.0\n")
        monkeypatch.setattr(sys, "argv", ["train", "digits-tiny"])
        assert cli.job(lambda options: None, None) == 0
        return capsys.readouterr().err

    monkeypatch.setattr(cli, "JOBS", tmp_path / "jobs")
    assert said("0.1") == ""
    monkeypatch.setenv(environment.IN_JOB, "1")
    assert said(numpy.__version__) == ""
    assert said("0.1") == (
        f"This node's environment is not that of constraints.txt: numpy {numpy.__version__}, not 0.1.\n"
    )


@pytest.mark.parametrize("lines", [1, 10**6])
def test_a_reader_that_has_seen_enough_ends_a_command_without_a_traceback(lines):
    script = f"import sys; from ndm.cli import guarded; sys.exit(guarded(lambda: any(map(print, range({lines})))))"
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-c", script]
    found = subprocess.run(command, env=ENVIRONMENT, stdout=writer, stderr=subprocess.PIPE, timeout=LONG)
    os.close(writer)
    assert found.stderr == b""
    assert found.returncode == 128 + signal.SIGPIPE
