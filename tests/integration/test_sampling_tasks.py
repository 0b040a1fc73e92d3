"""Samples over Ray tasks: the same bits in any blocks on any number of workers, and what their comparison records."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import records

from ndm import presets
from ndm.build import build_objective, build_state
from ndm.data.manifest import Manifest
from ndm.data.prepare import prepare
from ndm.data.shards import read_rows
from ndm.errors import UserError
from ndm.evaluation import trained
from ndm.evaluation.sample import draw
from ndm.quality.report import distances
from ndm.runs import RunFolder
from ndm.runtime.draw import Drawn, draw_samples
from ndm.runtime.sample import sample
from ndm.runtime.workspace import Workspace
from ndm.terminal import Terminal
from ndm.tracking.spool import Spool
from ndm.training import checkpoint

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("embedded_ray")]

SMALL = (
    "data.examples=1024",
    "network={width: 8, depth: 1}",
    "transform.network={width: 8, depth: 1}",
    "samples.count=50",
    "evaluation.batch=8",
)
FAST = "sampler={kind: euler, steps: 3}"

Open = Callable[..., Workspace]


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Open:
    """A run on rings with random weights, never trained; opened with overrides of how it is sampled."""
    root = tmp_path_factory.mktemp("draw") / "runs"
    experiment = presets.load("rings-ndm", SMALL)
    data = prepare(experiment.data, root / "data")
    manifest, folder = Manifest.read(data), RunFolder(root / experiment.run_name())
    objective = build_objective(experiment, manifest.shape, manifest.levels)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in objective.parameters():
            weight += 0.2 * torch.randn(weight.shape, generator=generator)
    meta = {"experiment": experiment.digest(), "data": manifest.hash}
    checkpoint.write(folder.checkpoints, 256, build_state(experiment, objective).tensors(), meta, 2)

    def workspace(*overrides: str, run: RunFolder = folder) -> Workspace:
        asked = presets.load("rings-ndm", [*SMALL, *overrides])
        return Workspace(asked, root, run, data, manifest, Terminal())

    return workspace


def drawn(workspace: Workspace) -> tuple[Drawn, list[tuple[int, int]]]:
    calls: list[tuple[int, int]] = []
    found = draw_samples(workspace, lambda done, count: calls.append((done, count)))
    return found, calls


@pytest.mark.parametrize("sampler", ["{kind: ancestral, steps: 3}", "{kind: ode}"])
def test_samples_have_the_same_bits_in_any_blocks_and_on_any_workers(opened: Open, sampler: str) -> None:
    kind = f"sampler={sampler}"
    whole, calls = drawn(opened(kind, "evaluation.block=1000"))  # one task, so one worker
    assert calls == [(50, 50)]
    for block, tasks in ((8, 7), (20, 3)):  # 20 is rounded up to 24
        found, calls = drawn(opened(kind, f"evaluation.block={block}"))
        assert torch.equal(found.raw, whole.raw)
        assert found[1:] == whole[1:]
        assert len(calls) == tasks
        assert calls[-1] == (50, 50)
    here = opened(kind)
    objective, position, _ = trained.load(here.home, here.experiment, here.manifest)
    raw, evaluations = draw(here.experiment.sampler.build(None), objective.model, 50, seed=0, batch=8)
    assert torch.equal(whole.raw, raw)
    assert whole[1:] == (evaluations, position)
    assert len(whole.raw.unique(dim=0)) == 50


def test_fewer_samples_are_the_first_ones(opened: Open) -> None:
    more, _ = drawn(opened(FAST))
    fewer, _ = drawn(opened(FAST, "samples.count=16"))
    assert torch.equal(fewer.raw, more.raw[:16])


def recorded(workspace: Workspace, folder: Path) -> dict:
    """The result of `sample`, with everything it writes in a run's folder of its own."""
    run = RunFolder(workspace.root / folder.name)
    checkpoints = workspace.folder.checkpoints
    run.path.mkdir()
    run.checkpoints.symlink_to(checkpoints)
    spool = Spool(run.path)
    try:
        there = Workspace(
            workspace.experiment, workspace.root, run, workspace.data, workspace.manifest, workspace.terminal
        )
        return sample(there, spool)
    finally:
        spool.close()


def test_the_distances_are_recorded_under_what_they_are_of(opened: Open, tmp_path: Path) -> None:
    workspace = opened(FAST, "samples.reference=test", "samples.reference_images=null", "evaluation.seed=3")
    result = recorded(workspace, tmp_path)
    run, name = workspace.root / tmp_path.name, "samples/euler_nfe3_n50_test2000"
    found = result["quality"]
    assert (found["metrics"], found["split"], found["images"]) == (name, "test", 2000)
    samples = torch.from_numpy(np.load(workspace.root.parent / result["archive"])["samples"])
    reference = torch.from_numpy(read_rows(workspace.data, workspace.manifest, "test", 0, 2000).raw)
    expected = distances(samples, reference, levels=0, seed=3)
    assert set(found["distances"]) == set(expected) - {"samples", "reference"}
    for metric, values in found["distances"].items():
        assert values == pytest.approx(expected[metric]._asdict(), rel=1e-12)
        assert records(run, f"{name}/{metric}") == [(0, values["value"])]
        assert records(run, f"{name}/{metric}_se") == [(0, values["error"])]


def test_features_are_added_and_a_part_of_the_reference_is_taken_at_random(opened: Open, tmp_path: Path) -> None:
    asked = ["samples.extractor=pixels", "samples.reference_images=300", "sampler={kind: sde, eta: 0.5, steps: 2}"]
    found = recorded(opened(*asked), tmp_path)["quality"]
    assert found["metrics"] == "samples/sde_eta0.5_nfe2_n50_train300"
    assert {"fid_pixels", "kid_pixels", "precision_pixels", "recall_pixels"} < found["distances"].keys()


@pytest.mark.parametrize("override", ["samples.count=29", "samples.quality=false"])
def test_few_samples_and_those_who_do_not_ask_have_no_distances(opened: Open, tmp_path: Path, override: str) -> None:
    workspace = opened(FAST, override)
    result = recorded(workspace, tmp_path)
    assert result["quality"] is None
    assert '"metrics"' not in (workspace.root / tmp_path.name / "spool.jsonl").read_text()
    assert (workspace.root.parent / result["picture"]).is_file()


@pytest.mark.parametrize("extractor", ["random", "inception"])
def test_features_that_cannot_be_had_are_refused_before_anything_is_drawn(
    opened: Open, tmp_path: Path, extractor: str
) -> None:
    workspace = opened(FAST, f"samples.extractor={extractor}")
    with pytest.raises(UserError, match=r"use (the extractor )?pixels\."):
        recorded(workspace, tmp_path)
    assert not (workspace.root / tmp_path.name / "samples").exists()


def test_samples_of_a_model_that_diverged_are_kept_and_not_compared(
    opened: Open, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace = opened(FAST)
    found = checkpoint.latest(workspace.folder.checkpoints)
    assert found is not None
    diverged = {
        part: {name: tensor * torch.nan if tensor.is_floating_point() else tensor for name, tensor in named.items()}
        for part, named in found.tensors.items()
    }
    run = RunFolder(workspace.root / "diverged")
    checkpoint.write(run.checkpoints, 256, diverged, found.meta, 2)
    result = recorded(opened(FAST, run=run), tmp_path)
    assert result["quality"] is None
    assert "a model that diverged cannot be compared" in capsys.readouterr().err
    assert np.isnan(np.load(workspace.root.parent / result["archive"])["samples"]).any()
