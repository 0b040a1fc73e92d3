"""A search from a file and overrides: every mistake is one sentence, before anything runs."""

import pytest

from ndm import notation
from ndm.errors import UserError
from ndm.registry import kinds
from ndm.search import config
from ndm.search.plan import Plan, Trial

TREE = {
    "name": "tiny",
    "experiment": "digits-tiny",
    "examples": 10240,
    "space": {"transform.kind": {"choice": ["scale", "linear"]}, "optimizer.lr": {"loguniform": [1e-4, 1e-2]}},
}


def resolved(**changes):
    return config.resolve({**TREE, **changes})


@pytest.mark.parametrize("name", config.names())
def test_every_search_that_ships_is_one(name):
    plan = Plan(config.load(name))
    plan.check()
    assert plan.budget > 0


def test_a_search_comes_back_from_its_record():
    search = resolved(pruner={"kind": "asha", "eta": 3}, searcher={"kind": "tpe"})
    assert config.resolve(search.model_dump(mode="json")) == search


@pytest.mark.parametrize("kind", kinds("ndm.search.searchers"))
def test_every_searcher_can_be_chosen(kind):
    space = {"transform.kind": {"choice": ["scale", "linear"]}}
    assert resolved(space=space, searcher={"kind": kind}).searcher.kind == kind


def test_overrides_are_of_the_search_or_of_its_experiment(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(notation.write({key: value for key, value in TREE.items() if key != "name"}))
    search = config.load(str(path), ["trials=3", "pruner.kind=halving", "pruner.eta=2", "training.batch_size=256"])
    assert (search.name, search.trials, search.pruner.kind, search.pruner.eta) == ("mine", 3, "halving", 2)
    assert Plan(search).base.training.batch_size == 256


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"trails": 3}, "Unknown key trails of a search: did you mean trials?"),
        ({"space": {}}, "space"),
        ({"examples": 0}, "examples=0 is not valid: it must be above 0"),
        ({"constraints": ["flops_ratio <= 1.2.3"]}, "flops_ratio or parameters"),
        ({"searcher": "random"}, "searcher"),
        ({"searcher": {"kind": "rnadom"}}, "rnadom"),
        ({"space": {"optimizer.lr": 5}}, "optimizer.lr"),
        ({"set": 5}, "set"),
        ({"constraints": ["flop_ratio <= 2"]}, "flops_ratio or parameters"),
        ({"space": {"seed": {"choice": [1, 2]}}}, "seed is no key of a search"),
        ({"space": {"data.flip": {"choice": [True, False]}}}, "same data and compute"),
        ({"space": {"training.examples": {"choice": [1, 2]}}}, "same data and compute"),
        ({"set": {"training.examples": 5}}, "examples=... decides it"),
        ({"seeds": [1, 1]}, "must differ"),
        ({"searcher": {"kind": "grid"}}, "needs choice: [...] for optimizer.lr"),
        ({"searcher": {"kind": "tpe"}, "pruner": {"kind": "halving"}}, "pruner.kind=halving needs all at once"),
        ({"searcher": {"kind": "tpe", "objectives": ["bits", "cost"]}}, "needs pruner.kind=none"),
        ({"pruner": {"kind": "population"}, "space": {"optimizer.lr": {"choice": [1e-3]}}}, "nothing to perturb"),
        ({"pruner": {"kind": "population"}, "seeds": [0, 1]}, "works with one seed"),
        ({"score": {"estimator": "ode"}}, "a bound that needs no fitting"),
        ({"experiment": None}, "experiment"),
    ],
)
def test_a_mistake_is_a_sentence(changes, sentence):
    with pytest.raises(UserError) as told:
        resolved(**changes)
    assert sentence in str(told.value)
    assert "\n" not in str(told.value)


def test_an_unknown_search_names_the_nearest():
    with pytest.raises(UserError, match="did you mean digits"):
        config.load("digitz")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"space": {"transform.kind": {"choice": ["scale", "skale"]}}},
            "the point kind skale is no experiment: .*skale",
        ),
        ({"space": {"transform.widht": {"choice": [1]}}}, "transform.widht"),
        ({"baseline": {"transform.kind": "identitty"}}, "the baseline is no experiment"),
        ({"set": {"optimizer.ls": 1}}, "Unknown key optimizer.ls"),
        ({"constraints": ["parameters <= 10"]}, "None of 100 points .* within constraints"),
        ({"experiment": "digits-tinny"}, "did you mean digits-tiny"),
        ({"set": {"scaling.workers": "auto"}}, "scaling.workers=1, or more"),
    ],
)
def test_what_is_no_experiment_is_said_before_anything_runs(changes, sentence):
    with pytest.raises(UserError, match=sentence):
        Plan(resolved(**changes)).check()


def test_too_little_compute_for_the_rungs_is_said():
    plan = Plan(resolved(examples=256, pruner={"kind": "asha", "rungs": 4}))
    with pytest.raises(UserError, match="examples=256 is too little for 4 rungs"):
        plan.check()


def test_trials_have_equal_compute_and_are_ordinary_experiments():
    plan = Plan(resolved())
    for point in (
        {"transform.kind": "scale"},
        {"transform": {"kind": "residual", "network": {"kind": "mlp", "width": 64}}},
    ):
        trial = Trial(3, 1, 7, point)
        experiment, stops = plan.experiment(trial), plan.stops(point)
        assert experiment.training.examples == stops[-1]
        assert all(stop % experiment.training.batch_size == 0 for stop in stops)
        step = plan.cost(point).step_flops * experiment.training.batch_size
        assert [plan.flops(trial, rung) for rung in range(3)] == pytest.approx(
            [share * plan.budget for share in plan.search.pruner.shares()], abs=step / 2 + 1
        )
        assert experiment.run_name() == "tiny-003"
        assert experiment.seed == 7
    assert plan.flops_ratio(plan.search.baseline) == 1.0


def test_a_constraint_leaves_out_what_costs_more():
    wide = {"kind": "residual", "network": {"kind": "mlp", "width": 256}}
    plan = Plan(resolved(constraints=["flops_ratio <= 1.5"]))
    assert plan.allowed({"transform.kind": "scale"})
    assert not plan.allowed({"transform": wide})


def test_the_baseline_is_no_point_of_the_space():
    plan = Plan(resolved())
    assert not plan.allowed({"transform.kind": "identity"})
    assert plan.allowed({"transform.kind": "identity", "optimizer.lr": 5e-4})
    assert plan.label(plan.search.baseline) == "baseline"


def test_how_many_trials_and_where_may_change_later_and_nothing_else():
    same = [resolved(trials=3), resolved(concurrency=7), resolved(gpus=0.5)]
    assert {search.digest() for search in same} == {resolved().digest()}
    other = [resolved(examples=20480), resolved(seeds=[1]), resolved(pruner={"kind": "none"})]
    assert resolved().digest() not in {search.digest() for search in other}
