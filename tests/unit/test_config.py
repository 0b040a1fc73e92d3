"""The typed experiment: what decides a result is in its digest, and nothing else is."""

import hashlib
import json
import warnings

import pytest
from pydantic import BaseModel, ValidationError

from ndm import presets
from ndm.config import Experiment, flatten
from ndm.errors import UserError

WHERE = {"run", "scaling", "storage", "tracking", "monitor", "evaluation", "sampler", "samples"}
PLACES = {"data.path", "data.verify"}
HOW = {"recompute"}
"""Sections that say where a run is made and how it is watched, scored and sampled."""
PRESETS = [presets.load(name) for name in presets.names()]
VARIED = [
    *PRESETS,
    presets.load("digits-ndm", ["transform.kind=time_basis", "transform.degree=3", "objective.kind=discrete"]),
    presets.load("digits-ndm", ["schedule.kind=learned", "head.kind=epsilon", "network.kind=mlp", "run.name=x"]),
]


def other(value: object) -> object:
    """Another value of the same type."""
    match value:
        case bool():
            return not value
        case int() | float():
            return value + 1
        case str():
            return f"{value}x"
        case tuple():
            return (*value, 1.0)
    return "x"


def changed(model: BaseModel, key: str) -> BaseModel:
    """The model with another value at a dotted key, whether or not it is a valid one."""
    name, _, rest = key.partition(".")
    value = getattr(model, name)
    return model.model_copy(update={name: changed(value, rest) if rest else other(value)})


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
@pytest.mark.parametrize("experiment", VARIED, ids=lambda e: f"{e.name}-{e.transform.kind}-{e.schedule.kind}")
def test_the_digest_changes_with_every_deciding_value_and_with_no_other(experiment):
    keys = experiment.flat()
    assert len(keys) > 40
    digests = {key: changed(experiment, key).digest() for key in keys}
    same = {key for key, digest in digests.items() if digest == experiment.digest()}
    neutral = {key for key in keys if key in PLACES or key.rpartition(".")[2] in HOW}
    assert same == {key for key in keys if key == "name" or key.partition(".")[0] in WHERE} | neutral
    rest = [digest for key, digest in digests.items() if key not in same]
    assert len(set(rest)) == len(rest)


def test_flat_tells_deciding_values_from_the_others():
    experiment = presets.load("digits-ndm")
    deciding, where = experiment.flat(deciding=True), experiment.flat(deciding=False)
    assert deciding | where == experiment.flat()
    assert not deciding.keys() & where.keys()
    neutral = {key for key in where if key in PLACES or key.rpartition(".")[2] in HOW}
    assert {key.partition(".")[0] for key in where.keys() - neutral} == WHERE
    assert deciding["transform.network.width"] == 256
    assert deciding["network.multipliers"] == [1, 2]


def test_canonical_json_is_sorted_compact_and_what_is_hashed():
    experiment = presets.load("digits-tiny")
    text = experiment.canonical_json()
    assert text == json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"))
    deciding = {key: value for key, value in experiment.flat(deciding=True).items() if key != "name"}
    hashed = json.dumps(deciding, sort_keys=True, separators=(",", ":")).encode()
    assert experiment.digest() == hashlib.sha256(hashed).hexdigest()


def test_the_presets_decide_different_results():
    """But for digits-ddim, which only samples digits-ddpm otherwise."""
    digests = {experiment.name: experiment.digest() for experiment in PRESETS}
    assert digests.pop("digits-ddim") == digests["digits-ddpm"]
    assert len(set(digests.values())) == len(digests)


def test_a_run_is_named_after_its_experiment_and_digest_unless_it_has_a_name():
    experiment = presets.load("digits-tiny")
    assert experiment.run_name() == f"digits-tiny-{experiment.digest()[:8]}"
    assert presets.load("digits-tiny", ["run.name=mine"]).run_name() == "mine"
    assert presets.load("digits-tiny", ["seed=1"]).run_name() != experiment.run_name()


def test_lists_are_leaves():
    assert flatten({"a": {"b": [1, {"c": 2}], "d": {}}, "e": None}) == {"a.b": [1, {"c": 2}], "e": None}


def test_an_experiment_and_its_sections_are_frozen_and_closed():
    experiment = presets.load("digits-tiny")
    for model, name in ((experiment, "seed"), (experiment.training, "examples"), (experiment.transform, "kind")):
        with pytest.raises(ValidationError):
            setattr(model, name, getattr(model, name))
    with pytest.raises(ValidationError):
        Experiment.model_validate({**experiment.model_dump(), "extra": 1})


def test_features_need_samples_enough_to_compare():
    for override in ("samples.extractor=random", "samples.extractor=null", "samples.quality=false"):
        presets.load("digits-tiny", ["samples.count=30", override])
    for overrides in (["samples.extractor=null"], ["samples.extractor=random", "samples.quality=false"]):
        presets.load("digits-tiny", ["samples.count=29", *overrides])
    with pytest.raises(UserError, match=r"extractor=random compares at least 30 samples.* count=29"):
        presets.load("digits-tiny", ["samples.count=29", "samples.extractor=random"])


def test_writing_an_experiment_needs_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for experiment in VARIED:
            experiment.canonical_json()
