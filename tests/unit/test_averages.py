"""A run's model with weights averaged over a width that is chosen after the training: found, named, or refused."""

import logging
import shutil

import pytest
import torch

from ndm import presets
from ndm.build import build_objective, build_state
from ndm.config import Experiment
from ndm.data.manifest import Manifest
from ndm.data.prepare import prepare
from ndm.errors import UserError
from ndm.evaluation import trained
from ndm.evaluation.averages import suffix
from ndm.runs import RunFolder
from ndm.training import checkpoint

STEPS, EVERY, BATCH = 256, 16, 128
SMALL = (
    "data.examples=1024",
    "network={width: 8, depth: 1}",
    "transform.network={width: 8, depth: 1}",
    "monitor={ema_widths: [0.05, 0.08, 0.1], log_every: 6400}",
)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> tuple[RunFolder, Experiment, Manifest]:
    """Weights that walk at random for 256 steps of 128 examples, snapshots of 0.05 and 0.1; 0.08 only at the end."""
    root = tmp_path_factory.mktemp("averages")
    experiment = presets.load("rings-ndm", SMALL)
    manifest = Manifest.read(prepare(experiment.data, root / "data"))
    folder = RunFolder(root / "run")
    state = build_state(experiment, build_objective(experiment, manifest.shape, manifest.levels))
    meta = {"experiment": experiment.digest(), "data": manifest.hash}
    generator = torch.Generator().manual_seed(1)
    for step in range(1, STEPS + 1):
        with torch.no_grad():
            for weight in state.objective.parameters():
                weight += 0.05 * torch.randn(weight.shape, generator=generator)
        state.profiles.update(state.objective, step)
        state.ema.update(state.objective, step)
        if step % EVERY == 0:
            kept = {name: part for name, part in state.profiles.tensors().items() if name != "ema_0.080"}
            checkpoint.write(checkpoint.snapshots(folder.checkpoints), step * BATCH, kept, meta, keep=None)
        if step in (STEPS // 2, STEPS):
            parts = {name: part for name, part in state.tensors().items() if step == STEPS or name != "ema_0.080"}
            checkpoint.write(folder.checkpoints, step * BATCH, parts, meta, keep=2)
    folder.write("direct", {name: value.tolist() for name, value in state.profiles.averages[0.08].items()})
    return folder, experiment, manifest


def with_width(experiment: Experiment, width: float | None) -> Experiment:
    return presets.override(experiment.model_dump(mode="json"), [f"evaluation.ema={width or 'null'}"])


def without_the_direct(run) -> RunFolder:
    """The same folder with the width 0.08 taken out of the last checkpoint, beside it."""
    folder, *_ = run
    other = RunFolder(folder.path.parent / "other")
    if not other.path.exists():
        other.checkpoints.mkdir(parents=True)
        (other.checkpoints / "snapshots").symlink_to(checkpoint.snapshots(folder.checkpoints))
        found = checkpoint.latest(folder.checkpoints)
        parts = {name: part for name, part in found.tensors.items() if name != "ema_0.080"}
        checkpoint.write(other.checkpoints, found.position, parts, found.meta, keep=2)
    return other


def distance(objective, direct) -> float:
    """The largest difference of any parameter; they have walked about 0.8 = 0.05 sqrt(256) from where they were."""
    parameters = dict(objective.named_parameters())
    return max(float((parameters[name] - torch.tensor(value)).abs().max()) for name, value in direct.items())


def test_the_constant_decay_is_used_unless_a_width_is_asked_for(run):
    folder, experiment, manifest = run
    found = trained.load(folder.checkpoints, experiment, manifest)
    assert found.made == {}
    stored = checkpoint.latest(folder.checkpoints).tensors["ema"]
    assert all(torch.equal(value, stored[name]) for name, value in found.objective.state_dict().items())


def test_a_width_in_the_checkpoint_is_that_average(run):
    folder, experiment, manifest = run
    found = trained.load(folder.checkpoints, with_width(experiment, 0.08), manifest)
    assert distance(found.objective, folder.read("direct")) < 1e-5
    assert found.made["ema"] == {"width": 0.08, "averages": 2 * 15 + 3, "error": pytest.approx(0, abs=1e-6)}


def test_a_width_between_is_made_of_the_snapshots(run):
    folder, experiment, manifest = run
    direct = folder.read("direct")
    found = trained.load(without_the_direct(run).checkpoints, with_width(experiment, 0.08), manifest)
    assert distance(found.objective, direct) < 1e-3
    assert found.made["ema"] == {"width": 0.08, "averages": 2 * 16, "error": pytest.approx(3e-3, rel=0.2)}
    assert found.position == STEPS * BATCH
    usual = trained.load(folder.checkpoints, experiment, manifest)
    assert distance(usual.objective, direct) > 0.02


def test_an_earlier_checkpoint_uses_only_what_was_before_it(run):
    folder, experiment, manifest = run
    name = f"{STEPS // 2 * BATCH:012d}"
    found = trained.load(folder.checkpoints, with_width(experiment, 0.08), manifest, name)
    assert found.position == STEPS // 2 * BATCH
    assert found.made["ema"]["averages"] == 2 * 8
    assert distance(found.objective, folder.read("direct")) > 0.1


def test_a_broken_snapshot_is_passed_over_and_the_record_says_how_many_were_used(run, tmp_path, caplog):
    folder, experiment, manifest = run
    other = RunFolder(tmp_path / "broken")
    shutil.copytree(folder.checkpoints, other.checkpoints)
    kept = other.checkpoints / "snapshots"
    (kept / f"{EVERY * BATCH:012d}" / "ema_0.050.safetensors").write_bytes(b"no longer what it was")
    with caplog.at_level(logging.WARNING):
        found = trained.load(other.checkpoints, with_width(experiment, 0.07), manifest)
    assert found.made["ema"]["averages"] == 2 * 14 + 3
    assert f"snapshot 000000002048 in {kept} is passed over: ema_0.050.safetensors is not what" in caplog.text


def test_what_cannot_be_had_is_one_sentence(run, tmp_path):
    folder, experiment, manifest = run
    with pytest.raises(UserError, match=r"evaluation\.ema=0\.01 cannot be made of the 33 averages .* miss .* by \d+%"):
        trained.load(folder.checkpoints, with_width(experiment, 0.01), manifest)
    bare = RunFolder(tmp_path / "bare")
    found = checkpoint.latest(folder.checkpoints)
    parts = {name: found.tensors[name] for name in ("model", "ema", "optimizer")}
    checkpoint.write(bare.checkpoints, found.position, parts, found.meta, keep=2)
    with pytest.raises(UserError, match=r"^There are no averages in \S+ that evaluation\.ema=0\.08 could be made"):
        trained.load(bare.checkpoints, with_width(experiment, 0.08), manifest)


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("evaluation.ema=0.08", "give monitor.ema_widths there"),
        ("monitor.snapshot_every=6400", "has no averages to keep"),
        ("monitor.ema_widths=[0.05,0.0501]", "must differ in their first three decimals"),
        ("monitor.ema_widths=[0.5]", "monitor.ema_widths"),
        ("monitor={ema_widths: [0.05], snapshot_every: 100}", "must be a multiple of log_every"),
    ],
)
def test_settings_that_do_not_fit_are_one_sentence(override, sentence):
    with pytest.raises(UserError, match=sentence):
        presets.load("digits-tiny", [override])


def test_names_say_which_average_it_is():
    assert suffix(None) == ""
    assert suffix(0.08) == "-ema0.080"
