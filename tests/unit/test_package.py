"""An exported model is used whole or refused in a sentence, also one that somebody made up; nothing in it is run."""

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load, save

import ndm
from ndm import notation, presets
from ndm.build import build_objective
from ndm.errors import UserError
from ndm.evaluation.model_card import body, model_card
from ndm.evaluation.package import FILES, LIST, About, Data, read, restore
from ndm.evaluation.publish import portable, publish, weights
from ndm.listing import Listing
from ndm.objectives import Objective

SHAPE, LEVELS = (1, 8, 8), 17
EXPERIMENT = presets.load("digits-tiny", ["storage.root=/private/place", "run.name=mine", "samples.weights=/private/w"])
ABOUT = About(
    run="mine",
    experiment=EXPERIMENT.digest(),
    position=5120,
    parameters=1,
    data=Data(name="digits", version="1", hash="0" * 64, shape=SHAPE, levels=LEVELS),
    code={"version.ndm": "0"},
)
RESULTS: dict[str, Any] = {"run": "mine", "examples_seen": 5120, "scores": [], "samples": None}


def trained() -> Objective:
    objective = build_objective(EXPERIMENT, SHAPE, LEVELS)
    with torch.no_grad():
        for parameter in objective.parameters():
            parameter += 0.1
    return objective


def files(**changed: bytes) -> dict[str, bytes]:
    found = {
        "README.md": model_card(ABOUT, EXPERIMENT, RESULTS).encode(),
        "config.yaml": notation.write(portable(EXPERIMENT)).encode(),
        "LICENSE": b"as you like",
        "samples.png": b"a picture",
        "results.json": json.dumps(RESULTS).encode(),
        "model.safetensors": weights(trained()),
    }
    return found | changed


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "exports" / "mine"
    publish(folder, ABOUT, files())
    return folder


def refused(folder: Path) -> str:
    """What is said of a folder that is not used; nothing is written anywhere."""
    root = folder.parents[1]
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    with pytest.raises(UserError) as caught:
        ndm.load(folder)
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before
    assert str(caught.value).count("\n") == 0
    assert len(str(caught.value)) < 600
    return str(caught.value)


def test_a_package_comes_back_as_it_was_published(folder: Path) -> None:
    found = read(folder)
    assert (found.about, found.results) == (ABOUT, RESULTS)
    assert found.experiment.digest() == EXPERIMENT.digest()
    assert {path.name for path in folder.iterdir()} == FILES | {LIST}
    restored, expected = restore(found, folder).state_dict(), trained().state_dict()
    assert restored.keys() == expected.keys()
    assert all(torch.equal(restored[name], expected[name]) for name in expected)
    assert not restore(found, folder).training


def test_no_place_goes_with_it(folder: Path) -> None:
    assert not any(b"/private" in path.read_bytes() for path in folder.iterdir())
    assert {"run", "scaling", "storage", "tracking"}.isdisjoint(notation.read((folder / "config.yaml").read_text()))


def test_publishing_again_leaves_it_and_repairs_it(folder: Path) -> None:
    inode = folder.stat().st_ino
    publish(folder, ABOUT, files())
    assert folder.stat().st_ino == inode
    (folder / "samples.png").write_bytes(b"another")
    publish(folder, ABOUT, files())
    assert (folder / "samples.png").read_bytes() == b"a picture"
    later = ABOUT.model_copy(update={"position": 6400})
    publish(folder, later, files())
    assert read(folder).about.position == 6400
    assert [path.name for path in folder.parent.iterdir()] == ["mine"]


def test_what_is_of_another_run_or_no_export_is_not_replaced(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds a model of another run, mine; move it away"):
        publish(folder, ABOUT.model_copy(update={"run": "other"}), files())
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "draft").write_text("")
    for place in (tmp_path / "thesis", tmp_path / "thesis" / "draft"):
        with pytest.raises(UserError, match="holds no exported model"):
            publish(place, ABOUT, files())
    assert read(folder).about.run == "mine"
    assert [path.name for path in (tmp_path / "thesis").iterdir()] == ["draft"]


def test_a_package_that_could_not_be_read_does_not_appear(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not in the format safetensors"):
        publish(tmp_path / "mine", ABOUT, files(**{"model.safetensors": b"nothing"}))
    assert not (tmp_path / "mine").exists()


def test_what_a_killed_export_left_is_in_nobodys_way(folder: Path) -> None:
    (folder.parent / ".mine.partial").mkdir()
    (folder.parent / ".mine.partial" / "samples.png").write_bytes(b"half")
    publish(folder, ABOUT.model_copy(update={"position": 1}), files())
    assert [path.name for path in folder.parent.iterdir()] == ["mine"]


@pytest.mark.parametrize("name", sorted(FILES))
def test_damage_to_any_file_is_named(folder: Path, name: str) -> None:
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    assert f"{name} is not what manifest.json says" in refused(folder)
    (folder / name).write_bytes(content[:-1])
    assert f"{name} is not what manifest.json says" in refused(folder)
    (folder / name).unlink()
    assert f"{name} cannot be read" in refused(folder)


def forged(folder: Path, about: dict[str, Any] | None = None, **changed: bytes) -> str:
    """What is said of a folder with other content whose hashes are right."""
    for name, content in changed.items():
        (folder / name).write_bytes(content)
    names = [name for name in changed.keys() | FILES if (folder / name).is_file()]
    told = ABOUT.model_dump(mode="json") | (about or {})
    (folder / LIST).write_text(Listing.of(folder, names, told).text())
    return refused(folder)


def with_tensors(change: Any) -> bytes:
    tensors = load(weights(trained()))
    change(tensors)
    return save(tensors)


FIRST = min(load(weights(trained())))
TENSORS = {
    "is float32 [1] in": lambda t: t.update(extra=torch.zeros(1)),
    "is missing in": lambda t: t.pop(FIRST),
    "float16": lambda t: t.update({FIRST: t[FIRST].half()}),
    "float32 [3, 3]": lambda t: t.update({FIRST: torch.zeros(3, 3)}),
    "not finite": lambda t: t[FIRST].view(-1)[:1].fill_(torch.nan),
}


@pytest.mark.parametrize("words", TENSORS)
def test_tensors_that_are_not_the_models_are_refused(folder: Path, words: str) -> None:
    assert words in forged(folder, **{"model.safetensors": with_tensors(TENSORS[words])})


class Payload:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.write_text, (self.path, "it ran")


def test_a_pickle_in_the_place_of_the_weights_is_not_run(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    payload = pickle.dumps(Payload(target))
    assert "not in the format safetensors" in forged(folder, **{"model.safetensors": payload})
    assert not target.exists()
    pickle.loads(payload)
    assert target.exists()  # it would have


CONFIGS = {
    "Unknown key hook: ": "hook: os.system\n",
    "experiment without places": "tracking: {uri: 'http://elsewhere'}\n",
    "another experiment than": "seed: 9\n",
    "tags (!name)": "more: !!python/object/apply:os.system ['true']\n",
    "config.yaml is no experiment": "a: [\n",
}


@pytest.mark.parametrize("words", CONFIGS)
def test_a_configuration_that_is_not_the_models_is_refused(folder: Path, words: str) -> None:
    text = (folder / "config.yaml").read_text().replace("seed: 0\n", "", 1) + CONFIGS[words]
    assert words in forged(folder, **{"config.yaml": text.encode()})


ABOUTS: dict[str, dict[str, Any]] = {
    "not that of a model (kind)": {"kind": "something else"},
    "not that of a model (more)": {"more": 1},
    "not that of a model (data.shape": {"data": ABOUT.data.model_dump(mode="json") | {"shape": [0]}},
    "in the model of config.yaml": {"data": ABOUT.data.model_dump(mode="json") | {"shape": [1, 1 << 20, 1 << 20]}},
    "no model can be built": {"data": ABOUT.data.model_dump(mode="json") | {"levels": 1}},
}


@pytest.mark.parametrize("words", ABOUTS)
def test_facts_that_do_not_fit_are_refused(folder: Path, words: str) -> None:
    assert words in forged(folder, ABOUTS[words])


def test_a_list_of_other_files_is_refused(folder: Path) -> None:
    assert "'code.py' is unknown in manifest.json" in forged(folder, **{"code.py": b"print()"})
    (folder / "code.py").unlink()
    (folder / "samples.png").unlink()
    assert "'samples.png' is missing in manifest.json" in forged(folder)
    (folder / LIST).write_text("{}")
    assert "manifest.json cannot be used" in refused(folder)


@pytest.mark.parametrize("name", ["nothing", ".", "mine@best"])
def test_a_place_without_a_model_is_a_sentence(tmp_path: Path, folder: Path, name: str) -> None:
    with pytest.raises(UserError, match="There is no exported model and no run in"):
        ndm.load(folder.parent / name)


def test_the_card_without_its_front_matter_begins_with_the_name() -> None:
    card = model_card(ABOUT, EXPERIMENT, RESULTS)
    front = notation.read(card.split("---\n")[1])
    assert (front["license"], front["pipeline_tag"]) == ("apache-2.0", "unconditional-image-generation")
    assert body(card).startswith("# mine\n")
    assert "were not scored" in card
