"""`ndm prepare`, `ndm evaluate` and `ndm sample`: what they add to a trained run, and what they refuse."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch
from commands import REPOSITORY, TINY, Command, Tracked, Trained, here, likelihood, refusal, uninterrupted
from PIL import Image

from ndm import presets
from ndm.data.prepare import prepare
from ndm.data.sources.rings import LAW
from ndm.evaluation.score import read, write
from ndm.runtime import loaded
from ndm.training import numerics

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("embedded_ray")]

RINGS = (
    "rings-ndm",
    "data.examples=2048",
    "training.examples=2560",
    "training.batch_size=256",
    "monitor.log_every=1280",
    "monitor.validate_every=2560",
    "monitor.checkpoint_every=2560",
    "samples.count=200",
    "monitor.validation_draws=1",
    "evaluation.draws=2",
    "evaluation.block=1000",
    "sampler.steps=10",
    "scaling.workers=1",
    "run.name=rings",
    "evaluation.estimators=[elbo,ode]",
    "evaluation.tolerance=1e-4",
)


def analysis(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A script of `analysis/`, run as a user does."""
    command = [sys.executable, str(REPOSITORY / "analysis" / script), *arguments]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(REPOSITORY / "platform"), str(REPOSITORY)])}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return uninterrupted(tmp_path_factory.getbasetemp())


def test_evaluate_adds_another_split_to_the_run(trained: Trained) -> None:
    command = here(trained.folder, "evaluate", trained.run.name, "evaluation.split=validation")
    table = likelihood(trained.run, "validation-elbo_cont_k4")
    assert table.column("id").to_pylist() == list(range(180))
    assert "180 of 180, each once (validation split)" in command.output
    tracked = Tracked(trained.root)
    bits = table.column("nats").to_numpy().mean() / (64 * np.log(2))
    ((step, value),) = tracked.history("validation/bpd_elbo_cont_k4")
    assert (step, value) == (0, pytest.approx(bits, rel=1e-12))
    assert f"{value:.4f} +- " in command.output
    assert tracked.run.info.status == "FINISHED"
    assert "likelihood/validation-elbo_cont_k4.parquet" in tracked.artifacts()


def test_what_was_scored_is_not_scored_again(trained: Trained) -> None:
    file = trained.run / "likelihood" / "test-elbo_cont_k4.parquet"
    written = file.stat().st_mtime_ns
    assert "of 180, each once (test split)" in here(trained.folder, "evaluate", *TINY).output
    assert file.stat().st_mtime_ns == written
    assert len(Tracked(trained.root).history("test/bpd_elbo_cont_k4")) == 1


@pytest.fixture(scope="module")
def scored(trained: Trained) -> tuple[Path, str]:
    """A checkpoint of the run scored by several estimators in one call, in blocks of 64 images."""
    checkpoint = sorted(trained.run.glob("checkpoints/[0-9]*"))[-1]
    names = "estimator=elbo,elbo_T20,elbo_cont_k4_adaptive,ode"
    command = here(trained.folder, "evaluate", str(checkpoint), names, "evaluation.block=64")
    return checkpoint, command.output


def table_at(checkpoint: Path, name: str) -> pa.Table:
    (file,) = checkpoint.parents[1].glob(f"likelihood/test-{name}-at-{int(checkpoint.name)}.parquet")
    return pq.read_table(file)


def test_a_checkpoint_is_scored_by_any_list_of_estimators(trained: Trained, scored: tuple[Path, str]) -> None:
    checkpoint, output = scored
    bits = {}
    tracked = Tracked(trained.root)
    for name in ("elbo_cont_k4", "elbo_T20", "elbo_cont_k4_adaptive", "ode_tn_k1_h1"):
        table = table_at(checkpoint, name)
        assert table.column("id").to_pylist() == list(range(180))
        assert set(table.column("estimator").to_pylist()) == {name}
        bits[name] = table.column("nats").to_numpy() / (64 * np.log(2))
        key = f"test/bpd_{name}_at_{int(checkpoint.name)}"
        assert tracked.history(key) == [(0, pytest.approx(bits[name].mean(), rel=1e-12))]
        assert f"{bits[name].mean():.4f} +- " in output
    newest = likelihood(trained.run, "test-elbo_cont_k4")
    np.testing.assert_allclose(bits["elbo_cont_k4"] * 64 * np.log(2), newest.column("nats").to_numpy(), rtol=1e-5)
    gap = (bits["elbo_cont_k4"] - bits["ode_tn_k1_h1"]).mean()
    assert f"{gap:+.4f} +- " in output
    ((_, nfe),) = tracked.history(f"test/bpd_ode_tn_k1_h1_at_{int(checkpoint.name)}_nfe")
    assert nfe == table_at(checkpoint, "ode_tn_k1_h1").column("evaluations").to_numpy().mean()
    assert not list(trained.run.glob("likelihood/blocks/*"))
    again = here(trained.folder, "evaluate", str(checkpoint), "estimator=elbo_cont_k4_adaptive", "evaluation.block=64")
    assert "fitting" in output
    assert "fitting" not in again.output
    assert "scoring" not in again.output


def test_a_task_that_scores_or_draws_is_without_tf32(trained: Trained) -> None:
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    experiment = presets.load(TINY[0], TINY[1:]).canonical_json()
    where = loaded.Where(trained.run / "checkpoints", None, experiment, trained.root / "data" / "digits-1")
    try:
        numerics.set_process("tf32")
        assert loaded.load.__wrapped__(where).position == 5120
        assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32) == (False, False)
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def test_an_evaluation_that_is_killed_goes_on_with_the_blocks_that_are_left(trained: Trained) -> None:
    name = "elbo_cont_k300"
    arguments = (trained.run.name, f"estimator={name}", "split=validation", "evaluation.block=20")

    def blocks() -> list[Path]:
        return sorted(trained.run.glob("likelihood/blocks/*/*.parquet"))

    with Command(trained.folder, "evaluate", *arguments) as command:
        command.until(lambda: len(blocks()) >= 2)
        command.kill()
    kept = blocks()
    assert 2 <= len(kept) < 9
    marked = set[int]()
    for path in kept:  # what is used again can then be told from what is made again
        table, about = read(path)
        marked |= set(table.column("id").to_pylist())
        for column in ("nats", "prior"):
            raised = pc.add(table.column(column), 1000.0)
            table = table.set_column(table.column_names.index(column), column, raised)
        write(table, path, about)
    here(trained.folder, "evaluate", *arguments)
    rows = likelihood(trained.run, f"validation-{name}").select(["id", "nats"]).to_pylist()
    assert [row["id"] for row in rows] == list(range(180))
    assert {row["id"] for row in rows if row["nats"] > 1000} == marked
    assert not blocks()


@pytest.mark.parametrize(
    ("overrides", "words"),
    {
        ("estimator=ode_point_exact",): ["ode_point_exact is not for data of levels", "tn, uniform"],
        ("split=testing",): ["evaluation.split=testing", "train, validation or test"],
        ("estimator=ode", "tolerance=0.5"): ["ode_tn_k1_h1 is not reported", "evaluation.tolerance="],
    }.items(),
    ids=str,
)
def test_what_cannot_be_scored_is_a_sentence(trained: Trained, overrides: tuple[str, ...], words: list[str]) -> None:
    sentence = refusal(trained.folder, "evaluate", trained.run.name, *overrides)
    assert all(word in sentence for word in words), sentence


def test_sample_draws_with_another_sampler(trained: Trained) -> None:
    command = here(trained.folder, "sample", trained.run.name, "sampler=ode", "count=9")
    (archive,) = trained.run.glob("samples/ode-*.npz")
    assert np.load(archive)["samples"].shape == (9, 1, 8, 8)
    picture = archive.with_suffix(".png")
    Image.open(picture).verify()
    assert str(picture.relative_to(trained.folder)) in command.output
    tracked = Tracked(trained.root)
    assert {f"samples/{archive.name}", f"samples/{picture.name}"} <= set(tracked.artifacts())
    assert "sliced Wasserstein" not in command.output
    assert not [key for key in tracked.run.data.metrics if key.startswith("samples/ode")]


def test_sample_compares_in_the_features_that_are_asked_for(trained: Trained) -> None:
    asked = ["sampler=heun", "steps=2", "count=300", "samples.extractor=random"]
    command = here(trained.folder, "sample", trained.run.name, *asked, "evaluation.block=100", "evaluation.batch=100")
    assert "drawing samples: 300 of 300" in command.output
    (archive,) = trained.run.glob("samples/heun-steps2-*.npz")
    assert np.load(archive)["samples"].shape == (300, 1, 8, 8)
    tracked = Tracked(trained.root)
    for metric, label in (("sliced_wasserstein_pixels", "sliced Wasserstein"), ("fid_random", "FID")):
        key = f"samples/heun_nfe4_n300_train1437/{metric}"
        ((_, value),), ((_, error),) = tracked.history(key), tracked.history(f"{key}_se")
        assert re.search(rf"^ +{label} +{re.escape(f'{value:.4f} +- {error:.4f}')} \(", command.output, re.MULTILINE)


def test_inception_without_its_weights_is_refused_before_anything_is_drawn(trained: Trained) -> None:
    asked = ["sampler=euler", "samples.extractor=inception", "samples.weights=missing.pth"]
    assert "weights-inception-2015-12-05" in refusal(trained.folder, "sample", trained.run.name, *asked)
    assert not list(trained.run.glob("samples/euler-*"))
    assert "weights-inception-2015-12-05" in refusal(trained.folder, "train", *TINY, "seed=1", asked[1])
    assert len(list(trained.root.glob("*/checkpoints"))) == 1


@pytest.mark.parametrize("verb", ["evaluate", "sample"])
def test_an_unknown_run_is_named(trained: Trained, verb: str) -> None:
    assert "There is no run" in refusal(trained.folder, verb, *TINY, "seed=1")


def test_a_trained_run_stays_what_it_is(trained: Trained) -> None:
    sentence = refusal(trained.folder, "evaluate", trained.run.name, "network.width=65")
    assert "another experiment than the run" in sentence
    assert "evaluation, sampler, samples" in sentence


def test_prepare_repeats_nothing_and_repairs_everything(tmp_path: Path) -> None:
    first = here(tmp_path, "prepare", "digits-tiny").output
    folder = tmp_path / "runs" / "data" / "digits-1"
    shards = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.glob("*.parquet")}
    assert len(shards) == 8
    assert here(tmp_path, "prepare", "digits-tiny").output.splitlines()[-8:] == first.splitlines()[-8:]
    assert all(path.stat().st_mtime_ns == written for path, (_, written) in shards.items())
    missing, damaged, *whole = sorted(shards)
    missing.unlink()
    flip(damaged)
    here(tmp_path, "prepare", "digits-tiny")
    assert all(path.read_bytes() == content for path, (content, _) in shards.items())
    assert all(path.stat().st_mtime_ns == shards[path][1] for path in whole)


def test_a_damaged_shard_stops_the_training_by_name_and_the_remedy_works(tmp_path: Path) -> None:
    root, run = tmp_path / "runs", tmp_path / "runs" / "rings"
    prepare(presets.load(RINGS[0], RINGS[1:]).data, root / "data")
    flip(root / "data" / "rings-1-2048" / "train-00000.parquet")
    early, sentence = refusal(tmp_path, "train", *RINGS, "data.verify=full"), refusal(tmp_path, "train", *RINGS)
    for said in (early, sentence):
        assert "The shard train-00000.parquet of the data set rings-1-2048 is damaged" in said
        assert "prepare it again with: ndm prepare" in said
    assert Tracked(root).run.info.status == "FAILED"
    failed = (run / "spool.jsonl").read_bytes()

    here(tmp_path, "prepare", *RINGS)
    here(tmp_path, "train", *RINGS, "--fresh")
    assert (root / "rings.old1" / "spool.jsonl").read_bytes() == failed
    assert sorted(run.info.status for run in Tracked(root).runs) == ["FAILED", "FINISHED"]
    results = json.loads((run / "results.json").read_text())
    assert results["likelihood"]["scores"][0]["images"] == 2000
    drawn = [run / "figures" / name for name in ("transform.png", "trajectories.png")]
    assert [str(path.relative_to(tmp_path)) for path in drawn] == results["samples"]["figures"]
    for picture in drawn:
        assert len(set(Image.open(picture).convert("L").tobytes())) > 50
    (logged,) = (run for run in Tracked(root).runs if run.info.status == "FINISHED")
    artifacts = Tracked(root).client.list_artifacts(logged.info.run_id, "figures")
    assert {entry.path for entry in artifacts} == {f"figures/{path.name}" for path in drawn}
    table = likelihood(run, "test-ode_point_exact")
    assert table.column("id").to_pylist() == list(range(2000))

    # The density of this data is known, so that the model's can be compared with it.
    found = analysis("density.py", "rings", "--root", str(root))
    truth = LAW.log_density(LAW.draw(2000, "test").raw)
    assert f"true cross-entropy {-truth.mean():.4f} +- {truth.std(ddof=1) / np.sqrt(2000):.4f} nats" in found.stdout
    assert f"ode_point_exact    {(table.column('nats').to_numpy() + truth).mean():+.4f} +- " in found.stdout


def flip(file: Path) -> None:
    """Another bit in the middle of a file, whose size stays."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def test_the_page_of_results_is_what_the_tables_say(trained: Trained) -> None:
    here(trained.folder, "evaluate", trained.run.name, "estimator=elbo,ode")
    page = analysis("results.py", "--root", str(trained.root)).stdout
    bound, ode = (likelihood(trained.run, f"test-{name}") for name in ("elbo_cont_k4", "ode_tn_k1_h1"))
    bits = {name: table.column("nats").to_numpy() / (64 * np.log(2)) for name, table in (("elbo", bound), ("ode", ode))}
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines() if line.startswith("| ")]
    lines = [row for row in rows if row[0] == trained.run.name]
    assert lines[0][1] == "elbo_cont_k4"
    (row,) = (line for line in lines if line[1] == "ode_tn_k1_h1" and len(line) == 8)
    assert row[2] == f"{bits['ode'].mean():.4f} ± {bits['ode'].std(ddof=1) / np.sqrt(180):.4f}"
    assert row[4].startswith(f"{(bits['elbo'] - bits['ode']).mean():+.4f} ± ")
    assert row[5] == f"{ode.column('evaluations').to_numpy().mean():.1f}"
    assert f"- {trained.run.name}: `ndm train digits-tiny " in page
    assert "## digits 1" in page


def test_a_report_is_a_page_in_the_runs_folder_and_in_mlflow(trained: Trained, tmp_path: Path) -> None:
    said = here(trained.folder, "report", trained.run.name, "--quick").output
    page, tracked = trained.run / "report.html", Tracked(trained.root)
    assert said.endswith(f"Report: {page}\n")
    assert tracked.download("report.html", tmp_path) == page.read_bytes()
    ((_, bits),) = tracked.history("test/bpd_elbo_cont_k4")
    assert f"<b>{bits:.4f} ± " in page.read_text()
    assert tracked.run.data.tags["git.commit"] in page.read_text()
    logged = {path for path in tracked.artifacts() if path.startswith("figures/")}
    assert logged == {f"figures/{path.name}" for path in trained.run.glob("figures/*")}


def test_densities_are_compared_only_where_the_true_one_is_known(trained: Trained) -> None:
    found = analysis("density.py", trained.run.name, "--root", str(trained.root))
    assert found.returncode == 2
    assert found.stderr.count("\n") == 1
    assert "data.kind=rings" in found.stderr
