"""The figures of the learned process: the numbers behind them, where they apply, and equal files of equal runs."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from analysis.figures import fields, loss_by_log_snr, schedules, straightness, transform_strips
from analysis.figures.loss_by_log_snr import Density, ahead, density
from analysis.picture import PALE, Picture, look
from analysis.run import Run, read
from analysis.tiles import composed
from matplotlib.colors import to_hex
from scipy.integrate import simpson
from tiny_run import POSITION, SMALL, tiny_run

from ndm.errors import UserError
from ndm.likelihood.elbo import elbo
from ndm.likelihood.statistics import bits_per_dim, mean
from ndm.randomness import Stream

SEEN = f"averaged weights after {POSITION:,} examples"
IDENTITY = ("network={kind: mlp, width: 8, depth: 1}",)
DISCRETE = "objective={kind: discrete, steps: 10}"
POINTS = (*SMALL, "data.examples=256")


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Run]:
    root = tmp_path_factory.mktemp("runs")
    return lambda preset, *overrides: tiny_run(root, preset, *overrides)


@pytest.fixture(scope="module")
def digits(make: Callable[..., Run]) -> Run:
    """A learned F, schedule and volatility of 8x8 images."""
    return make("digits-tiny", *SMALL, "schedule.kind=learned", "volatility.kind=learned")


@pytest.fixture(scope="module")
def identity(make: Callable[..., Run]) -> Run:
    """F = x on the same images, a linear schedule."""
    return make("digits-vdm", *IDENTITY)


@pytest.fixture(scope="module")
def rings(make: Callable[..., Run]) -> Run:
    """Two dimensions."""
    return make("rings-ndm", *POINTS)


@pytest.fixture(scope="module")
def drift(make: Callable[..., Run]) -> Run:
    """Two dimensions, and no ODE."""
    return make("rings-ndm", *POINTS, "head.kind=drift", "sampler={kind: sde, steps: 10}")


def axes(picture: Picture | None) -> Sequence[Any]:
    assert picture is not None
    return picture.figure.axes


def test_strips_have_every_image_in_its_place(digits: Run) -> None:
    above, below, _ = axes(picture := transform_strips.draw(digits, rows=3, steps=4, count=20))
    x = digits.encoded("test", 0, 20)
    shown, difference = (np.asarray(axis.images[0].get_array()) for axis in (above, below))
    assert shown.shape == difference.shape == (3 * 9 - 1, 5 * 9 - 1)
    with torch.no_grad():
        f = [digits.model.process.transform(x, torch.full((20,), t)) for t in (0.0, 0.25, 0.5, 0.75, 1.0)]
    for row in range(3):
        for column, value in enumerate(f):
            at = slice(9 * row, 9 * row + 8), slice(9 * column, 9 * column + 8)
            np.testing.assert_allclose(shown[at], (value[row, 0].clamp(-1, 1) + 1) / 2, atol=1e-6)
            np.testing.assert_allclose(difference[at], (value - x)[row, 0], atol=1e-6)
    assert np.abs(difference[:, :8][~np.isnan(difference[:, :8])]).max() == 0  # F(x, 0) = x
    low, high = below.images[0].get_clim()
    assert -low == high == pytest.approx(np.nanmax(np.abs(difference)))
    rms = [float((value - x).square().mean().sqrt()) for value in f]
    assert [text.get_text() for text in below.get_xticklabels()] == [f"rms\n{value:.3f}" for value in rms]
    assert picture is not None
    for words in ("first 3 test images of digits", "first 20 test images", digits.name, SEEN, "kind residual"):
        assert words in picture.caption


def test_composed_images_keep_their_channels_and_type() -> None:
    images = torch.rand(3, 2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    whole = composed(images, 1.0)
    assert whole.shape == (3 * 5 - 1, 2 * 6 - 1, 3)
    assert whole.dtype == np.float32
    np.testing.assert_array_equal(whole[5:9, 6:11], images[1, 1].permute(1, 2, 0))
    np.testing.assert_array_equal(whole[4], np.ones((11, 3)))


def test_strips_are_for_images_and_for_a_transform_that_does_something(identity: Run, rings: Run) -> None:
    assert transform_strips.draw(identity) is None
    assert transform_strips.draw(rings) is None


def test_fields_show_data_latents_and_estimates_where_they_are(rings: Run, digits: Run) -> None:
    assert fields.draw(digits) is None
    panels = axes(picture := fields.draw(rings, count=40, paths=7, columns=3, steps=6, seed=5))
    x = rings.encoded("test", 0, 40)
    model, epsilon = rings.model.objective.model, Stream(5, "figure/epsilon").normal(0, 40, (2,))
    assert len(panels) == 4 * 3
    for column, t in enumerate((0.0, 0.5, 1.0)):
        at = torch.full((40,), t)
        with torch.no_grad():
            f = model.process.transform(x, at)
            z = model.process.latent(f, model.process.at(at, x), epsilon)
            expected = (f, z, model.x_hat(z, at))
        for row, points in enumerate(expected):
            found = panels[3 * row + column].collections[0].get_offsets()
            np.testing.assert_allclose(found, points, atol=1e-6)
    np.testing.assert_array_equal(panels[0].collections[0].get_offsets(), x)
    last = panels[11]
    np.testing.assert_allclose(last.collections[0].get_offsets(), Stream(5, "figure/z_1").normal(0, 7, (2,)))
    assert [len(line.get_xdata()) for line in panels[9].lines] == [13] * 7
    assert picture is not None
    for words in ("first 40 test points", "7 other", "12 steps", "seed 5", "x̂(z, t)", rings.name, SEEN):
        assert words in picture.caption


def test_fields_of_a_drift_have_neither_estimate_nor_paths(drift: Run) -> None:
    picture = fields.draw(drift, count=20, columns=2)
    assert len(axes(picture)) == 2 * 2
    assert picture is not None
    assert "neither" in picture.caption


@pytest.mark.parametrize(
    ("overrides", "steps", "pieces", "draws"),
    [
        ((), 6, 6, 6),
        ((DISCRETE,), 32, 10, 40),
        (("objective={kind: discrete, steps: 100}",), 8, 8, 8),
        (("schedule.kind=per_dimension",), 6, 6, 6),
    ],
)
def test_the_area_under_the_loss_is_the_diffusion_term(
    make: Callable[..., Run], overrides: tuple[str, ...], steps: int, pieces: int, draws: int
) -> None:
    run = make("digits-tiny", *SMALL, "schedule.kind=learned", *overrides)
    found = density(run, 12, steps, 3)
    terms = elbo(run.model.objective, run.encoded("test", 0, 12), 0, seed=3, draws=draws)
    assert found.bits.shape == (pieces, 12)
    torch.testing.assert_close(found.bits.sum(0), bits_per_dim(terms.diffusion, 64), rtol=1e-12, atol=0)
    gamma = run.model.process.schedule(torch.linspace(0, 1, pieces + 1)).gamma.double()
    torch.testing.assert_close(found.log_snr, -gamma.reshape(pieces + 1, -1).mean(1))
    panels = axes(picture := loss_by_log_snr.draw([run], count=12, steps=steps, seed=3))
    whole = mean(bits_per_dim(terms.diffusion, 64))
    for axis in panels:
        drawn = axis.patches[0].get_data()
        assert float((drawn.values * np.abs(np.diff(drawn.edges))).sum()) == pytest.approx(whole.value, rel=1e-9)
    assert picture is not None
    for words in (f"{whole.value:.4f} ± {whole.error:.4f}", "first 12 test examples of digits", "seed 3", SEEN):
        assert words in picture.caption


def test_what_is_lost_so_far_is_compared_at_the_same_log_snr() -> None:
    """One nat of log SNR costs a bit for the one, half a bit for the other, whose schedule is another."""
    one = Density(torch.tensor([0, 0.5, 1.0]), torch.tensor([4.0, 2.0, 0.0]), torch.tensor([[2.0], [2.0]]))
    other = Density(torch.tensor([0, 0.5, 1.0]), torch.tensor([4.0, 3.0, -2.0]), torch.tensor([[0.5], [2.5]]))
    at, gaps = ahead(one, other)
    assert at.tolist() == [-2, 0, 2, 3, 4]
    assert gaps[:, 0].tolist() == [4 - 3, 4 - 2, 2 - 1, 1 - 0.5, 0]
    assert ahead(one, one)[1].abs().max() == 0


def test_the_loss_of_two_runs_ends_in_the_difference_of_their_diffusion_terms(digits: Run, identity: Run) -> None:
    panels = axes(picture := loss_by_log_snr.draw([identity, digits], count=9, steps=5))
    first, second = (density(run, 9, 5, 0).bits.sum(0) for run in (identity, digits))
    curve = panels[2].lines[0]
    assert curve.get_ydata()[0] == pytest.approx(mean(second - first).value, rel=1e-9)  # log SNR rises along it
    assert curve.get_ydata()[-1] == 0
    assert picture is not None
    assert "digits-vdm (" in picture.caption
    assert identity.name in picture.caption
    assert digits.name in picture.caption


def test_schedules_are_those_of_the_formulas(identity: Run) -> None:
    panels = axes(picture := schedules.draw(identity, steps=20))
    t, (low, high) = np.linspace(0, 1, 21), (-7.0, 6.0)
    gamma = low + (high - low) * t
    sigma_squared = 1 / (1 + np.exp(-gamma))
    expected = [np.sqrt(1 - sigma_squared), -gamma, np.ones(21), sigma_squared * (high - low)]
    for axis, values in zip(panels, expected, strict=True):
        np.testing.assert_allclose(axis.lines[0].get_ydata(), values, rtol=1e-5, atol=1e-5)
    assert [len(axis.lines) for axis in panels] == [2, 1, 1, 1]
    assert picture is not None
    assert picture.caption.count("is what it was before training") == 2
    for words in ("21 times", SEEN, identity.name):
        assert words in picture.caption


def test_a_learned_schedule_has_its_start_in_grey(digits: Run) -> None:
    panels = axes(picture := schedules.draw(digits, steps=20))
    t = torch.linspace(0, 1, 21)
    for axis, values in ((panels[2], torch.ones(21)), (panels[1], -digits.model.process.schedule(t).gamma)):
        grey = [line for line in axis.lines if to_hex(line.get_color()) == PALE]
        own = [line for line in axis.lines if to_hex(line.get_color()) != PALE]
        assert (len(grey), len(own)) == (1, 1)
        np.testing.assert_allclose((grey if axis is panels[2] else own)[0].get_ydata(), values, rtol=1e-6, atol=1e-6)
        assert np.abs(grey[0].get_ydata() - own[0].get_ydata()).max() > 1e-3
    assert picture is not None
    assert picture.caption.count("was learned; grey: its start") == 2


def test_schedules_per_dimension_are_a_mean_with_a_band(make: Callable[..., Run]) -> None:
    run = make("digits-tiny", *SMALL, "schedule.kind=per_dimension")
    panels = axes(picture := schedules.draw(run, steps=10))
    log_snr = -run.model.process.schedule(torch.linspace(0, 1, 11)).gamma.flatten(1)
    (band,) = (area for area in panels[1].collections if to_hex(area.get_facecolor()[0]) != PALE)
    heights = band.get_paths()[0].vertices[:, 1]
    assert heights[1:12] == pytest.approx(log_snr.amin(1).numpy(), abs=1e-5)
    np.testing.assert_allclose(panels[1].lines[-1].get_ydata(), log_snr.mean(1), rtol=1e-5, atol=1e-5)
    assert picture is not None
    assert "from the least of them to the greatest" in picture.caption


def test_straightness_shows_the_means_with_their_errors(digits: Run, identity: Run) -> None:
    panels = axes(picture := straightness.draw([identity, digits], count=6, steps=8, seed=2))
    courses = [straightness.course(run, run.name, 6, 8, 2) for run in (identity, digits)]
    assert picture is not None
    for axis, field in zip(panels[1:], ("cost", "straightness", "length"), strict=True):
        values = [mean(getattr(course.shape, field)) for course in courses]
        assert [line.get_xdata()[0] for line in axis.lines if line.get_marker() in ("o", "s")] == [
            value.value for value in values
        ]
        assert [text.get_text() for text in axis.texts] == [f"{v.value:.3f} ± {v.error:.3f}" for v in values]
    start = Stream(2, "figure/z_1").normal(0, 6, (1, 8, 8)).double()
    torch.testing.assert_close(courses[0].fine.z[-1], start)
    chord = (courses[0].fine.z[-1] - courses[0].fine.z[0]).flatten(1)
    torch.testing.assert_close(courses[0].shape.cost, chord.square().mean(1))
    curve = panels[0].lines[0]
    area = simpson(curve.get_ydata(), x=curve.get_xdata())
    assert area == pytest.approx(mean(courses[0].shape.straightness).value, rel=1e-9)
    for words in ("same 6 latents", "(seed 2)", "8 equal steps", "digits-tiny less digits-vdm", identity.name, SEEN):
        assert words in picture.caption


def test_a_run_is_as_straight_as_itself(identity: Run) -> None:
    picture = straightness.draw([identity, identity], count=4, steps=4)
    assert picture is not None
    assert picture.caption.count("+0.0000 ± 0.0000") == 3


def test_runs_without_an_ode_and_runs_on_other_data_are_not_compared(rings: Run, drift: Run, identity: Run) -> None:
    assert straightness.draw([drift]) is None
    picture = straightness.draw([rings, drift], count=4, steps=4)
    assert picture is not None
    assert "1 of the runs are left out" in picture.caption
    for draw in (straightness.draw, loss_by_log_snr.draw):
        with pytest.raises(UserError, match=f"{rings.name} is on rings .*{identity.name} is on digits"):
            draw([identity, rings])


def test_lines_among_others_all_look_different() -> None:
    assert len({tuple(look(place).values()) for place in range(49)}) == 49


def test_equal_runs_make_equal_files(digits: Run, rings: Run, tmp_path: Path) -> None:
    files: list[dict[str, bytes]] = []
    for time in ("first", "second"):
        images, points = (read(run.folder.path.parent, run.name) for run in (digits, rings))
        drawn = [
            transform_strips.draw(images, rows=2, steps=2, count=4),
            fields.draw(points, count=20, paths=5, columns=2, steps=4),
            straightness.draw([images], count=3, steps=4),
            loss_by_log_snr.draw([images], count=4, steps=4),
            schedules.draw(images, steps=10),
        ]
        saved = [path for picture in drawn if picture for path in picture.save(tmp_path / time)]
        files.append({path.name: path.read_bytes() for path in saved})
    assert len(files[0]) == 2 * 5
    assert files[0] == files[1]
