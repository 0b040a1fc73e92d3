"""`ndm search` through Ray Tune: runs, report and tracking of a whole search, and trials of several workers."""

import subprocess
import sys
from pathlib import Path

import pytest
import ray
from commands import REPOSITORY, Tracked, checkpoints, here, records, refusal
from ray.util.placement_group import placement_group_table
from searches import TINY, course, told

from ndm.runs import RunFolder

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory, embedded_ray: None) -> Path:
    del embedded_ray
    folder = tmp_path_factory.mktemp("searched")
    (folder / "tiny.yaml").write_text(TINY)
    output = here(folder, "search", "tiny.yaml").output
    (folder / "output").write_text(output)
    return folder


def test_it_says_what_came_of_every_trial_and_how_to_train_the_best(searched: Path) -> None:
    output = (searched / "output").read_text()
    assert "trial 000 (baseline, seed 0), rung 2 of 2: " in output
    assert output.count("rung 1 of 2: ") == 5
    assert "Best: " in output
    assert "ndm train digits-tiny transform.kind=" in output


def test_nothing_of_a_trial_is_left_in_the_cluster(searched: Path) -> None:
    groups = placement_group_table().values()
    assert {group["state"] for group in groups} <= {"REMOVED"}
    assert ray.available_resources()["CPU"] == ray.cluster_resources()["CPU"]


def test_a_trial_is_an_ordinary_run_that_goes_on_by_the_ordinary_command(searched: Path) -> None:
    found = course(searched)
    stopped = next(t for t, s in zip(found.trials, found.standings(), strict=True) if s.status == "stopped")
    run = RunFolder(searched / "runs" / found.plan.run_name(stopped))
    assert run.experiment() == found.plan.experiment(stopped)
    scored = here(searched, "evaluate", run.name, "split=validation").output
    assert "images scored" in scored


def test_the_tracking_server_has_flat_runs_to_filter_and_one_summary(searched: Path) -> None:
    runs = {str(run.info.run_name).partition(" ")[0]: run for run in Tracked(searched / "runs").runs}
    assert set(runs) == {"tiny", *(f"tiny-{number:03d}" for number in range(5))}
    assert {run.data.tags["search"] for run in runs.values()} == {"tiny"}
    assert not any("mlflow.parentRunId" in run.data.tags for run in runs.values())
    assert runs["tiny-000"].data.tags["variant"] == "baseline"
    assert runs["tiny-000"].info.run_name == "tiny-000 baseline"
    assert runs["tiny-000"].data.metrics["search/compute_share"] == pytest.approx(1.0)
    for number, (_, standing, bits) in enumerate(told(searched)):
        run = runs[f"tiny-{number:03d}"]
        assert run.data.tags | {"rung": str(standing.rung), "outcome": standing.status, "seed": "0"} == run.data.tags
        assert run.data.metrics["search/bits_per_dim"] == pytest.approx(sum(bits[-1]) / len(bits[-1]))
    summary = runs["tiny"]
    assert "Best: " in summary.data.tags["mlflow.note.content"]
    client = Tracked(searched / "runs").client
    assert {entry.path for entry in client.list_artifacts(summary.info.run_id)} == {"report.html", "figures"}


def test_a_report_can_be_had_at_any_moment(searched: Path) -> None:
    output = here(searched, "report", "tiny").output
    assert output.strip().endswith(str(searched / "runs" / "tiny" / "report.html"))


def test_the_page_of_searches_has_a_line_for_every_point(searched: Path) -> None:
    script = [sys.executable, str(REPOSITORY / "analysis" / "searches.py"), "tiny", "--root", str(searched / "runs")]
    page = subprocess.run(script, capture_output=True, text=True, check=True).stdout
    assert "## tiny" in page
    assert len([line for line in page.splitlines() if line.startswith("| ")]) == 1 + 5


def test_the_same_command_again_trains_nothing(searched: Path) -> None:
    before = told(searched)
    assert "is finished; --fresh starts it again" in here(searched, "search", "tiny.yaml").output
    assert told(searched) == before


def test_mistakes_are_sentences(searched: Path) -> None:
    assert "was started with other values of examples" in refusal(searched, "search", "tiny.yaml", "examples=10240")
    assert "There is no run tinny: did you mean tiny?" in refusal(searched, "report", "tinny")
    assert "did you mean transform.kind" in refusal(
        searched, "search", "tiny.yaml", "name=other", "transform.kint=scale"
    )
    assert "cannot be kept in /proc" in refusal(
        searched, "search", "tiny.yaml", "name=other", "storage.root=/proc/nowhere"
    )
    assert "tiny-000 is a run, not a search" in refusal(searched, "search", "tiny.yaml", "name=tiny-000")


def test_trials_of_two_workers_come_to_the_same_curves_and_leave_nothing(searched: Path, tmp_path: Path) -> None:
    """Nested under Ray Train; on the two CPUs here one trial at a time has room, and nothing waits for ever."""
    (tmp_path / "tiny.yaml").write_text(TINY)
    few = ("trials=1", "scaling.workers=2", "pruner.kind=none")
    here(tmp_path, "search", "tiny.yaml", *few)
    (_, standing, two), _ = told(tmp_path)
    assert standing.status == "finished"
    one = told(searched)[0][2]
    assert two[-1] == pytest.approx(one[-1], abs=1e-3)
    assert {group["state"] for group in placement_group_table().values()} <= {"REMOVED"}
    assert ray.available_resources()["CPU"] == ray.cluster_resources()["CPU"]


def test_a_training_that_diverges_is_out_of_the_search_and_told(tmp_path: Path, embedded_ray: None) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY)
    space = "space={optimizer.lr: {choice: [1.0e+9]}}"
    output = here(tmp_path, "search", "tiny.yaml", space, "searcher.kind=grid", "pruner.kind=none").output
    assert "failed: The training diverged" in output
    assert [standing.status for _, standing, _ in told(tmp_path)].count("failed") == 1


def test_a_child_of_a_population_goes_on_from_its_parents_checkpoint(tmp_path: Path, embedded_ray: None) -> None:
    del embedded_ray
    (tmp_path / "tiny.yaml").write_text(TINY)
    breeding = (
        "trials=2",
        "pruner={kind: population, rungs: 2, eta: 2}",
        "space={optimizer.lr: {loguniform: [1.0e-3, 1.0e-2]}}",
    )
    here(tmp_path, "search", "tiny.yaml", *breeding)
    found = course(tmp_path)
    child = found.trials[-1]
    assert child.parent is not None
    run, parent = (tmp_path / "runs" / f"tiny-{number:03d}" for number in (child.number, child.parent))
    start = found.plan.stops(child.point)[0]
    assert min(step for step, _ in records(run, "train/bits_per_dim")) > start
    assert start in checkpoints(parent)
    rates = [records(folder, "train/learning_rate")[-1] for folder in (run, parent)]
    assert rates[0][0] == rates[1][0]
    factor = child.point["optimizer.lr"] / found.trials[child.parent].point["optimizer.lr"]
    assert rates[0][1] == pytest.approx(rates[1][1] * factor)
    assert factor in (pytest.approx(0.8), pytest.approx(1.25))
