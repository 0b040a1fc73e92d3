"""`ndm train` from end to end: what it says, leaves in the run's folder and records in MLflow, and what it refuses."""

import json
import math
import random
import re
import socket
from pathlib import Path

import numpy as np
import pytest
from commands import (
    REPOSITORY,
    TINY,
    Command,
    Tracked,
    Trained,
    checkpoints,
    here,
    likelihood,
    ndm,
    records,
    refusal,
    tensors,
    uninterrupted,
)
from PIL import Image

from ndm import presets
from ndm.data.manifest import Manifest
from ndm.tracking import metrics, provenance

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("embedded_ray")]

TERMS = ("prior", "reconstruction", "diffusion")
DIMENSIONS = 64
BITS = 1e-5
"""Bits per dimension by which one worker and two may differ after 40 steps: sums of float32 in another order."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return uninterrupted(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def results(trained: Trained) -> dict:
    return json.loads((trained.run / "results.json").read_text())


@pytest.fixture(scope="module")
def tracked(trained: Trained) -> Tracked:
    return Tracked(trained.root)


def test_the_command_ends_with_a_table(trained: Trained, results: dict) -> None:
    table = dict(re.findall(r"^  {1,4}(\S+(?: \S+)*) {2,}(\S.*)$", trained.output, re.MULTILINE))
    scored = results["likelihood"]["scores"][0]
    value, error = (scored["bits_per_dim"][key] for key in ("value", "error"))
    assert table["run"] == trained.run.name
    assert table["bound"].startswith(f"{value:.4f} +- {error:.4f} bits/dim (elbo_cont_k4")
    assert [table[term] for term in TERMS] == [f"{scored[term]['value']:.4f}" for term in TERMS]
    assert table["images scored"] == "180 of 180, each once (test split)"
    assert table["trained on"] == "5120 examples with 2 worker(s)"
    distance = results["samples"]["quality"]["distances"]["sliced_wasserstein_pixels"]
    assert table["sliced Wasserstein"].startswith(f"{distance['value']:.4f} +- {distance['error']:.4f} (pixels; ")
    for row in ("per-image table", "samples"):
        assert (trained.folder / table[row].split(" (")[0]).is_file()


def test_the_folder_holds_what_later_commands_need(trained: Trained, results: dict) -> None:
    experiment = presets.load(TINY[0], TINY[1:])
    assert trained.run.name == experiment.run_name()
    assert presets.resolve(json.loads((trained.run / "experiment.json").read_text())) == experiment
    assert presets.load(str(trained.run / "experiment.yaml")) == experiment
    assert checkpoints(trained.run) == [3840, 5120]
    assert results["examples"] == 5120
    assert results["examples_per_second"] == pytest.approx(5120 / results["seconds"])
    manifest = Manifest.read(trained.root / "data" / "digits-1")
    assert results["likelihood"]["scores"][0]["data"] == {"name": "digits", "version": "1", "hash": manifest.hash}
    (archive,) = trained.run.glob("samples/*steps20*.npz")
    samples = np.load(archive)["samples"]
    assert samples.shape == (64, 1, 8, 8)
    assert 0 <= samples.min() < samples.max() <= 16
    assert [path.name for path in sorted(trained.run.glob("samples/0*.png"))] == [
        "000000002560.png",
        "000000005120.png",
    ]
    for picture in trained.run.glob("samples/*.png"):
        Image.open(picture).verify()


def test_every_test_image_is_scored_exactly_once(trained: Trained, results: dict) -> None:
    table = likelihood(trained.run)
    assert sorted(table.column("id").to_pylist()) == list(range(180))
    nats = {name: table.column(name).to_numpy() for name in ("nats", *TERMS)}
    np.testing.assert_allclose(sum(nats[term] for term in TERMS), nats["nats"], rtol=1e-12)
    for name, term in {"bits_per_dim": "nats", **dict(zip(TERMS, TERMS, strict=True))}.items():
        bits = nats[term] / (DIMENSIONS * math.log(2))
        found = results["likelihood"]["scores"][0][name]
        assert found["value"] == pytest.approx(bits.mean(), rel=1e-12)
        assert found["error"] == pytest.approx(bits.std(ddof=1) / math.sqrt(180), rel=1e-12)


def test_mlflow_has_one_finished_run_that_says_what_it_is(trained: Trained, results: dict, tracked: Tracked) -> None:
    run = tracked.run
    assert (run.info.run_id, run.info.run_name, run.info.status) == (results["run_id"], trained.run.name, "FINISHED")
    deciding = presets.load(TINY[0], TINY[1:]).flat(deciding=True)
    assert {key: str(value) for key, value in deciding.items()}.items() <= run.data.params.items()
    tags = run.data.tags
    assert provenance(REPOSITORY).items() <= tags.items()
    assert {"git.commit", "version.ndm", "version.torch", "version.ray", "version.python"} <= tags.keys()
    assert tags["data_hash"] == results["likelihood"]["scores"][0]["data"]["hash"]
    assert f"{results['likelihood']['scores'][0]['bits_per_dim']['value']:.4f}" in tags["mlflow.note.content"]


def test_mlflow_has_every_record_once(trained: Trained, results: dict, tracked: Tracked) -> None:
    steps = {"train": list(range(640, 5121, 640)), "validation": [2560, 5120]}
    for split, expected in steps.items():
        curves = {name: tracked.history(f"{split}/{name}") for name in ("bits_per_dim", *TERMS)}
        for name, curve in curves.items():
            assert [step for step, _ in curve] == expected
            assert curve == records(trained.run, f"{split}/{name}")
        parts = zip(*(curves[term] for term in TERMS), strict=True)
        for (_, whole), values in zip(curves["bits_per_dim"], parts, strict=True):
            assert whole == pytest.approx(sum(value for _, value in values), rel=1e-12)
    distances = results["samples"]["quality"]["distances"]
    for name, mean in distances.items():
        assert tracked.history(f"samples/ancestral_nfe20_n64_train1437/{name}") == [(0, mean["value"])]
    final = results["likelihood"]["scores"][0]["bits_per_dim"]["value"]
    assert tracked.history("test/bpd_elbo_cont_k4") == [(0, final)]


def test_every_metric_that_is_recorded_is_one_that_is_explained(tracked: Tracked) -> None:
    keys = tracked.run.data.metrics.keys()
    assert {"train/bits_per_dim", "time/step_ms", "test/bpd_elbo_cont_k4_se"} <= keys
    assert [key for key in keys if metrics.find(key) is None] == []


def test_mlflow_says_where_to_look_and_shows_the_numbers_as_a_table(
    results: dict, tracked: Tracked, tmp_path: Path
) -> None:
    experiment = tracked.client.get_experiment(tracked.run.info.experiment_id)
    assert metrics.table() in experiment.tags["mlflow.note.content"]
    shown = [table["path"] for table in json.loads(tracked.run.data.tags["mlflow.loggedArtifacts"])]
    assert {"tables/samples.json", "tables/scores.json"} <= {*shown}
    table = json.loads(tracked.download("tables/scores.json", tmp_path))
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
    scored = results["likelihood"]["scores"][0]
    (first,) = (row for row in rows if (row["estimator"], row["split"]) == ("elbo_cont_k4", "test"))
    assert first["images"] == 180
    assert first["bits_per_dim"] == round(scored["bits_per_dim"]["value"], 6)
    assert first["standard_error"] == round(scored["bits_per_dim"]["error"], 6)


def test_mlflow_has_the_files(trained: Trained, tracked: Tracked, tmp_path: Path) -> None:
    artifacts = tracked.artifacts()
    shown = [re.search(r"\+step\+(\d+)\+", path) for path in artifacts if path.startswith("images/samples~ema")]
    assert sorted({int(match[1]) for match in shown if match}) == [2560, 5120]
    kept = ["likelihood/test-elbo_cont_k4.parquet"]
    kept += [f"checkpoints/000000005120/{part}.safetensors" for part in ("model", "ema", "optimizer")]
    kept += ["checkpoints/000000005120/manifest.json", "experiment.yaml"]
    kept += [f"samples/{path.name}" for path in trained.run.glob("samples/ancestral-*")]
    assert len(kept) == 8
    for path in kept:
        assert tracked.download(path, tmp_path) == (trained.run / path).read_bytes()


def test_the_token_of_ray_is_in_one_private_file(trained: Trained) -> None:
    token = trained.root / ".ray" / "auth_token"
    secret = token.read_bytes()
    assert len(secret) >= 32
    assert token.stat().st_mode & 0o077 == 0
    assert [path for path in trained.folder.rglob("*") if path.is_file() and secret in path.read_bytes()] == [token]


def test_the_same_command_again_says_the_same_and_trains_nothing(trained: Trained) -> None:
    def written() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in trained.run.rglob("*") if path.suffix not in (".lock",)}

    before = written()
    again = here(trained.folder, "train", *TINY)
    assert written() == before
    assert "is finished; --fresh starts it again" in again.output
    assert "Training" not in again.output
    assert again.output.splitlines()[1:] == trained.output.splitlines()[-len(again.output.splitlines()) + 1 :]


def test_one_worker_killed_and_two_that_resume_compute_what_two_compute(trained: Trained, tmp_path: Path) -> None:
    """The same examples in the same batches, so the same curves up to the order of sums."""
    alone = tmp_path / "runs" / "alone"
    slowly = ("run.name=alone", "monitor.validate_every=640", "monitor.validation_draws=150")
    with Command(tmp_path, "train", *TINY, *slowly, "scaling.workers=1") as command:
        command.until(lambda: len(records(alone, "train/bits_per_dim")) >= 3 + random.randrange(3))
        command.cut()
    reached = checkpoints(alone)[-1]
    assert reached < 5120
    output = here(tmp_path, "train", *TINY, "run.name=alone", "scaling.workers=2").output
    assert f"Training alone on 2 worker(s) from {reached} of 5120 examples on ..." in output
    checksums = records(alone, "train/examples_checksum")
    assert checksums == records(trained.run, "train/examples_checksum")
    assert len({value for _, value in checksums}) == 8
    for key in ("train/bits_per_dim", "train/diffusion", "train/learning_rate"):
        one, two = dict(records(alone, key)), dict(records(trained.run, key))
        assert one.keys() == two.keys()
        assert [one[step] for step in one] == pytest.approx([two[step] for step in one], abs=BITS)
    ours, theirs = (likelihood(run).column("nats").to_numpy() for run in (alone, trained.run))
    np.testing.assert_allclose(ours / (DIMENSIONS * math.log(2)), theirs / (DIMENSIONS * math.log(2)), atol=10 * BITS)


def test_a_checkpoint_that_cannot_be_saved_is_told_and_the_last_one_is_asked_for_again(
    trained: Trained, tmp_path: Path
) -> None:
    run = tmp_path / "runs" / "full"
    for position in (2560, 5120):  # files where the folders of these checkpoints are to be made
        (run / "checkpoints").mkdir(parents=True, exist_ok=True)
        (run / "checkpoints" / f".{position:012d}.partial").touch()
    said = here(tmp_path, "train", *TINY, "run.name=full", status=2)
    assert said.errors.splitlines() == [
        "The checkpoint at 2560 examples could not be saved (file exists); the training goes on to the next.",
        f"The last checkpoint could not be saved (file exists): make room in {run / 'checkpoints'}, or correct "
        "storage.checkpoints=..., then repeat the command; it goes on from the checkpoint before.",
    ]
    assert checkpoints(run) == [1280, 3840]
    (run / "checkpoints" / ".000000005120.partial").unlink()
    assert "from 3840 of 5120 examples on ..." in here(tmp_path, "train", *TINY, "run.name=full").output
    assert tensors(run, 5120) == tensors(trained.run, 5120)
    assert records(run, "train/bits_per_dim") == records(trained.run, "train/bits_per_dim")


def test_a_training_waits_for_its_workers_no_longer_than_it_may(tmp_path: Path) -> None:
    """Also where there is room, they take longer to start than this."""
    command = ndm(tmp_path, "train", *TINY, "run.name=waits", "scaling.patience=0.01", status=2)
    assert re.search(r"^The cluster has had no room for the workers for \d+ s \(scaling\.patience\): ", command.errors)
    assert checkpoints(tmp_path / "runs" / "waits") == []


def test_a_training_that_diverges_says_where_and_keeps_what_it_has(tmp_path: Path) -> None:
    sentence = refusal(tmp_path, "train", *TINY, "monitor.largest=1", "run.name=diverged")
    assert re.fullmatch(
        r"The training diverged: a loss of \d\.\d+ bits/dim and a gradient of norm \S+ in the batch after 0 examples "
        r"\(rows (\d+, ){15}\d+ and 112 more of the train split\); no checkpoint was reached\. .*\n",
        sentence,
    )
    assert Tracked(tmp_path / "runs").run.info.status == "FAILED"


def test_a_run_name_belongs_to_one_experiment(trained: Trained) -> None:
    name = f"run.name={trained.run.name}"
    sentence = refusal(trained.folder, "train", *TINY, name, "transform.kind=identity")
    assert f"The run {trained.run.name} was started with another experiment" in sentence
    assert "transform.kind" in sentence
    assert "choose another run.name, or start afresh with --fresh" in sentence


def test_a_tracking_server_that_does_not_answer_is_noticed_before_ray_starts(trained: Trained) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    root = trained.folder / "untracked"
    command = ndm(trained.folder, "train", *TINY, f"storage.root={root}", f"tracking.uri={address}", status=2)
    assert (
        command.errors
        == f"The tracking server {address} cannot be reached (Connection refused): start it, or correct tracking.uri.\n"
    )
    assert not (root / ".ray").exists()
