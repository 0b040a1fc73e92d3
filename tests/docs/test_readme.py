"""Every command of the README does what the README says."""

import json
import re
import shlex
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import REPOSITORY, here
from pages import Page
from processes import LONG

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("embedded_ray")]

NDM = Path(sys.executable).with_name("ndm")
SMALLER = ["training.examples=2560", "evaluation.draws=2", "scaling.workers=1"]


def run(command: str, folder: Path) -> str:
    """A command of the README in `folder`, with the presets it trains made smaller; its standard output."""
    program, *arguments = shlex.split(command)
    if program == "ndm":
        others = {"search": ["examples=2560", "trials=2"], "report": [], "compare": []}
        smaller = [] if "--dry-run" in arguments else others.get(arguments[0], SMALLER)
        return here(folder, *arguments, *smaller).output
    assert program == "python"
    words = [sys.executable, REPOSITORY / arguments[0], *arguments[1:]]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=LONG)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def folder(readme, likelihoods, tmp_path_factory) -> Path:
    """A folder in which all `ndm` commands of the README, and then of the page on likelihoods, were run in order."""
    folder = tmp_path_factory.mktemp("readme")
    for command in readme.commands:
        if command.startswith("ndm ") and "BASELINE" not in command:
            run(command, folder)
    for command in likelihoods.commands:
        run(command, folder)
    return folder


def results(folder: Path) -> list[dict]:
    return [json.loads(path.read_text()) for path in sorted(folder.glob("runs/*/results.json"))]


def test_the_commands_train_evaluate_and_sample(folder: Path) -> None:
    trained = results(folder)
    assert len(trained) == 2
    for result in trained:
        assert result["likelihood"]["scores"][0]["images"] == 180
        assert (folder / result["likelihood"]["scores"][0]["table"]).is_file()
        assert (folder / result["samples"]["picture"]).is_file()
    tables = {path.name for path in folder.glob("runs/*/likelihood/validation-*.parquet")}
    assert tables == {"validation-elbo_cont_k2.parquet", "validation-ode_tn_k1_h1.parquet"}
    assert list(folder.glob("runs/*/samples/heun-steps20-*.npz"))


def form(line: str) -> str:
    """A line of a table without the numbers, the name of the run and that of the picture, which other runs change."""
    line = re.sub(r"digits-\w+-[0-9a-f]{8}", "RUN", line)
    line = re.sub(r"[\w-]+\.png", "PICTURE", line)
    line = re.sub(r"(\d+ h )?(\d+ min )?\d+ s,", "DURATION,", line)
    return re.sub(r"-?\d+(\.\d+)?", "#", line)


def test_the_table_of_the_readme_is_what_a_training_ends_with(readme, folder: Path) -> None:
    """The same rows in the same order and words; a finished run says them again."""
    said = run("ndm train digits-tiny", folder).splitlines()
    table = [line.removeprefix("  ") for line in said if line.startswith("  ")]
    assert table[0].startswith("run ")
    assert list(map(form, readme.table.splitlines())) == list(map(form, table))


def test_the_commands_on_data_sets_find_what_was_prepared(folder: Path, data_sets) -> None:
    outputs = [here(folder, *shlex.split(command)[1:]).output for command in data_sets.commands]
    assert len(outputs) == 5
    assert all("7cdb6258e03c" in output for output in outputs)


def test_the_commands_on_training_train_and_score_with_other_averages(training, tmp_path: Path) -> None:
    for command in training.commands:
        said = here(tmp_path, *shlex.split(command)[1:], *SMALLER[:2], *SMALLER[2:][: "workers" not in command]).output
        assert re.search(r"images scored +180 of 180", said)
    (run,) = tmp_path.glob("runs/digits-tiny-*")
    tables = {path.stem for path in run.glob("likelihood/test-*.parquet")}
    assert tables == {"test-elbo_cont_k2", "test-elbo_cont_k2-at-2560", "test-elbo_cont_k2-ema0.080"}


def test_the_search_of_the_page_is_one_and_its_commands_are_those_of_the_readme(searching, readme, tmp_path) -> None:
    (block,) = searching.yaml
    (tmp_path / "mine.yaml").write_text(block)
    run(f"ndm search {tmp_path / 'mine.yaml'} --dry-run", tmp_path)
    dry, *others = searching.commands
    assert "residual" in run(dry, tmp_path)
    assert set(others) <= set(readme.commands)


def test_the_commands_of_the_tutorial_on_searches_search(tmp_path: Path) -> None:
    page = Page("docs/tutorials/search.md")
    (block,) = page.yaml
    (tmp_path / "my-question.yaml").write_text(block)
    dry, search, report = page.commands
    said = run(dry.replace("my-question", "my-question.yaml"), tmp_path)
    points = re.findall(r"^# +\d+ (.*): ([\d.]+) times its step; rungs at (\d+)$", said, re.MULTILINE)
    assert [point for point, _, _ in points] == [
        *("linear, scale", "linear, residual", "learned, identity", "learned, scale", "learned, residual"),
    ]
    assert ("linear, residual", "2.26", "4480") in points
    assert "4480 for the residual network, whose step costs 2.26 times" in page.text
    run(search.replace("my-question", "my-question.yaml"), tmp_path)
    assert "bits/dim" in run(report, tmp_path)


def test_the_search_of_the_readme_ends_with_a_report(folder: Path) -> None:
    assert (folder / "runs" / "tiny" / "report.html").is_file()
    assert len(list(folder.glob("runs/tiny-[0-9]*"))) == 3


def test_the_commands_of_the_first_pages_do_what_they_say(tmp_path: Path) -> None:
    """With tiny experiments in place of the demo's, which take minutes."""
    tiny = {"digits-ndm": "digits-tiny", "digits-vdm": "digits-tiny transform.kind=identity"}
    pages = [Page("docs/start.md"), Page("docs/tutorials/trust-a-likelihood.md")]
    for command in [line for page in pages for line in page.commands if line.startswith("ndm ")]:
        for name, other in tiny.items():
            command = command.replace(name, other)
        names = sorted(path.parent.name for path in tmp_path.glob("runs/*/results.json"))
        if "BASELINE" in command:
            command = command.replace("BASELINE", names[0]).replace("RUN", names[1])
        elif command.startswith("ndm data"):
            assert "7cdb6258e03c" in here(tmp_path, *shlex.split(command)[1:]).output
            continue
        assert run(command, tmp_path)
    both = [
        {path.stem.removeprefix("test-") for path in found.glob("*.parquet")}
        for found in tmp_path.glob("runs/*/likelihood")
    ]
    assert sorted(map(len, both)) == [1, 1, 2, 10]  # of other seeds, of the baseline, of the run that is asked
    asked = max(both, key=len)
    assert asked > {"elbo_T10", "elbo_T100", "elbo_T1000_k64", "elbo_cont_k64_adaptive", "ode_decoder_k1_h1"}


def test_the_comparison_is_of_the_same_images(folder: Path, readme) -> None:
    (command,) = [c for c in readme.commands if c.startswith("ndm compare ")]
    alike = [result for result in results(folder) if result["run"].startswith("digits-tiny")]
    means = [result["likelihood"]["scores"][0]["bits_per_dim"]["value"] for result in alike]
    found = re.findall(r"^elbo_cont_k2 +(\S+) +([+-]\d+\.\d+) ± ", run(command, folder), re.MULTILINE)
    assert [name for name, _ in found] == [alike[1]["run"]]
    assert float(found[0][1]) == pytest.approx(means[1] - means[0], abs=1e-4)


def test_the_page_on_comparing_does_what_it_says(comparing, folder: Path, monkeypatch, capsys) -> None:
    outputs = [run(command, folder) for command in comparing.commands]
    assert outputs[0].startswith("What differs between the experiments\n")
    assert outputs[1] == "Written to comparison.html\n"
    assert "No published number that could be sourced is known to be of digits 1." in outputs[2]
    assert (folder / "results.md").read_text().startswith("# Results\n")
    monkeypatch.chdir(folder)
    (block,) = comparing.python
    exec(block, {})
    assert capsys.readouterr().out.startswith("What differs between the experiments\n")


def test_the_commands_of_the_page_on_reports_write_pages(reporting, folder: Path) -> None:
    first, other = (path.parent.name for path in sorted(folder.glob("runs/digits-tiny-*/results.json"))[:2])
    names = {"RUN": first, "OTHER": other, "SEARCH": "tiny"}
    for command in reporting.commands:
        words = [names.get(word, word) for word in shlex.split(command)[1:]]
        said = here(folder, *words, *["--quick"] * (words[1] == first and "--quick" not in words)).output
        page = folder / "runs" / words[1] / "report.html"
        assert said.strip().endswith(f"Report: {page}")
        assert ("Paired differences to" in page.read_text()) is (other in words)


@pytest.fixture(scope="module")
def exported(exporting, folder: Path) -> Path:
    """What the commands of the page on exports wrote."""
    assert len(exporting.commands) == 2
    for command in exporting.commands:
        said = here(folder, *shlex.split(command)[1:], *SMALLER).output
        assert "ndm.load" in said
    assert "registered  digits-tiny, version 1" in said
    (written,) = folder.glob("exports/digits-tiny-*")
    return written


def test_the_pages_on_handing_a_model_on_do_what_they_say(exporting, api, exported: Path, monkeypatch) -> None:
    names = dict(re.findall(r"^\| `([\w.]+)` \| (.*) \|$", exporting.text, re.MULTILINE))
    assert {path.name for path in exported.iterdir()} == names.keys()
    monkeypatch.chdir(exported.parent.parent)
    seen: dict[str, Any] = {}
    for block in api.python:
        exec(block.replace("exports/RUN", f"exports/{exported.name}"), seen)
    assert seen["images"].shape == (16, 1, 8, 8)
    assert seen["heun"].shape == (4, 1, 8, 8)
    assert seen["found"].bits_per_dim.shape == (2,)


def test_the_notebook_runs_on_an_exported_model(exported: Path, monkeypatch, capsys) -> None:
    import matplotlib
    import notebooks

    matplotlib.use("Agg")
    monkeypatch.chdir(exported.parent.parent)
    cells = list(notebooks.cells((notebooks.FOLDER / "trained_model.py").read_text()))
    assert [prose for prose, _ in cells].count(False) >= 5
    seen: dict[str, Any] = {}
    for _, code in (cell for cell in cells if not cell[0]):
        exec(code.replace("exports/RUN", f"exports/{exported.name}"), seen)
    assert seen["heun"].shape == seen["ancestral"].shape == (8, 1, 8, 8)
    assert seen["change"][1:].min() > 0
    assert f"noise {seen['other'].mean.value:.2f}" in capsys.readouterr().out


def test_make_targets_are_the_commands_the_readme_describes(readme) -> None:
    named = {command.split()[1] for command in readme.commands if command.startswith("make ")}
    expected = {"demo": "ndm train digits-ndm", "ui": "ndm ui", "test": "-m pytest"}
    assert named <= expected.keys()
    for target, command in expected.items():
        plan = subprocess.run(["make", "-n", target], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
        assert command in plan


def test_every_command_of_the_readme_is_tested(readme) -> None:
    known = (
        "ndm train",
        "ndm search",
        "ndm evaluate",
        "ndm sample",
        "ndm report",
        "make demo",
        "make ui",
        "ndm compare",
    )
    assert [c for c in readme.commands if not c.startswith(known)] == []


@pytest.fixture
def ui(folder: Path) -> Iterator[str]:
    port = "5059"
    server = subprocess.Popen([str(NDM), "ui", "--port", port], cwd=folder, stdout=subprocess.PIPE, text=True)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(LONG)


def test_the_ui_serves_the_runs(ui: str, folder: Path) -> None:
    wanted = {result["run"] for result in results(folder)}
    query = json.dumps({"experiment_ids": ["1"]}).encode()
    request = urllib.request.Request(f"{ui}/api/2.0/mlflow/runs/search", query, {"Content-Type": "application/json"})
    end, found = time.monotonic() + LONG, None
    while found is None:
        try:
            found = json.load(urllib.request.urlopen(request, timeout=LONG))["runs"]
        except OSError:  # it is starting
            assert time.monotonic() < end
            time.sleep(0.5)
    names = {run["info"]["run_name"] for run in found}
    assert {name for name in names if not name.startswith("tiny")} == wanted
    assert len(names - wanted) == 1 + 3  # a search and its trials


def test_the_presets_and_verbs_that_are_listed_are_all_there_are(readme, experiments) -> None:
    from ndm import cli, presets

    listed = [set(re.findall(r"^\| `([\w-]+)` \|", page.text, re.MULTILINE)) for page in (readme, experiments)]
    assert listed == [set(cli.verbs()), set(presets.names())]


def test_the_kinds_that_are_listed_are_all_there_are(experiments) -> None:
    from ndm.registry import kinds

    packages = {"sampler": "sampling", "volatility": "volatilities", "data": "data.sources"} | {
        "searcher": "search.searchers",
        "pruner": "search.pruners",
    }
    packages |= {name: f"{name}s" for name in ("transform", "schedule", "network", "head", "objective")}
    rows = dict(re.findall(r"^\| (\w+) \| (`.*`) \|$", experiments.text, re.MULTILINE))
    assert {part: tuple(re.findall(r"`(\w+)`", rows[part])) for part in packages} == {
        part: kinds(f"ndm.{package}") for part, package in packages.items()
    }
