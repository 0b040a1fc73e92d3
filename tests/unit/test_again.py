"""The commands that make a run and its scores again ask for just these, each with the seed and tolerance it had."""

import runpy
import shlex
from typing import Any

import made_runs
from analysis import made

from ndm import cli, presets
from ndm.evaluation import again

SHORT = runpy.run_path(str(cli.JOBS / "evaluate.py"))["SHORT"]
TRACKING = ("monitor.ema_widths=[0.05,0.1]", "monitor.snapshot_every=1280")


def score(estimator: str, split: str = "test", seed: int = 1, tolerance: float | None = None, ema: float | None = None):
    """How a table says that it was made."""
    made: dict[str, Any] = {"estimator": estimator, "split": split, "seed": seed}
    made |= {} if tolerance is None else {"tolerance": tolerance}
    return made if ema is None else made | {"ema": {"width": ema, "averages": 3, "error": 0.0}}


MIXED = [
    score("elbo_cont_k64"),
    score("ode_tn_k1_h1", tolerance=1.25e-7),
    score("ode_tn_k1_exact", tolerance=1e-5),
    score("ode_uniform_k1_h1", tolerance=1.25e-7),
    score("elbo_T10", seed=2),
    score("elbo_T100", ema=0.07),
    score("ode_decoder_k1_h1", "validation", tolerance=1e-4),
    score("elbo_cont_k64", "validation"),
]


def asked(command: str, *own: str) -> set[tuple[Any, ...]]:
    """What a command scores, as `ndm evaluate` reads it, of a run of digits-tiny with overrides of its own."""
    program, verb, run, *words = shlex.split(command)
    assert (program, verb, run) == ("ndm", "evaluate", "mine")
    keys = [word.partition("=")[0] for word in words]
    assert len(set(keys)) == len(keys)
    found = presets.load("digits-tiny", [*TRACKING, *own, *(cli.in_full(word, SHORT) for word in words)]).evaluation
    return {
        (name, found.split, found.seed, found.ema, found.tolerance if name.startswith("ode") else None)
        for name in found.estimators
    }


def test_mixed_scores_are_parted_into_commands_of_one_seed_and_one_tolerance() -> None:
    commands = again.scoring("mine", presets.load("digits-tiny"), MIXED)
    assert commands == [
        "ndm evaluate mine estimator=elbo_cont_k64,ode_tn_k1_h1,ode_uniform_k1_h1 split=test tolerance=1.25e-07 "
        "evaluation.seed=1",
        "ndm evaluate mine estimator=ode_tn_k1_exact split=test tolerance=1e-05 evaluation.seed=1",
        "ndm evaluate mine estimator=elbo_T10 split=test evaluation.seed=2",
        "ndm evaluate mine estimator=elbo_T100 split=test evaluation.seed=1 evaluation.ema=0.07",
        "ndm evaluate mine estimator=ode_decoder_k1_h1,elbo_cont_k64 split=validation tolerance=0.0001 "
        "evaluation.seed=1",
    ]
    expected = {
        (s["estimator"], s["split"], s["seed"], s.get("ema", {}).get("width"), s.get("tolerance")) for s in MIXED
    }
    assert set.union(*map(asked, commands)) == expected
    assert sum(len(asked(command)) for command in commands) == len(MIXED)


def test_a_run_that_scores_another_average_by_itself_is_told_where_it_is_not_meant() -> None:
    own = "evaluation.ema=0.1"
    (command,) = again.scoring("mine", presets.load("digits-tiny", [*TRACKING, own]), [score("elbo_cont_k64")])
    assert asked(command, own) == {("elbo_cont_k64", "test", 1, None, None)}


def test_of_no_scores_there_is_no_command() -> None:
    assert again.scoring("mine", presets.load("digits-tiny"), []) == []


def test_a_training_is_its_preset_with_what_differs() -> None:
    changed = ["seed=2", "objective.kind=discrete", "objective.steps=10", "transform.kind=time_basis"]
    changed += ["evaluation.estimators=[elbo,ode]", "sampler.kind=heun"]
    experiment = presets.load("digits-ndm", [*changed, "storage.root=elsewhere", "scaling.workers=1"])
    program, verb, name, *overrides = shlex.split(again.training(experiment, experiment.run_name()))
    assert (program, verb, name) == ("ndm", "train", "digits-ndm")
    made = presets.load(name, overrides)
    assert (made.digest(), made.run_name()) == (experiment.digest(), experiment.run_name())
    assert (made.evaluation, made.sampler) == (experiment.evaluation, experiment.sampler)
    assert set(changed[:4]) <= set(overrides)
    assert not [word for word in overrides if word.startswith(("storage.", "scaling.", "data.", "run."))]


def test_a_training_that_was_given_a_name_is_given_it_again() -> None:
    experiment = presets.load("digits-vdm", ["run.name=mine"])
    assert again.training(experiment, "mine") == "ndm train digits-vdm run.name=mine"
    assert again.training(experiment, f"digits-vdm-{experiment.digest()[:8]}") == "ndm train digits-vdm"


def test_a_training_of_no_preset_is_of_its_file() -> None:
    mine = presets.load("imagenet64-oord-ndm", ["name=question"])
    assert again.training(mine, "mine") == "ndm train experiment.yaml run.name=mine data.path=FOLDER"
    assert again.of_preset(mine) is None


def test_a_key_that_the_preset_does_not_have_is_an_empty_cell(tmp_path) -> None:
    changed = ["transform.kind=blur", "optimizer.clip=7"]
    found = made.changed(made_runs.run(tmp_path, "mine", {"elbo": [1.0, 2.0]}, overrides=changed))
    assert found is not None
    clip = str(presets.load("digits-vdm").optimizer.clip)
    assert [row for row in found.rows if not row[0].startswith("transform.")] == [["optimizer.clip", clip, "7.0"]]
    assert ["transform.kind", "identity", "blur"] in found.rows
    assert ["transform.learned", "", "false"] in found.rows


def test_a_report_leaves_out_what_the_training_scores_by_itself_and_nothing_else(tmp_path) -> None:
    run = made_runs.run(tmp_path, "mine", {"elbo_cont_k64": [1.0, 2.0], "ode_tn_k1_h1": [1.0, 2.0]})
    assert made.commands(run) == [
        "ndm train digits-vdm run.name=mine",
        "ndm evaluate mine estimator=ode_tn_k1_h1 split=test tolerance=1e-05 evaluation.seed=1",
        "ndm report mine",
    ]
    made_runs.table(tmp_path, "mine", "elbo_cont_k64", [1.0, 2.0], seed=4)  # scored again, with other noise
    again_scored = type(run)(run.folder, run.experiment)
    assert made.commands(again_scored)[1] == ("ndm evaluate mine estimator=elbo_cont_k64 split=test evaluation.seed=4")
