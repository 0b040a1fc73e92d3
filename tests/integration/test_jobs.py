"""`ndm prepare`, `ndm evaluate` and `ndm sample`: what they add to a trained run, and what they refuse."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from commands import TINY, Tracked, Trained, likelihood, ndm, refusal, uninterrupted
from PIL import Image

from ndm import presets
from ndm.data.prepare import prepare

pytestmark = pytest.mark.ray

RINGS = (
    "rings-ndm",
    "data.examples=2048",
    "training.examples=2560",
    "monitor.log_every=1280",
    "monitor.validate_every=2560",
    "monitor.checkpoint_every=2560",
    "monitor.samples=200",
    "monitor.validation_draws=1",
    "evaluation.draws=2",
    "evaluation.block=1000",
    "sampler.steps=10",
    "scaling.workers=1",
    "run.name=rings",
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return uninterrupted(tmp_path_factory.getbasetemp())


def test_evaluate_adds_another_split_to_the_run(trained: Trained) -> None:
    command = ndm(trained.folder, "evaluate", trained.run.name, "evaluation.split=validation")
    table = likelihood(trained.run, "validation")
    assert table.column("id").to_pylist() == list(range(180))
    assert "180 of 180, each once (validation split)" in command.output
    tracked = Tracked(trained.root)
    bits = table.column("nats").to_numpy().mean() / (64 * np.log(2))
    ((step, value),) = tracked.history("validation/bpd_elbo_cont_k4")
    assert (step, value) == (0, pytest.approx(bits, rel=1e-12))
    assert f"{value:.4f} +- " in command.output
    assert tracked.run.info.status == "FINISHED"
    assert "likelihood/validation-elbo_cont_k4.parquet" in tracked.artifacts()


def test_evaluate_by_the_experiment_scores_the_same_images_the_same(trained: Trained) -> None:
    (file,) = trained.run.glob("likelihood/test-*.parquet")
    before, written = likelihood(trained.run), file.stat().st_mtime_ns
    # Blocks and batches are no part of the result, by design; float32 sums in other batches are.
    ndm(trained.folder, "evaluate", *TINY, "evaluation.block=64")
    after = likelihood(trained.run)
    assert file.stat().st_mtime_ns > written
    np.testing.assert_allclose(after.column("nats").to_numpy(), before.column("nats").to_numpy(), rtol=1e-5)
    assert len(Tracked(trained.root).history("test/bpd_elbo_cont_k4")) == 1


def test_sample_draws_with_another_sampler(trained: Trained) -> None:
    command = ndm(trained.folder, "sample", trained.run.name, "sampler.kind=ode", "monitor.samples=9")
    (archive,) = trained.run.glob("samples/ode-*.npz")
    assert np.load(archive)["samples"].shape == (9, 1, 8, 8)
    picture = archive.with_suffix(".png")
    Image.open(picture).verify()
    assert str(picture.relative_to(trained.folder)) in command.output
    assert {f"samples/{archive.name}", f"samples/{picture.name}"} <= set(Tracked(trained.root).artifacts())


@pytest.mark.parametrize("verb", ["evaluate", "sample"])
def test_an_unknown_run_is_named(trained: Trained, verb: str) -> None:
    assert "There is no run" in refusal(trained.folder, verb, *TINY, "seed=1")


def test_a_trained_run_stays_what_it_is(trained: Trained) -> None:
    sentence = refusal(trained.folder, "evaluate", trained.run.name, "network.width=65")
    assert "another experiment than the run" in sentence
    assert "evaluation, sampler" in sentence


def test_prepare_repeats_nothing_and_repairs_everything(tmp_path: Path) -> None:
    first = ndm(tmp_path, "prepare", "digits-tiny").output
    folder = tmp_path / "runs" / "data" / "digits-1"
    shards = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.glob("*.parquet")}
    assert len(shards) == 8
    assert ndm(tmp_path, "prepare", "digits-tiny").output.splitlines()[-8:] == first.splitlines()[-8:]
    assert all(path.stat().st_mtime_ns == written for path, (_, written) in shards.items())
    missing, damaged, *whole = sorted(shards)
    missing.unlink()
    flip(damaged)
    ndm(tmp_path, "prepare", "digits-tiny")
    assert all(path.read_bytes() == content for path, (content, _) in shards.items())
    assert all(path.stat().st_mtime_ns == shards[path][1] for path in whole)


def test_a_damaged_shard_stops_the_training_by_name_and_the_remedy_works(tmp_path: Path) -> None:
    root, run = tmp_path / "runs", tmp_path / "runs" / "rings"
    prepare(presets.load(RINGS[0], RINGS[1:]).data, root / "data")
    flip(root / "data" / "rings-1-2048" / "train-00000.parquet")
    sentence = refusal(tmp_path, "train", *RINGS)
    assert "The shard train-00000.parquet of the data set rings-1-2048 is damaged" in sentence
    assert "prepare it again with: ndm prepare" in sentence
    assert Tracked(root).run.info.status == "FAILED"
    failed = (run / "spool.jsonl").read_bytes()

    ndm(tmp_path, "prepare", *RINGS)
    ndm(tmp_path, "train", *RINGS, "--fresh")
    assert (root / "rings.old1" / "spool.jsonl").read_bytes() == failed
    assert sorted(run.info.status for run in Tracked(root).runs) == ["FAILED", "FINISHED"]
    results = json.loads((run / "results.json").read_text())
    assert results["likelihood"]["images"] == 2000
    drawn = [run / "figures" / name for name in ("transform.png", "trajectories.png")]
    assert [str(path.relative_to(tmp_path)) for path in drawn] == results["samples"]["figures"]
    for picture in drawn:
        assert len(set(Image.open(picture).convert("L").tobytes())) > 50
    (logged,) = (run for run in Tracked(root).runs if run.info.status == "FINISHED")
    artifacts = Tracked(root).client.list_artifacts(logged.info.run_id, "figures")
    assert {entry.path for entry in artifacts} == {f"figures/{path.name}" for path in drawn}
    assert pq.read_table(next(run.glob("likelihood/*.parquet"))).column("id").to_pylist() == list(range(2000))


def flip(file: Path) -> None:
    """Another bit in the middle of a file, whose size stays."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
