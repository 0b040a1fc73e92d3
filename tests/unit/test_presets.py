"""From presets and overrides to an experiment, and what a person reads who made a mistake on the way.

Over 400 lines: the list of mistakes with their sentences is most of it.
"""

import itertools
import json
import os
import re
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ndm import keys, notation, presets
from ndm.config import Experiment
from ndm.errors import UserError

JARGON = re.compile(
    r"value error|input should|pydantic|https?:|traceback|errno|<class|object at 0x|nonetype", re.IGNORECASE
)
TINY = presets.load("digits-tiny").model_dump(mode="json")


def sentence(*overrides: str, experiment: str = "digits-tiny") -> str:
    """What the person reads."""
    with pytest.raises(UserError) as caught:
        presets.load(experiment, overrides)
    return checked(caught.value)


def checked(error: ValueError) -> str:
    text = str(error)
    assert text.isprintable()
    assert 10 < len(text) < 600
    assert not JARGON.search(text), text
    return text


def write(folder: Path, name: str, text: str | bytes) -> str:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


# Presets and files


@pytest.mark.parametrize("name", presets.names())
def test_every_preset_resolves_and_comes_back_from_its_json(name):
    experiment = presets.load(name)
    again = presets.resolve(json.loads(experiment.canonical_json()))
    assert experiment.name == name
    assert again == experiment
    assert again.canonical_json() == experiment.canonical_json()
    assert again.digest() == experiment.digest()


@pytest.mark.parametrize("name", presets.names())
def test_the_notation_writes_what_it_reads(tmp_path, name):
    experiment = presets.load(name, ["run.name='1e5'", "tracking.experiment='on'", "optimizer.lr=1e-5"])
    file = write(tmp_path, "copy.yaml", notation.write(experiment.model_dump(mode="json")))
    assert presets.load(file) == experiment


def test_a_file_extends_a_preset_or_a_file_beside_it(tmp_path):
    write(tmp_path, "base.yaml", "extends: digits-tiny\nseed: 5\noptimizer: {lr: 1e-4}\n")
    child = presets.load(write(tmp_path, "child.yaml", "extends: base.yaml\noptimizer: {clip: 2.0}\n"))
    assert (child.name, child.seed, child.optimizer.lr, child.optimizer.clip) == ("child", 5, 1e-4, 2.0)
    assert child.network == presets.load("digits-tiny").network


def test_a_subtree_of_another_kind_replaces_that_of_the_extended_preset(tmp_path):
    file = write(tmp_path, "a.yaml", "extends: digits-tiny\nnetwork: {kind: unet, channels: 8}\n")
    assert presets.load(file).network.fourier == ()
    assert presets.load("digits-tiny").network.fourier == (17.0,)


FILES = {
    "not YAML": ("a: [", "a.yaml is not valid YAML"),
    "not a mapping": ("- 1\n- 2\n", "a.yaml must be a mapping"),
    "empty": ("", "a.yaml must be a mapping"),
    "not UTF-8": (b"name: \xff\xfe", "not text in UTF-8"),
    "bytes": (b"\x00\x01\x02", "a.yaml is not valid YAML"),
    "a key twice": ("seed: 1\ndata: {kind: digits}\nseed: 2\n", "the key seed is there twice (line 3)"),
    "two documents": ("seed: 1\n---\nseed: 2\n", "a.yaml is not valid YAML"),
    "no such parent": ("extends: digits-nmd\n", "did you mean digits-ndm?"),
    "no such parent file": ("extends: nowhere.yaml\n", "cannot be read: no such file"),
    "a parent that is a list": ("extends: [digits-ndm]\n", 'extends=["digits-ndm"] in a.yaml is not valid'),
    "a parent of nothing": ("extends:\nseed: 1\n", "data.kind is missing; allowed: arrays, "),
    "a key that is a number": ("extends: digits-tiny\n3: 4\n", "Unknown key 3"),
    "a dotted key": ("extends: digits-tiny\ntraining.examples: 5\n", "write the parts of a dotted key as nested"),
    "a merge key": ("extends: digits-tiny\n<<: {seed: 3}\n", "Unknown key <<.seed"),
    "a section without values": ("extends: digits-tiny\ntransform:\n", "transform is empty; write transform.kind=..."),
    "a list for a section": ("extends: digits-tiny\ntraining: [1]\n", "training holds keys, not the value [1]"),
    "a section without a kind": ("extends: digits-tiny\ndata: {kind: rings}\nhead: {}\nname: x y\n", "name=x y is not"),
    "a name that is no folder": ("extends: digits-tiny\nname: ../../etc\n", "name=../../etc is not valid"),
    "a name that is taken": ("extends: digits-tiny\nname: data\n", "another name than artifacts, data"),
}


@pytest.mark.parametrize(("text", "expected"), FILES.values(), ids=FILES)
def test_a_mistake_in_a_file_is_a_sentence(tmp_path, text, expected):
    assert expected in sentence(experiment=write(tmp_path, "a.yaml", text))


def test_what_is_missing_is_named_with_its_remedy(tmp_path):
    tree = {key: value for key, value in TINY.items() if key not in ("run", "storage", "tracking")}
    for path, expected in {
        ("transform", "kind"): "transform.kind is missing; allowed: ",
        ("transform", "network", "kind"): "transform.network.kind is missing; allowed: ",
        ("training", "examples"): "training.examples is missing; set it in the preset or with training.examples=...",
        ("training",): "training.examples is missing; set it",
        ("network",): "network.kind is missing; allowed: ",
    }.items():
        changed = json.loads(json.dumps(tree))
        node = changed
        for part in path[:-1]:
            node = node[part]
        del node[path[-1]]
        assert sentence(experiment=write(tmp_path, "a.yaml", notation.write(changed))).startswith(expected)


@pytest.mark.parametrize("length", [1, 2, 3])
def test_a_cycle_of_extends_is_a_sentence(tmp_path, length):
    for i in range(length):
        write(tmp_path, f"p{i}.yaml", f"extends: {tmp_path}/p{(i + 1) % length}.yaml\n")
    text = sentence(experiment=str(tmp_path / "p0.yaml"))
    assert text.startswith(" extends ".join(f"p{i % length}.yaml" for i in range(length + 1)))


@pytest.mark.parametrize(
    "name", ["", ".", "..", "digits", "digits-tiny.yaml", "../digits-tiny", "a" * 5000, "a\0b", "\udcff", "a.yaml\0"]
)
def test_an_unknown_experiment_is_a_sentence(name):
    assert sentence(experiment=name).startswith("The" if ".yaml" in name else "There is no experiment")


def test_a_near_name_is_suggested():
    assert sentence(experiment="digit-ndm") == "There is no experiment digit-ndm: did you mean digits-ndm?"
    assert all(name in sentence(experiment="mnist") for name in presets.names())


def test_a_folder_or_a_file_that_cannot_be_read_is_a_sentence(tmp_path):
    (tmp_path / "folder.yaml").mkdir()
    assert "cannot be read" in sentence(experiment=str(tmp_path / "folder.yaml"))
    loop = tmp_path / "loop.yaml"
    loop.symlink_to(loop)
    assert "cannot be read" in sentence(experiment=str(loop))


def test_no_tag_of_a_file_is_executed(tmp_path):
    victim = tmp_path / "executed"
    for tag in ("!!python/object/apply:pathlib.Path.touch", "!!python/object/new:os.mkdir", "!!python/name:os.system"):
        argument = f"[{victim}]" if "name" not in tag else ""
        file = write(tmp_path, "a.yaml", f"extends: digits-tiny\nseed: {tag} {argument}\n")
        assert "tags (!name) and references (*name) are not read" in sentence(experiment=file)
        assert "tags (!name) and references (*name) are not read" in sentence(f"seed={tag} {argument}")
    assert not victim.exists()


# Overrides


def test_numbers_and_text_are_what_they_look_like():
    numbers = ["optimizer.lr=1e-3", "optimizer.clip=2", "training.examples=200_000", "schedule.gamma_min=-7"]
    texts = ["tracking.experiment=on", "run.name=2024-01-01", "tracking.uri=null"]
    values = presets.load("digits-tiny", [*numbers, *texts])
    assert (values.optimizer.lr, values.optimizer.clip, values.training.examples) == (0.001, 2.0, 200_000)
    assert (values.tracking.experiment, values.run.name, values.tracking.uri) == ("on", "2024-01-01", None)
    assert type(values.optimizer.clip) is type(values.schedule.gamma_min) is float


def test_equal_experiments_have_equal_bytes():
    forms = [["schedule.gamma_min=-7"], ["schedule.gamma_min=-7.0"], ["schedule={gamma_min: -70e-1}"], ["schedule={}"]]
    assert len({presets.load("digits-tiny", form).canonical_json() for form in forms}) == 1


def test_nested_keys_reach_the_inner_network():
    experiment = presets.load("digits-ndm", ["transform.network.width=9", "network.channels=8"])
    assert experiment.transform.network.width == 9
    assert experiment.network.channels == 8


def test_another_kind_keeps_the_shared_keys_and_drops_the_others():
    before = presets.load(
        "digits-ndm", ["transform.kind=time_basis", "transform.degree=7", "transform.network.width=9"]
    )
    after = presets.resolve(before.model_dump(mode="json"))
    assert after.transform.degree == 7
    changed = presets.override(before.model_dump(mode="json"), ["transform.kind=residual"])
    assert changed.transform.model_dump() == {"kind": "residual", "network": before.transform.network.model_dump()}
    inner = presets.load("digits-ndm", ["network.kind=mlp", "network.width=16"])
    assert inner.network.fourier == presets.load("digits-ndm").network.fourier
    assert not hasattr(inner.network, "channels")


def test_the_same_kind_again_changes_nothing():
    assert presets.load("digits-ndm", ["transform.kind=residual"]) == presets.load("digits-ndm")


@pytest.mark.parametrize(
    "overrides",
    [
        [
            "transform.kind=time_basis",
            "transform.degree=2",
            "transform.network.kind=unet",
            "transform.network.channels=4",
        ],
        ["transform={kind: time_basis, degree: 2}", "transform.network={kind: unet}", "transform.network.channels=4"],
        ["training.examples=640", "training={batch_size: 64}", "training.ema=0.5", "seed=3"],
    ],
)
def test_the_order_of_overrides_does_not_matter(overrides):
    found = {presets.load("digits-ndm", order).canonical_json() for order in itertools.permutations(overrides)}
    assert len(found) == 1
    assert found != {presets.load("digits-ndm").canonical_json()}


def test_the_order_of_overrides_does_not_matter_to_a_mistake():
    overrides = ["transform.kind=identity", "transform.network.kind=mlp"]
    first, second = sentence(*overrides), sentence(*reversed(overrides))
    assert first == second
    assert first.startswith("Unknown key transform.network.kind: transform.kind=identity has no network; ")


def test_steps_and_times_of_a_sampler_take_each_others_place():
    timed = presets.load("digits-tiny", ["sampler.kind=heun", "sampler.times=[1, 0.4, 0]"])  # the preset has steps
    assert (timed.sampler.steps, timed.sampler.times) == (None, (1.0, 0.4, 0.0))
    stepped = presets.override(timed.model_dump(mode="json"), ["sampler.steps=7"])
    assert (stepped.sampler.steps, stepped.sampler.times) == (7, None)
    kept = presets.override(timed.model_dump(mode="json"), ["sampler.steps=null", "seed=3"])
    assert kept.sampler.times == timed.sampler.times
    assert "steps is 3 but times make 2" in sentence("sampler.steps=3", "sampler.times=[1, 0.4, 0]")
    assert sentence("sampler.kind=ode", "sampler.times=[1, 0]").startswith("Unknown key sampler.times: ")


def test_of_two_values_for_a_key_the_last_one_counts():
    assert presets.load("digits-tiny", ["seed=4", "seed=5", "seed=6"]).seed == 6
    assert presets.load("digits-tiny", ["training={examples: 128}", "training.examples=256"]).training.examples == 256
    assert presets.load("digits-tiny", ["training.examples=256", "training={examples: 128}"]).training.examples == 128


def test_overrides_leave_the_tree_they_are_laid_on():
    tree = json.loads(json.dumps(TINY))
    presets.override(tree, ["transform.kind=identity", "seed=3"])
    assert tree == TINY


SENTENCES = {
    "transfrom.kind=residual": "Unknown key transfrom.kind: did you mean transform.kind?",
    "heads.kind=v": "Unknown key heads.kind: did you mean head.kind?",
    "training.exmaples=5": "Unknown key training.exmaples: did you mean training.examples?",
    "transform.newtork.width=5": "Unknown key transform.newtork.width: did you mean transform.network.width?",
    "lr=1e-3": "Unknown key lr: did you mean optimizer.lr?",
    "training.lr=1e-3": "Unknown key training.lr: did you mean optimizer.lr?",
    "width=3": "Unknown key width: did you mean network.width or transform.network.width?",
    "process.foo=1": "Unknown key process.foo: the keys of process are kind.",
    "foo=1": "Unknown key foo: the keys are data, evaluation, head, ",
    "transform.degree=3": "Unknown key transform.degree: transform.kind=residual has no degree; transform.kind=",
    "seed.x=1": "Unknown key seed.x: did you mean seed?",
    "transform.kind.x=1": "Unknown key transform.kind.x: did you mean transform.kind?",
    "transform..kind=x": "Unknown key transform..kind: did you mean transform.kind?",
    "kind=x": "Unknown key kind: ",
    "extends=digits-vdm": "Unknown key extends: ",
    ".=x": "Unknown key .: ",
    "x": "x is not of the form key=value, such as training.examples=200000.",
    "=3": "=3 is not of the form key=value",
    "": " is not of the form key=value",
    "transform.kind=foo": "transform.kind=foo is unknown; allowed: ",
    "transform.kind=": "transform.kind=null is unknown; allowed: ",
    "transform.kind=[1]": "transform.kind=[1] is unknown; allowed: ",
    "transform.kind={a: 1}": "Unknown key transform.kind.a: did you mean transform.kind?",
    "process.kind=foo": "process.kind=foo is unknown; allowed: ndm.",
    "transform.network.kind=foo": "transform.network.kind=foo is unknown; allowed: ",
    "transform=identity": "transform holds keys, not the value identity; write transform.kind=identity",
    "transform=": "transform is empty; write transform.kind=...",
    "monitor=3": "monitor holds keys, not the value 3; write monitor.",
    "training.examples=abc": "training.examples=abc is not valid: it must be a whole number.",
    "training.examples=1.5": "training.examples=1.5 is not valid: it must be a whole number.",
    "training.examples=0": "training.examples=0 is not valid: it must be above 0.",
    "training.examples=1000000000000": "training.examples=1000000000000 is not valid: it must be below 1000000000000.",
    "training.examples=": "training.examples has no value: it must be a whole number.",
    "optimizer.lr=true": "optimizer.lr=true is not valid: it must be a number.",
    "optimizer.lr=.inf": "optimizer.lr=.inf is not valid: it must be a number.",
    "optimizer.lr=1e999": "optimizer.lr=inf is not valid: it must be a finite number.",
    "optimizer.decay=linear": "optimizer.decay=linear is not valid: it must be constant or cosine.",
    "optimizer.beta1=1": "optimizer.beta1=1 is not valid: it must be below 1.0.",
    "scaling.workers=many": "scaling.workers=many is not valid: it must be a whole number or a list",
    "scaling.workers=0": "scaling.workers=0 is not valid: it must be above 0 or a list",
    "evaluation.split=valid": "evaluation.split=valid is not valid: it must be train, validation or test.",
    "seed=010": "seed=010 is not valid: it must be a whole number.",
    "seed=18446744073709551616": "seed=18446744073709551616 is not valid: it must be below 9223372036854775808.",
    f"seed={'9' * 5000}": "seed=99999",
    "network.fourier=3": "network.fourier=3 is not valid: it must be a list such as [1,2].",
    "network.fourier=[1,a]": 'network.fourier=[1,"a"] is not valid: each value must be a number.',
    "network.fourier=[[1]]": "network.fourier=[[1]] is not valid: each value must be a number.",
    f"network.fourier={'[' * 100}{']' * 100}": "network.fourier=[[[",
    f"network.fourier={'[' * 1000}": "network.fourier=[[[",
    "network.fourier=[1": "network.fourier=[1 is not readable: ",
    "seed=&a [*a]": "seed=&a [*a] is not readable: ",
    "seed=*a": "seed=*a is not readable: ",
    "run.name=a b": "run.name=a b is not valid: it must be up to 100 letters, digits, dots, dashes and underscores",
    "run.name=é": "run.name=é is not valid: it must be up to 100 letters",
    "run.name=5": "run.name=5 is not valid: it must be text",
    "run.name=../x": "run.name=../x is not valid",
    "run.name=data": "run.name=data is not valid: it must be another name than artifacts, data, mlflow.db.",
    f"run.name={'a' * 101}": "run.name=aaaaa",
    "name=": "name has no value: it must be text",
    'name="a\\nb"': 'name="a\\nb" is not valid',
    'tracking.experiment="\\ud800"': "tracking.experiment='\\ud800' is not valid",
    "tr\udcffain=1": "Unknown key 'tr\\udcffain': did you mean training?",
    f"{'a.' * 3000}b=1": "Unknown key a.a.a.",
}


@pytest.mark.parametrize(("override", "expected"), SENTENCES.items(), ids=[key[:40] for key in SENTENCES])
def test_a_wrong_override_is_a_sentence(override, expected):
    assert sentence(override).startswith(expected)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["training.batch_size=100"], ["training.batch_size=100", "data.streams=8", "96"]),
        (["training.batch_size=4"], ["training.batch_size=4", "data.streams=8", "example 8"]),
        (["scaling.workers=9"], ["scaling.workers=9", "data.streams=8"]),
        (["scaling.workers=[2, 9]"], ["scaling.workers=9", "data.streams=8"]),
        (["scaling.workers=[3, 2]"], ["workers=[3, 2]", "[least, most]"]),
        (
            ["volatility.eta=2", "objective.kind=discrete"],
            ["volatility.eta=2.0", "objective.kind=continuous", "at most 1"],
        ),
        (["schedule.gamma_min=6"], ["schedule", "gamma_min (6.0)", "gamma_max (6.0)"]),
        (["monitor.log_every=7"], ["monitor", "log_every=7", "validate_every=5120"]),
        (["monitor.checkpoint_every=1300"], ["monitor", "checkpoint_every=1300", "log_every=1280"]),
    ],
)
def test_an_impossible_combination_names_keys_and_values(overrides, words):
    text = sentence(*overrides)
    assert all(word in text for word in words), text


def test_an_unknown_key_is_told_before_what_it_makes_look_missing(tmp_path):
    file = write(tmp_path, "a.yaml", "extends: digits-tiny\nseed: no\ntransfrom: {kind: identity}\n")
    assert "did you mean transform.kind?" in sentence(experiment=file)


def test_every_key_may_be_given_as_it_is_and_no_key_is_left_out():
    flat = presets.load("digits-tiny").flat()
    assert set(keys.valid(TINY)) == set(flat)
    assert presets.override(TINY, [f"{key}={json.dumps(value)}" for key, value in flat.items()]).flat() == flat


KEYS = st.one_of(
    st.sampled_from(sorted(keys.valid(TINY))),
    st.sampled_from(
        ["transform", "training", "network", "run", "monitor.log_every.x", "optimizer.LR", "data.examples"]
    ),
    st.lists(st.text(alphabet="abkindtrsfom._= é\0\udcff", max_size=6), max_size=4).map(".".join),
)
VALUES = st.one_of(
    st.sampled_from(
        [
            "",
            "null",
            "~",
            "-1",
            "0",
            "1",
            "1e3",
            "1e-400",
            "-0.0",
            "[]",
            "{}",
            "[null]",
            "[1, [2]]",
            "true",
            "{a: {b: c}}",
        ]
    ),
    st.sampled_from(
        [
            "{kind: mlp}",
            "{kind: }",
            "identity",
            "auto",
            "os.system",
            "../..",
            "? x",
            "- 1",
            "| x",
            "> ",
            "'",
            '"',
            "!x",
            "&x",
        ]
    ),
    st.text(max_size=8),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4), st.lists, max_leaves=5
    ).map(json.dumps),
)


@settings(deadline=None, max_examples=300)
@given(st.lists(st.tuples(KEYS, VALUES).map("=".join), min_size=1, max_size=3))
def test_whatever_is_typed_gives_an_experiment_or_a_sentence(overrides):
    try:
        experiment = presets.override(TINY, overrides)
    except UserError as error:
        checked(error)
    else:
        assert presets.resolve(json.loads(experiment.canonical_json())).digest() == experiment.digest()


@settings(deadline=None, max_examples=200)
@given(st.text(alphabet=st.sampled_from("abn:-[]{}#&*!|>'\"%@`\n\t ,?.0123~\x00é"), max_size=30))
def test_whatever_a_file_holds_is_read_or_refused(text):
    try:
        value = notation.read(text)
    except ValueError as error:
        checked(error)
    else:
        assert notation.read(notation.write(value)) == value


LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()


@settings(deadline=None, max_examples=300)
@given(LEAVES | st.lists(LEAVES, max_size=3))
@example("on")
@example("1e-3")
@example(" a: [b] # c\n")
@example(["null", "a,b", "\U0001f600\x85"])
def test_a_value_is_typed_as_it_is_read(value):
    text = f"data.path={notation.typed(value)}"
    assert "\n" not in text
    assert repr(presets.split(text)) == repr(("data.path", value))


def test_values_are_typed_without_quotes_where_they_need_none():
    values = ["elbo", "2024-01-01", 1e-5, True, None, [1, "a"], "true", "7", ""]
    typed = ["elbo", "2024-01-01", "1e-05", "true", "null", '[1,"a"]', '"true"', '"7"', '""']
    assert [notation.typed(value) for value in values] == typed


# Safety


def test_no_value_of_an_experiment_can_name_something_to_import():
    """Every value is a number, a truth value, one of a list of words, or text that nothing resolves."""
    plain, texts = {int, float, bool, str, type(None)}, set()

    def walk(models: keys.Models, path: str) -> None:
        for model in dict.fromkeys(models.values()):
            for name, field in model.model_fields.items():
                if further := keys.below({None: model}, {}, name):
                    walk(further, f"{path}{name}.")
                else:
                    found = leaves(field.annotation)
                    assert found <= plain, f"{path}{name} may be {found}"
                    texts.update({f"{path}{name}"} if str in found else ())

    def leaves(annotation: object) -> set[object]:
        from typing import Annotated, Literal, get_args, get_origin

        if get_origin(annotation) is Literal:
            return {type(word) for word in get_args(annotation)} - {str}
        parts = get_args(annotation)[:1] if get_origin(annotation) is Annotated else get_args(annotation)
        return set().union(*(leaves(part) for part in parts if part is not ...)) if parts else {annotation}

    walk(keys.ROOT, "")
    texts.remove("evaluation.estimators")  # a name of a closed grammar, see test_estimators
    kept = {f"storage.{key}" for key in ("checkpoints", "data", "root", "store")}
    assert texts == {"name", "run.name", "tracking.experiment", "data.path", "samples.weights", "tracking.uri"} | kept


def test_a_kind_is_not_a_path_to_a_module():
    for kind in ("os", "_base", "ndm.transforms.identity", "../identity", "__init__", "Identity"):
        assert f"transform.kind={kind} is unknown" in sentence(f"transform.kind={kind}")


def test_names_of_runs_stay_in_their_folder():
    for name in ("..", ".", "a/b", "a\\b", "", "-x", ".hidden", "a\n", "/etc", "~"):
        tree = {**TINY, "run": {"name": name}}
        with pytest.raises(UserError, match=r"run\.name"):
            presets.resolve(tree)
    accepted = presets.load("digits-tiny", ["run.name=A-1_b.c"]).run_name()
    assert os.path.basename(accepted) == accepted == "A-1_b.c"


def test_an_experiment_is_typed_without_guessing():
    assert isinstance(presets.load("digits-tiny"), Experiment)
    for override in ("seed='3'", "seed=true", "network.attention=1", "training.examples=1e3", "optimizer.lr='1'"):
        with pytest.raises(UserError):
            presets.load("digits-ndm", [override])


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("NDM_STORE", "gs://b/x", "NDM_STORE=gs://b/x in the environment is not valid: it must be a local path or s3:"),
        ("NDM_STORE", "s3://key:pass-word@b/x", "NDM_STORE=s3://...@b/x in the environment is not valid: it must be "),
        ("MLFLOW_TRACKING_URI", "http://u:pass-word@h:5", "MLFLOW_TRACKING_URI=http://...@h:5 in the environment is "),
    ],
)
def test_an_environment_that_is_not_valid_is_named_in_a_sentence(monkeypatch, name, value, expected):
    monkeypatch.setenv(name, value)
    for ask in (lambda: presets.load("digits-ndm"), lambda: presets.storage([])):
        with pytest.raises(UserError) as told:
            ask()
        assert str(told.value).startswith(expected)
        assert "pass-word" not in str(told.value)


@pytest.mark.parametrize("override", ["storage.rot=/elsewhere", "storage.store=gs://b/x", "storage.root"])
def test_places_that_are_not_given_rightly_are_no_defaults(override):
    with pytest.raises(UserError):
        presets.storage([override])
    assert presets.storage(["storage.root=/elsewhere"]).root == "/elsewhere"
