"""The course of a search over a table on disk: what runs next, and that a crash at any moment changes nothing."""

import json
import random

import pyarrow as pa
import pytest
import torch
from analysis import searches

from ndm import cli
from ndm.errors import UserError
from ndm.runs import RunFolder
from ndm.search import config
from ndm.search.course import Course, Unit
from ndm.search.findings import findings
from ndm.search.plan import BASELINE, Plan
from ndm.search.report import rows, summary, write
from ndm.search.table import Table

IMAGES, DIMENSIONS = 40, 64
DATA = {"name": "digits", "version": "1", "hash": "0" * 64}


def planned(**changes) -> Plan:
    tree = {
        "name": "tiny",
        "experiment": "digits-tiny",
        "examples": 10240,
        "trials": 8,
        "space": {
            "transform.kind": {"choice": ["scale", "linear"]},
            "optimizer.lr": {"loguniform": [1e-4, 1e-2]},
        },
        "pruner": {"kind": "asha", "rungs": 3, "eta": 2},
    }
    return Plan(config.resolve({**tree, **changes}))


def nats(plan: Plan, course: Course, unit: Unit) -> torch.Tensor:
    """What a simulated training reaches: the nearer the rate to 1e-3 the better; images and noise are the same."""
    trial = course.trials[unit.trial]
    rate = trial.point.get("optimizer.lr", 1e-3)
    kind = 0.1 * (trial.point.get("transform.kind") == "linear")
    mean = 2.0 + abs(torch.tensor(rate / 1e-3).log()) * 0.1 + kind + 0.5 / (unit.rung + 1) + 0.01 * trial.seed
    noise = torch.randn(IMAGES, generator=torch.Generator().manual_seed(1)).double()
    own = torch.randn(IMAGES, generator=torch.Generator().manual_seed(100 + unit.trial)).double()
    return (mean + 0.3 * noise + 0.01 * own) * DIMENSIONS * torch.tensor(2.0).log()


def reach(plan: Plan, course: Course, unit: Unit) -> None:
    trial = course.trials[unit.trial]
    values = nats(plan, course, unit)
    table = pa.table({"id": pa.array(range(IMAGES)), "nats": pa.array(values.tolist(), pa.float64())})
    made = {"dimensions": DIMENSIONS, "examples": plan.stops(trial.point)[unit.rung], "images": IMAGES}
    made |= {"flops": plan.flops(trial, unit.rung), "seconds": 60.0, "data": DATA}
    course.table.reach(unit.trial, unit.rung, table, made)


def finish(plan: Plan, folder, *, order: random.Random | None = None, workers: int = 1) -> Course:
    """Run a search to its end; with `order`, in a random one, and by commands that die at random moments."""
    done: list[Unit] = []
    while True:
        course, running = Course(plan, Table(folder)), list[Unit]()
        while True:
            while len(running) < workers and (unit := course.next({u.trial for u in running})):
                assert unit not in done, "nothing runs twice"
                running.append(unit)
            if not running:
                assert course.over()
                return course
            if order and order.random() < 0.2:
                break  # the command dies, and with it what was running
            unit = running.pop(order.randrange(len(running)) if order else 0)
            reach(plan, course, unit)
            done.append(unit)


def told(course: Course) -> list[tuple[object, ...]]:
    return [(t.point, t.seed, s) for t, s in zip(course.trials, course.standings(), strict=True)]


@pytest.mark.parametrize("searcher", [{"kind": "random"}, {"kind": "tpe", "generation": 4}])
def test_a_search_ends_alike_whenever_it_is_killed_and_however_many_run_at_a_time(tmp_path, searcher):
    plan = planned(searcher=searcher)
    alone = finish(plan, tmp_path / "alone")
    assert {standing.status for standing in alone.standings()} >= {"stopped", "finished"}
    for seed in range(4):
        killed = finish(plan, tmp_path / str(seed), order=random.Random(seed), workers=1 + seed)
        assert told(killed) == told(alone)
        assert findings(killed).lines[0] == findings(alone).lines[0]


POPULATION = {"searcher": {"kind": "random"}, "pruner": {"kind": "population", "rungs": 4, "eta": 4}}


def test_a_population_is_bred_alike_whenever_it_is_killed(tmp_path):
    plan = planned(**POPULATION)
    alone = finish(plan, tmp_path / "alone")
    for seed in range(4):
        killed = finish(plan, tmp_path / str(seed), order=random.Random(seed), workers=1 + seed)
        assert told(killed) == told(alone)
        assert killed.trials == alone.trials


def test_the_worst_of_a_population_give_way_to_children_of_the_best(tmp_path):
    course = finish(planned(**POPULATION), tmp_path)
    children = [trial for trial in course.trials if trial.parent is not None]
    assert [child.born for child in children] == [1, 1, 2, 2, 3, 3]  # a quarter of eight, at each of three rungs
    stopped = [standing for standing in course.standings() if standing.status == "stopped"]
    assert len(stopped) == len(children)
    first = {t.number: float(course.rungs(t)[0].bits.mean()) for t in course.trials[1:9]}
    best, second = sorted(first, key=lambda number: first[number])[:2]
    assert [child.parent for child in children[:2]] == [best, second]
    for child in children:
        parent = course.trials[child.parent]
        rate = parent.point["optimizer.lr"]
        assert child.point["optimizer.lr"] in (min(max(rate * f, 1e-4), 1e-2) for f in (0.8, 1.25))
        assert {**child.point, "optimizer.lr": rate} == parent.point
        assert [r.made for r in course.rungs(child)[: child.born]] == [
            r.made for r in course.rungs(parent)[: child.born]
        ]


def test_a_population_spends_as_much_as_without_breeding(tmp_path):
    """What a child starts from is its parent's, and counted once."""
    whole = finish(planned(pruner={"kind": "none"}), tmp_path / "none")
    bred = finish(planned(**POPULATION), tmp_path / "bred")
    assert bred.spent() == pytest.approx(whole.spent(), rel=0.02)


def test_the_baseline_is_the_first_and_never_cut(tmp_path):
    course = finish(planned(), tmp_path)
    assert course.trials[0].place == BASELINE
    assert course.standings()[0].status == "finished"
    assert [trial.number for trial in course.trials] == list(range(9))


def test_every_seed_of_a_point_runs(tmp_path):
    course = finish(planned(seeds=[3, 4], trials=2, pruner={"kind": "none"}), tmp_path)
    assert [(trial.place, trial.seed) for trial in course.trials] == [(p, s) for p in range(3) for s in (3, 4)]
    line = findings(course).lines[0]
    assert line.over_seeds == pytest.approx(0.01 / 2**0.5, abs=0.01)
    assert len(line.runs) == 2


def test_a_grid_ends_where_it_has_no_more_points(tmp_path):
    space = {"transform.kind": {"choice": ["scale", "linear"]}, "optimizer.lr": {"choice": [1e-3, 2e-3]}}
    course = finish(
        planned(space=space, searcher={"kind": "grid"}, pruner={"kind": "halving", "rungs": 2, "eta": 2}), tmp_path
    )
    assert len(course.trials) == 1 + 4
    assert course.over()


def test_more_trials_may_be_asked_for_later(tmp_path):
    finish(planned(trials=4), tmp_path)
    more, at_once = finish(planned(trials=8), tmp_path), finish(planned(trials=8), tmp_path / "at_once")
    assert told(more) == told(at_once)


def test_tpe_learns_from_the_generations_before(tmp_path):
    """On 32 points, those after the first generation are better in the median, which a random search's are not."""
    bits = {}
    for kind in ("tpe", "random"):
        plan = planned(searcher={"kind": kind}, trials=32, pruner={"kind": "none"})
        course = finish(plan, tmp_path / kind)
        final = [float(course.rungs(t)[-1].bits.mean()) for t in course.trials[1:]]
        bits[kind] = torch.tensor(final[16:]).median() - torch.tensor(final[:8]).median()
    assert bits["tpe"] < -0.02
    assert bits["tpe"] < bits["random"]


def test_tpe_with_cost_beside_bits_proposes_and_ends(tmp_path):
    searcher = {"kind": "tpe", "generation": 3, "objectives": ["bits", "cost"]}
    course = finish(planned(searcher=searcher, pruner={"kind": "none"}), tmp_path)
    assert len({json.dumps(trial.point) for trial in course.trials}) == 9


def test_a_trial_that_fails_is_out_and_its_reason_stays(tmp_path):
    plan = planned(trials=3)
    course = Course(plan, Table(tmp_path))
    course.table.fail(2, "The training diverged.", final=True)
    course.table.fail(3, "its worker failed too often", final=False)
    ended = finish(plan, tmp_path)
    assert [s.status for s in ended.standings()][2:] == ["failed", "failed"]
    ended.table.forgive()
    assert ended.table.failure(2) == "The training diverged."
    assert finish(plan, tmp_path).standings()[3].status != "failed"


def test_a_damaged_point_is_told(tmp_path):
    Course(planned(), Table(tmp_path))
    (tmp_path / "points" / "002.json").write_text("{")
    with pytest.raises(UserError, match=r"002\.json is damaged: restore it, or start the search afresh"):
        Course(planned(), Table(tmp_path))


def test_looking_writes_nothing(tmp_path):
    Course(planned(), Table(tmp_path), looking=True)
    assert list(tmp_path.iterdir()) == []


def test_asha_spends_less_than_half_and_finds_what_the_whole_grid_finds(tmp_path):
    space = {
        "transform.kind": {"choice": ["scale", "linear"]},
        "optimizer.lr": {"choice": [1e-4, 2e-4, 4e-4, 8e-4, 1.6e-3, 3.2e-3, 6.4e-3, 1e-2]},
    }
    asked = {"space": space, "searcher": {"kind": "grid"}, "trials": 16}
    whole = findings(finish(planned(**asked, pruner={"kind": "none"}), tmp_path / "whole"))
    cut = findings(finish(planned(**asked, pruner={"kind": "asha", "rungs": 3, "eta": 4}), tmp_path / "cut"))
    assert whole.spent == pytest.approx(whole.full)
    assert cut.spent < 0.5 * cut.full
    assert cut.lines[0].label == whole.lines[0].label


def test_the_ranking_is_paired_over_the_images(tmp_path):
    """The images' own spread is 0.3 and the trials' 0.01: paired, a difference of 0.01 is seen on 40 images."""
    found = findings(finish(planned(pruner={"kind": "none"}), tmp_path))
    assert found.lines[0].over_best is not None
    assert found.lines[0].over_best.value == 0
    for line in found.lines[1:]:
        assert line.bits is not None
        assert line.over_best is not None
        assert line.bits.error > 0.03
        assert 0 < line.over_best.error < 0.01
        assert line.over_best.value == pytest.approx(line.bits.value - found.lines[0].bits.value, abs=1e-9)  # pyright: ignore[reportOptionalMemberAccess]


def test_what_a_key_matters_is_its_share_of_the_variance(tmp_path):
    plan = planned(trials=24, pruner={"kind": "none"})
    importance = findings(finish(plan, tmp_path)).importance
    assert set(importance) == {"transform.kind", "optimizer.lr"}
    assert all(0 <= share <= 1 and points == 24 for share, points in importance.values())
    assert importance["optimizer.lr"][0] + importance["transform.kind"][0] > 0.8  # the simulation has nothing else


def test_the_report_is_one_page_with_its_figures_and_the_command(tmp_path):
    course = finish(planned(), tmp_path)
    page, found = write(course, tmp_path)
    text = page.read_text()
    assert "<script" not in text
    assert "http" not in text.replace("http-equiv", "")
    assert text.count("data:image/png;base64,") == len(list((tmp_path / "figures").glob("*.png"))) >= 2
    assert found.retrain is not None
    assert found.retrain.startswith("ndm train digits-tiny ")
    assert len(rows(found)) == 1 + 9
    assert "of 9 points were scored" in summary(course, found)
    assert found.lines[0].label in text


def test_the_page_of_searches_is_written_or_a_sentence_says_why_not(tmp_path, monkeypatch, capsys):
    folder, out = RunFolder(tmp_path / "tiny"), tmp_path / "searches.md"
    course = finish(planned(), folder.path)
    folder.write("search", {"search": course.plan.search.model_dump(mode="json")})
    for words, status in ((("tiny", "--out", str(out)), 0), (("tiny", "--out", str(tmp_path)), 2), (("tin",), 2)):
        monkeypatch.setattr("sys.argv", ["searches.py", *words, "--root", str(tmp_path)])
        assert cli.guarded(searches.main) == status
    page, found = out.read_text(), findings(course)
    assert f"## tiny\n\n{summary(course, found)}" in page
    assert [line.split(" | ")[0] for line in page.splitlines()[-len(found.lines) :]] == [
        f"| {line.label}" for line in found.lines
    ]
    captured = capsys.readouterr()
    assert captured.out == f"Written to {out}\n"
    assert captured.err == (
        f"{tmp_path} cannot be written: is a directory; choose another --out.\n"
        f"There is no search tin under {tmp_path.name}/; the searches there are tiny.\n"
    )


def test_a_report_of_nothing_says_so(tmp_path):
    course = Course(planned(), Table(tmp_path))
    page, found = write(course, tmp_path)
    assert "Nothing has been reached yet" in page.read_text()
    assert found.retrain is None
