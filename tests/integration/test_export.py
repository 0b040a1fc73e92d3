"""`ndm export`, and the model that a fresh Python without Ray and MLflow makes of what it wrote."""

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import REPOSITORY, TINY, Tracked, Trained, checkpoints, here, likelihood, refusal, uninterrupted
from processes import LONG

import ndm
from ndm import presets
from ndm.data.manifest import Manifest
from ndm.data.shards import read_rows
from ndm.errors import UserError
from ndm.likelihood.statistics import bits_per_dim

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("embedded_ray")]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return uninterrupted(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def exported(trained: Trained) -> Path:
    """The run's export, made after the ODE too has scored it and a Heun sampler has drawn."""
    here(trained.folder, "evaluate", trained.run.name, "estimator=elbo,ode")
    here(trained.folder, "sample", trained.run.name, "sampler=heun", "steps=3", "count=6")
    said = here(trained.folder, "export", trained.run.name).output
    assert f"exports/{trained.run.name}" in said
    return trained.folder / "exports" / trained.run.name


@pytest.fixture(scope="module")
def model(exported: Path) -> ndm.Pretrained:
    return ndm.load(exported, device="cpu")


def images_of(trained: Trained, split: str = "test") -> np.ndarray:
    folder = trained.root / "data" / "digits-1"
    manifest = Manifest.read(folder)
    return read_rows(folder, manifest, split, 0, manifest.rows(split)).raw


PROGRAM = """
import ndm
model = ndm.load("exports/RUN")
images = model.sample(16, seed=0)
import json, sys
import numpy as np
found = model.likelihood(np.load("images.npy"))
assert "ray" not in sys.modules and "mlflow" not in sys.modules
print(json.dumps({"shape": list(images.shape), "images": images.tolist(), "nats": found.nats.tolist(),
                  "modules": sorted({name.partition(".")[0] for name in sys.modules})}))
"""


def test_a_fresh_python_draws_and_scores_as_the_verbs_without_ray_or_mlflow(trained: Trained, exported: Path) -> None:
    np.save(trained.folder / "images.npy", images_of(trained))
    program = PROGRAM.replace("RUN", trained.run.name)
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY / "platform")}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=trained.folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=LONG,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert "torch" in said["modules"]
    assert not {"ray", "mlflow", "boto3", "matplotlib"} & set(said["modules"])
    assert said["shape"] == [16, 1, 8, 8]
    (archive,) = trained.run.glob("samples/ancestral-*.npz")
    np.testing.assert_array_equal(said["images"], np.load(archive)["samples"][:16])
    np.testing.assert_allclose(said["nats"], likelihood(trained.run).column("nats").to_numpy(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["elbo_cont_k4", "ode_tn_k1_h1"])
def test_likelihoods_are_those_of_the_tables(trained: Trained, model: ndm.Pretrained, name: str) -> None:
    found = model.likelihood(torch.from_numpy(images_of(trained)), name.partition("_")[0])
    nats = likelihood(trained.run, f"test-{name}").column("nats").to_numpy()
    assert found.estimator == name
    np.testing.assert_allclose(found.nats.numpy(), nats, rtol=0, atol=1e-6)
    bits = bits_per_dim(torch.from_numpy(nats.copy()), 64)
    assert found.mean.value == pytest.approx(bits.mean().item(), abs=1e-9)
    assert found.mean.error == pytest.approx(bits.std().item() / 180**0.5, abs=1e-9)
    part = model.likelihood(images_of(trained)[64:128], name, first_id=64)
    np.testing.assert_allclose(part.nats.numpy(), nats[64:128], rtol=0, atol=1e-6)
    other = model.likelihood(images_of(trained)[64:128], name)
    assert (other.nats - part.nats).abs().max() > 1e-3


def test_an_estimator_that_is_fitted_wants_its_pilot(trained: Trained, model: ndm.Pretrained) -> None:
    name = "elbo_cont_k4_adaptive"
    with pytest.raises(UserError, match="give pilot="):
        model.likelihood(images_of(trained), name)
    here(trained.folder, "evaluate", trained.run.name, f"estimator={name}")
    found = model.likelihood(images_of(trained), name, pilot=images_of(trained, "validation"))
    nats = likelihood(trained.run, f"test-{name}").column("nats").to_numpy()
    np.testing.assert_allclose(found.nats.numpy(), nats, rtol=0, atol=1e-6)


def test_samples_are_those_of_the_verb_for_the_same_seed_and_sampler(trained: Trained, model: ndm.Pretrained) -> None:
    (archive,) = trained.run.glob("samples/heun-steps3-*.npz")
    drawn = model.sample(6, sampler={"kind": "heun", "steps": 3})
    assert (drawn.dtype, tuple(drawn.shape)) == (torch.uint8, (6, 1, 8, 8))
    np.testing.assert_array_equal(drawn.numpy(), np.load(archive)["samples"])
    assert not torch.equal(model.sample(6, seed=1, sampler={"kind": "heun", "steps": 3}), drawn)
    assert torch.equal(model.sample(6, seed=0, sampler={"kind": "heun", "steps": 3}, batch=3), drawn)


REFUSED = {
    "unknown; allowed: ancestral": lambda m: m.sample(1, sampler="huen"),
    "Unknown key sampler.stpes": lambda m: m.sample(1, sampler={"stpes": 3}),
    "count=0 is not valid": lambda m: m.sample(0),
    "seed=-1 is not valid": lambda m: m.sample(1, seed=-1),
    "batch=0 is not valid": lambda m: m.sample(1, batch=0),
    "an estimator such as elbo": lambda m: m.likelihood(np.zeros((1, 1, 8, 8), np.uint8), "elob"),
    "is not for data of levels": lambda m: m.likelihood(np.zeros((1, 1, 8, 8), np.uint8), "ode_point_exact"),
    "give [N, 1, 8, 8]": lambda m: m.likelihood(np.zeros((1, 8, 8), np.uint8)),
    "have the shape [0, 1, 8, 8]": lambda m: m.likelihood(np.zeros((0, 1, 8, 8), np.uint8)),
    "whole numbers from 0 to 16": lambda m: m.likelihood(np.full((1, 1, 8, 8), 17, np.uint16)),
    "images are no array of numbers": lambda m: m.likelihood([["a"]]),
    "images are not whole numbers": lambda m: m.likelihood(np.zeros((1, 1, 8, 8), np.float32)),
    "is not reported: the solver's error": lambda m: m.likelihood(m.sample(32), "ode", tolerance=0.5),
    "tolerance=0 is not valid": lambda m: m.likelihood(m.sample(1), "ode", tolerance=0),
}


@pytest.mark.parametrize("words", REFUSED)
def test_a_mistake_is_a_sentence(model: ndm.Pretrained, words: str) -> None:
    with pytest.raises(UserError, match=re.escape(words)):
        REFUSED[words](model)


def test_a_runs_own_folder_is_the_same_model(trained: Trained, model: ndm.Pretrained, exported: Path) -> None:
    newest = checkpoints(trained.run)[-1]
    for path in (trained.run, f"{trained.run}@{newest}", f"{trained.run}@best"):
        found = ndm.load(path, device="cpu")
        assert (found.shape, found.levels, found.about.data) == ((1, 8, 8), 17, model.about.data)
        assert found.experiment.digest() == model.experiment.digest()
        assert "## Limits" in found.card
    own = ndm.load(trained.run, device="cpu").objective.state_dict()
    assert all(torch.equal(own[name], value) for name, value in model.objective.state_dict().items())
    with pytest.raises(UserError, match="has no checkpoint latest"):
        ndm.load(f"{trained.run}@latest")
    with pytest.raises(UserError, match="The checkpoint 000000000007"):
        ndm.load(f"{trained.run}@7")


def test_the_card_has_every_score_as_the_tables_have_it(trained: Trained, model: ndm.Pretrained) -> None:
    for name in ("elbo_cont_k4", "ode_tn_k1_h1"):
        bits = likelihood(trained.run, f"test-{name}").column("nats").to_numpy() / (64 * np.log(2))
        value = f"{bits.mean():.4f} ± {bits.std(ddof=1) / 180**0.5:.4f}"
        assert f"| `{name}` | {value} | test | 180 |" in model.card
    assert "F(x, t) = (1 - t) x + t G(x, t)" in model.card
    assert "5,120 of 5,120 examples in batches of 128" in model.card
    assert f"{sum(p.numel() for p in model.objective.parameters()):,} parameters" in model.card
    assert "Distances of 64 of them from 1437 images" in model.card
    for command in re.findall(r"^ndm .*$", model.card, re.MULTILINE):
        verb, target, *overrides = command.split()[1:]
        assert (verb, target) in {
            ("train", "config.yaml"),
            ("evaluate", trained.run.name),
            ("export", trained.run.name),
        }
        assert verb != "train" or overrides == [f"run.name={trained.run.name}"]


def test_the_configuration_trains_the_same_run_again(trained: Trained, exported: Path) -> None:
    again = presets.load(str(exported / "config.yaml"), [f"run.name={trained.run.name}"])
    assert again.digest() == presets.load(TINY[0], TINY[1:]).digest()
    assert (
        "run name                 " + trained.run.name
        in here(exported, "train", "config.yaml", f"run.name={trained.run.name}", "--dry-run").output
    )


def test_nothing_in_it_says_where_it_was_made(trained: Trained, exported: Path) -> None:
    words = [str(trained.folder), str(REPOSITORY), str(Path.home()), socket.gethostname(), "mlflow.db"]
    words.append(str(Tracked(trained.root).run.info.run_id))
    for path in exported.iterdir():
        content = path.read_bytes()
        assert not [word for word in words if len(word) > 5 and word.encode() in content], path.name


def test_exporting_again_changes_nothing(trained: Trained, exported: Path) -> None:
    here(trained.folder, "export", trained.run.name)
    before = {path: (path.stat().st_ino, path.read_bytes()) for path in exported.iterdir()}
    here(trained.folder, "export", trained.run.name)
    assert {path: (path.stat().st_ino, path.read_bytes()) for path in exported.iterdir()} == before
    assert [path.name for path in exported.parent.iterdir()] == [exported.name]


def test_a_checkpoint_goes_to_a_folder_of_its_name_or_one_that_is_named(trained: Trained, exported: Path) -> None:
    older = checkpoints(trained.run)[-2]
    here(trained.folder, "export", f"{trained.run.name}@{older}", "count=4", "--to", "elsewhere/mine")
    found = ndm.load(trained.folder / "elsewhere" / "mine", device="cpu")
    assert found.about.position == older
    assert "were not scored" in found.card
    assert f"\nndm export {trained.run.name}@{older}\n" in found.card
    assert "4 samples, not chosen" in found.card
    (trained.folder / "taken").mkdir()
    (trained.folder / "taken" / "thesis").write_text("")
    said = refusal(trained.folder, "export", trained.run.name, "count=4", "--to", "taken")
    assert "holds no exported model; move it away" in said
    assert "There is no run" in refusal(trained.folder, "export", *TINY, "seed=1")
    assert not (trained.folder / "exports" / f"{trained.run.name}-at-{older}").exists()


def test_the_registry_has_one_version_of_an_export_and_gives_it_back(trained: Trained, exported: Path) -> None:
    client = Tracked(trained.root).client
    for _ in range(2):
        said = here(trained.folder, "export", trained.run.name, "--register", "digits-tiny").output
        assert "digits-tiny, version 1" in said
    (version,) = client.search_model_versions("name='digits-tiny'")
    assert version.run_id == Tracked(trained.root).run.info.run_id
    assert client.get_model_version_by_alias("digits-tiny", "newest").version == version.version
    assert version.description.startswith(f"# {trained.run.name}\n")
    bits = likelihood(trained.run).column("nats").to_numpy().mean() / (64 * np.log(2))
    assert version.tags["test/bpd_elbo_cont_k4"] == f"{bits:.6f}"
    assert version.tags["examples_seen"] == "5120"
    (logged,) = client.search_logged_models([Tracked(trained.root).run.info.experiment_id])
    assert (logged.status, logged.source_run_id) == ("READY", version.run_id)
    assert version.source == logged.artifact_location
    (artifacts,) = trained.root.glob(f"artifacts/models/{logged.model_id}/artifacts")
    assert {path.name: path.read_bytes() for path in artifacts.iterdir()} == {
        path.name: path.read_bytes() for path in exported.iterdir()
    }
    assert ndm.load(artifacts, device="cpu").about.run == trained.run.name
    assert "is no name of a model" in refusal(trained.folder, "export", trained.run.name, "--register", "a/b")
