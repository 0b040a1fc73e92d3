"""Figures of what was measured: their numbers are those of the estimators, distances and records that they name."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from analysis.figures import (
    bound_by_steps,
    galleries,
    learning_curves,
    nearest,
    quality_by_nfe,
    samples_over_training,
    solver,
)
from analysis.picture import Picture
from analysis.run import Run
from analysis.seeds import band, repeated
from analysis.tiles import tiled
from scipy.spatial.distance import cdist
from tiny_run import SMALL, tiny_run

from ndm import presets
from ndm.errors import UserError
from ndm.evaluation import figures
from ndm.evaluation.cost import cost_of
from ndm.likelihood.importance import Settings, ode_nats
from ndm.likelihood.statistics import bits_per_dim, mean, paired
from ndm.quality.report import distances
from ndm.quality.subsets import shuffled
from ndm.runs import RunFolder
from ndm.tracking.spool import Spool

DRIFT = ("head.kind=drift", "sampler={kind: sde, steps: 4}")


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def digits(root) -> Run:
    return tiny_run(root, "digits-tiny", *SMALL)


@pytest.fixture(scope="module")
def other(root) -> Run:
    return tiny_run(root, "digits-tiny", *SMALL, "run.name=other", trained=8)


@pytest.fixture(scope="module")
def rings(root) -> Run:
    return tiny_run(root, "rings-ndm", *SMALL, "data.examples=400")


@pytest.fixture(scope="module")
def drift(root) -> Run:
    return tiny_run(root, "digits-tiny", *SMALL, *DRIFT)


def recorded(root: Path, *overrides: str, curves: Mapping[str, Mapping[int, float]]) -> Run:
    """A run of digits-tiny that recorded these metrics: values by examples seen."""
    experiment = presets.load("digits-tiny", list(overrides))
    folder = RunFolder(root / experiment.run_name())
    folder.write("experiment", experiment.model_dump(mode="json"))
    spool = Spool(folder.path)
    for key, points in curves.items():
        for at, value in points.items():
            spool.metrics(at, {key: value})
    return Run(folder, folder.experiment())


# Nearest training images


@pytest.mark.parametrize("block", [100, 1437, 5000])
def test_nearest_images_are_those_of_all_distances(digits, block) -> None:
    points, train = digits.rows("test", 0, 20), digits.rows("train", 0, 10**6)
    assert len(train) == 1437
    every = cdist(points.flatten(1).numpy() / 16, train.flatten(1).numpy() / 16)
    found = nearest.nearest(digits, points, block=block, neighbours=4)
    np.testing.assert_allclose(found.distances, np.sort(every)[:, :4], atol=1e-12)
    np.testing.assert_allclose(np.take_along_axis(every, found.rows.numpy(), 1), found.distances, atol=1e-12)


def test_planted_copies_are_found_where_they_are(digits) -> None:
    copies = torch.cat([digits.rows("train", i, i + 1) for i in (3, 700, 1436)])
    found = nearest.nearest(digits, copies, block=128)
    assert found.rows[:, 0].tolist() == [3, 700, 1436]
    assert found.distances[:, 0].tolist() == [0, 0, 0]
    assert nearest.nearest(digits, copies, most=701).rows[:2, 0].tolist() == [3, 700]
    assert float(nearest.nearest(digits, copies, most=1436).distances[2, 0]) > 0.1


def test_points_of_the_plane_are_measured_as_they_are(rings) -> None:
    points = torch.tensor([[0.0, 0.0], [2.0, -1.0]])
    every = cdist(points.numpy(), rings.rows("train", 0, 10**6).numpy())
    found = nearest.nearest(rings, points, neighbours=1)
    np.testing.assert_allclose(found.distances[:, 0], every.min(1), rtol=1e-6)
    assert found.rows[:, 0].tolist() == every.argmin(1).tolist()


def test_the_nearest_samples_are_shown_with_their_neighbours(digits) -> None:
    picture = nearest.draw(digits, count=3, samples=10, seed=5)
    assert picture is not None
    left, right = picture.figure.axes
    samples = digits.model.sample(10, seed=5)
    every = cdist(samples.flatten(1).numpy() / 16, digits.rows("train", 0, 1437).flatten(1).numpy() / 16)
    order = every.min(1).argsort(kind="stable")[:3]
    expected = [samples[order], *(digits.rows("train", 0, 1437)[np.argsort(every[order])[:, k]] for k in range(3))]
    np.testing.assert_array_equal(left.images[0].get_array(), tiled(torch.stack(expected), 17))
    assert [text.get_text() for text in left.get_xticklabels()] == [f"{every[i].min():.2f}" for i in order]
    np.testing.assert_allclose(right.lines[0].get_xdata()[1:], np.sort(every.min(1)), atol=1e-12)
    assert "all 1437 training examples" in picture.caption
    few = nearest.draw(digits, samples=10, most=500)
    assert few is not None
    assert "the first 500 of 1437 (shuffled)" in few.caption


# Learning curves


def test_runs_that_differ_in_their_seed_alone_are_one_line(tmp_path) -> None:
    runs = [
        recorded(tmp_path, *overrides, curves={})
        for overrides in (
            ("seed=0",),
            ("optimizer.lr=2e-3",),
            ("seed=2",),
            ("seed=3", "monitor.log_every=2560"),
            ("seed=4", "evaluation.draws=7", "storage.root=elsewhere"),
        )
    ]
    assert [[run.experiment.seed for run in group.runs] for group in repeated(runs)] == [[0, 2, 4], [0], [3]]
    assert repeated(runs)[0].label.endswith(" (3 seeds)")
    assert repeated(runs[1:2])[0].label == "digits-tiny"


def test_a_band_is_of_the_examples_that_all_have(tmp_path) -> None:
    values = {0: {100: 5.0, 200: 4.0, 300: 3.5}, 1: {200: 3.0, 100: 6.0}, 2: {100: 5.5, 200: 4.5, 400: 1.0}}
    runs = [recorded(tmp_path, f"seed={seed}", curves={"train/bits_per_dim": v}) for seed, v in values.items()]
    table = np.array([[5.0, 4.0], [6.0, 3.0], [5.5, 4.5]])
    # The second run's value at 100 came after that at 200: a spool drops what is not new, so it has 200 alone.
    found = band(runs, "train/bits_per_dim")
    assert found is not None
    assert found.examples.tolist() == [200]
    np.testing.assert_array_equal(found.mean, table[:, 1:].mean(0))
    found = band(runs[::2], "train/bits_per_dim")
    assert found is not None
    assert found.examples.tolist() == [100, 200]
    for part, reduce in ((found.mean, np.mean), (found.low, np.min), (found.high, np.max)):
        np.testing.assert_array_equal(part, reduce(table[::2], axis=0))
    assert band(runs, "validation/bits_per_dim") is None
    assert band([runs[1], recorded(tmp_path, "seed=9", curves={})], "train/bits_per_dim") is None


def test_learning_curves_are_drawn_as_they_were_recorded(root, digits) -> None:
    curves = [{100: 5.0, 200: 4.0}, {100: 6.0, 200: 3.0}]
    runs = [
        recorded(root, f"seed={50 + i}", curves={"train/bits_per_dim": c, "validation/bits_per_dim": {200: 7.0 + i}})
        for i, c in enumerate(curves)
    ]
    for compute, unit in ((False, 1), (True, cost_of(runs[0].experiment).step_flops)):
        picture = learning_curves.draw(runs, compute=compute)
        assert picture is not None
        train, validation = picture.figure.axes
        assert train.lines[0].get_xdata().tolist() == [100 * unit, 200 * unit]
        assert train.lines[0].get_ydata().tolist() == [5.5, 3.5]
        assert validation.lines[0].get_ydata().tolist() == [7.5]
        corners = {tuple(corner) for corner in train.collections[0].get_paths()[0].vertices.tolist()}
        assert {(100 * unit, 5.0), (100 * unit, 6.0), (200 * unit, 3.0), (200 * unit, 4.0)} == corners
        assert "50, 51" in picture.caption
        assert picture.name == "learning-curves" + ("-by-compute" if compute else "")
    assert learning_curves.draw([digits]) is None


# Bounds by steps


def test_bounds_by_steps_are_those_of_the_estimators(digits, other) -> None:
    assert bound_by_steps.estimators((5, 8, 1000), 8) == ["elbo_T5", "elbo_T8", "elbo_T1000_k8", "elbo_cont_k8"]
    settings = {"images": 6, "draws": 3, "steps": (2, 5), "seed": 4}
    found = [bound_by_steps.bounds(run, **settings) for run in (digits, other)]
    raw = digits.rows("test", 0, 6)
    for row, name in zip(found[0], ("elbo_T2", "elbo_T5_k3", "elbo_cont_k3"), strict=True):
        assert torch.equal(row, digits.model.likelihood(raw, name, seed=4).bits_per_dim)
    picture = bound_by_steps.draw([digits, other], **settings)
    assert picture is not None
    levels, excess, over = picture.figure.axes
    expected = [[mean(b) for b in bits] for bits in found]
    differences = [paired(b, a) for a, b in zip(*found, strict=True)]
    assert_bars(levels.containers[0], expected[0])
    assert_bars(levels.containers[1], expected[1])
    assert_bars(excess.containers[1], [paired(b, found[1][-1]) for b in found[1][:-1]])
    assert_bars(over.containers[0], differences)
    assert "first 6 test images" in picture.caption


def assert_bars(container, means) -> None:
    """The marks and the ends of the bars are those of means with one standard error."""
    line, _, (bars,) = container
    np.testing.assert_allclose(np.array(line.get_ydata(), float), [m.value for m in means], rtol=1e-12)
    ends = np.array([segment[:, 1] for segment in bars.get_segments()])
    np.testing.assert_allclose(ends, [[m.value - m.error, m.value + m.error] for m in means], rtol=1e-12)


def test_a_drift_has_neither_a_discrete_bound_nor_an_ode(digits, drift) -> None:
    assert bound_by_steps.draw([drift], images=2, draws=1, steps=(2,)) is None
    assert solver.draw(drift) is None
    picture = bound_by_steps.draw([drift, digits], images=2, draws=1, steps=(2,))
    assert picture is not None
    assert f"Without {drift.name}" in picture.caption


# Quality by evaluations


def test_quality_is_that_of_the_samples_of_each_sampler(digits) -> None:
    found = quality_by_nfe.quality(digits, count=30, nfe=(2, 3), images=90, seed=6)
    reference = digits.rows("train", 0, 90)
    assert (found.reference, found.without) == (90, {})
    assert {name: list(by_nfe) for name, by_nfe in found.found.items()} == {
        name: [2] if "heun" in name else [2, 3] for name in quality_by_nfe.SAMPLERS
    }
    for name, sampler, nfe in (
        ("heun", {"kind": "heun", "steps": 1}, 2),
        ("exponential", {"kind": "exponential", "steps": 3}, 3),
        ("ancestral, η = 0 (DDIM)", {"kind": "ancestral", "steps": 3, "eta": 0.0}, 3),
    ):
        samples = digits.model.sample(30, seed=6, sampler=sampler)
        assert found.found[name][nfe] == distances(samples, reference, levels=17, seed=6)
    order = shuffled(90, 6, "real/2")
    assert found.real[2] == distances(reference[order[:30]], reference[order[30:]], levels=17, seed=6)


def test_samplers_that_are_not_for_a_model_are_left_out(drift) -> None:
    found = quality_by_nfe.quality(drift, count=30, nfe=(2,), images=60, seed=0)
    assert list(found.found) == ["sde", "stochastic_heun"]
    assert list(found.without) == [name for name in quality_by_nfe.SAMPLERS if name not in found.found]
    with pytest.raises(UserError) as caught:
        drift.model.sample(1, sampler="euler")
    assert found.without["euler"] == str(caught.value)
    picture = quality_by_nfe.draw(drift, count=30, nfe=(2,), images=60)
    assert picture is not None
    assert f"Left out are {', '.join(found.without)}: head.kind=drift needs sampler.kind=sde" in picture.caption


def test_a_sampler_that_fails_says_why_in_its_own_words(digits, monkeypatch) -> None:
    samplers = {"a": ({"kind": "heun", "step": 1}, 2), "b": ({"kind": "heun", "grid": "none"}, 2)}
    monkeypatch.setattr(quality_by_nfe, "SAMPLERS", samplers)
    found = quality_by_nfe.quality(digits, count=30, nfe=(2,), images=60, seed=0).without
    assert "sampler.step:" in found["a"]
    assert "sampler.grid=none" in found["b"]


# The solver


def test_the_reported_error_is_the_one_of_an_evaluation(rings) -> None:
    tolerances = (1e-1, 1e-3)  # a hundredth of the first is the second, and is solved once
    found = solver.calibration(rings, images=2, tolerances=tolerances, exact=1e-5, seed=2)
    model, x = rings.model.objective.model, rings.encoded("test", 1, 3)
    for i, tolerance in enumerate(tolerances):
        settings = Settings(way="point", probes=0, tolerance=tolerance, check=1)
        own = ode_nats(model, x, 1, seed=2, settings=settings)
        np.testing.assert_allclose(found.reported[i], own.error, atol=1e-5)
        np.testing.assert_allclose(found.true[i], own.nats - found.nats, atol=1e-5)
        assert found.evaluations[i].tolist() == own.evaluations.tolist()
    assert found.true[1].abs().max() < found.true[0].abs().max()
    picture = solver.draw(rings, images=2, tolerances=tolerances, exact=1e-5, seed=2)
    assert picture is not None
    each = picture.figure.axes[0].lines[1]
    np.testing.assert_array_equal(each.get_xdata(), bits_per_dim(found.true[1].abs(), 2))
    np.testing.assert_array_equal(each.get_ydata(), bits_per_dim(found.reported[1].abs(), 2))


# Galleries


def test_tiles_are_where_they_belong() -> None:
    raw = torch.arange(2 * 3 * 3 * 2 * 4).reshape(2, 3, 3, 2, 4) % 5
    picture = tiled(raw, 5)
    assert picture.shape == (2 * 3 + 1, 3 * 5 + 1, 3)
    for i, j, c, y, x in np.ndindex(*raw.shape):
        assert picture[1 + 3 * i + y, 1 + 5 * j + x, c] == int(raw[i, j, c, y, x]) / 4
    assert (picture[::3] == 0.5).all()
    assert (picture[:, ::5] == 0.5).all()
    grey = tiled(raw[:, :, :1], 5)
    assert np.array_equal(grey[1:3, 1:5, 0], grey[1:3, 1:5, 2])


def test_a_gallery_has_a_row_of_the_same_latents_for_each_run(digits, other, drift, rings) -> None:
    sampler = {"kind": "heun", "steps": 3}
    picture = galleries.draw([digits, other, drift], count=4, seed=3, sampler=sampler)
    assert picture is not None
    drawn = [run.model.sample(4, seed=3, sampler=sampler) for run in (digits, other)]
    expected = tiled(torch.stack([*drawn, drift.model.sample(4, seed=3)]), 17)
    np.testing.assert_array_equal(picture.figure.axes[0].images[0].get_array(), expected)
    why = f"Drawn by their own samplers are {drift.name}: head.kind=drift needs sampler.kind=sde"
    assert why in picture.caption
    plane = galleries.draw([rings], count=1, seed=3, sampler=sampler)
    assert plane is not None
    points = plane.figure.axes[0].collections[0]
    np.testing.assert_array_equal(points.get_offsets(), rings.model.sample(40, seed=3, sampler=sampler))
    assert np.abs(points.get_array()).max() <= math.pi


def test_recorded_pictures_are_cut_into_the_images_they_were_made_of(root) -> None:
    run = tiny_run(root, "digits-tiny", *SMALL, "run.name=pictures", "samples.count=7")
    assert samples_over_training.draw(run) is None
    raw = torch.randint(17, (3, 7, 1, 8, 8), generator=torch.Generator().manual_seed(1)).to(torch.uint8)
    for i, images in enumerate(raw):
        figures.samples(images, 17, run.folder.samples / f"{100 * (3 - i):012d}.png")
    figures.samples(raw[0], 17, run.folder.samples / "ancestral.png")
    picture = samples_over_training.draw(run, count=5, most=2)
    assert picture is not None
    axis = picture.figure.axes[0]
    assert [text.get_text() for text in axis.get_yticklabels()] == ["100", "300"]
    levels = (raw[[2, 0], :5].float() * 255 / 16).round()
    np.testing.assert_array_equal(axis.images[0].get_array(), tiled(levels, 256))
    figures.samples(raw[0, :3], 17, run.folder.samples / f"{400:012d}.png")
    with pytest.raises(UserError, match=r"000000000400\.png of the run pictures is not a picture of 7 images"):
        samples_over_training.draw(run)


def test_pictures_are_chosen_evenly_with_both_ends() -> None:
    assert samples_over_training.spread(10, 4) == [0, 3, 6, 9]
    assert samples_over_training.spread(3, 8) == [0, 1, 2]
    assert samples_over_training.spread(1, 8) == [0]
    assert samples_over_training.spread(5, 1) == [0]


# All of them

OF_RUNS: dict[str, Callable[[list[Run]], Picture | None]] = {
    "bounds": lambda runs: bound_by_steps.draw(runs, images=2, draws=1, steps=(2,)),
    "curves": learning_curves.draw,
    "gallery": lambda runs: galleries.draw(runs, count=2, sampler={"kind": "euler", "steps": 2}),
}
OF_RUN: dict[str, Callable[[Run], Picture | None]] = {
    "quality": lambda run: quality_by_nfe.draw(run, count=30, nfe=(2,), images=60),
    "solver": lambda run: solver.draw(run, images=2, tolerances=(1e-1,), exact=1e-3),
    "nearest": lambda run: nearest.draw(run, samples=4, count=2),
}


@pytest.mark.parametrize("name", [*OF_RUNS, *OF_RUN])
def test_equal_runs_make_equal_files(root, digits, rings, tmp_path, name) -> None:
    run = recorded(root, "seed=60", curves={"train/bits_per_dim": {100: 5.0}}) if name == "curves" else digits
    run = rings if name == "solver" else run
    files: list[list[bytes]] = []
    for time in ("first", "second"):
        again = Run(run.folder, run.experiment)
        picture = OF_RUNS[name]([again]) if name in OF_RUNS else OF_RUN[name](again)
        assert picture is not None
        files.append([path.read_bytes() for path in picture.save(tmp_path / time)])
    assert files[0] == files[1]


@pytest.mark.parametrize("name", OF_RUNS)
def test_no_figure_compares_runs_on_different_data(root, digits, rings, name) -> None:
    run = recorded(root, "seed=61", curves={"train/bits_per_dim": {100: 5.0}}) if name == "curves" else digits
    with pytest.raises(UserError, match=r"compare runs on the same data\.$"):
        OF_RUNS[name]([run, rings])
