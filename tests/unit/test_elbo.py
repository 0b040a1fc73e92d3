"""The per-image estimate of the bound: which draws it makes, and that batches and numbers of draws do not bias it."""

import pytest
import torch
from scipy import stats

from ndm.likelihood.elbo import elbo, full_draws, recipe
from ndm.objectives import Noise, Objective, Terms
from ndm.randomness import Stream


class Recorder(Objective):
    """Reports its noise in place of a bound, and keeps it."""

    def __init__(self, steps=None):
        torch.nn.Module.__init__(self)
        self.steps, self.seen = steps, []

    def forward(self, x, noise):
        self.seen.append(noise)
        return Terms(noise.u, noise.epsilon.flatten(1).sum(1), noise.epsilon_0.flatten(1).sum(1))


def images(n, shape=(2,)):
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def test_draws_are_filled_up_to_whole_rounds_of_the_steps(tiny):
    assert full_draws(tiny("continuous"), 7) == 7
    assert [full_draws(tiny("discrete", steps=10), k) for k in (1, 10, 11, 64)] == [10, 10, 20, 70]


def test_recipes_say_how_time_was_taken(tiny):
    assert recipe(tiny("continuous"), 64) == "elbo_cont_k64"
    assert recipe(tiny("discrete", steps=10), 10) == "elbo_T10"
    assert recipe(tiny("discrete", steps=10), 30) == "elbo_T10_k30"


@pytest.mark.parametrize(("kind", "keys"), [("continuous", {}), ("discrete", {"steps": 6})])
def test_an_image_scores_the_same_in_any_batch(tiny, kind, keys):
    """Noise belongs to the image's id: splitting the images changes no more than the order of floating-point sums."""
    objective, x = tiny(kind, **keys), images(11)
    whole = elbo(objective, x, 100, seed=5, draws=4)
    for cuts in ((11,), (3, 8), (1, 1, 9)):
        start, parts = 0, []
        for size in cuts:
            parts.append(elbo(objective, x[start : start + size], 100 + start, seed=5, draws=4))
            start += size
        for term, pieces in zip(whole, zip(*parts, strict=True), strict=True):
            torch.testing.assert_close(torch.cat(pieces), term, rtol=1e-12, atol=1e-12)


def test_it_is_the_mean_of_the_objective_over_its_draws(tiny):
    objective, x = tiny("continuous"), images(5)
    found = elbo(objective, x, 40, seed=9, draws=3)
    terms = []
    for j in range(3):
        u = (j + Stream(9, "elbo/time", j).uniform(40, 5)) / 3
        epsilon, epsilon_0 = (
            Stream(9, f"elbo/{name}", j).normal(40, 5, (2,), torch.float64) for name in ("epsilon", "epsilon_0")
        )
        terms.append(objective(x, Noise(u, epsilon, epsilon_0)))
    for term, each in zip(found, zip(*terms, strict=True), strict=True):
        assert term.dtype == torch.float64
        assert not term.requires_grad
        torch.testing.assert_close(term, sum(each) / 3, rtol=1e-12, atol=1e-12)


def test_single_precision_images_give_double_precision_sums(tiny):
    terms = elbo(tiny("continuous").float(), images(3).float(), 0, seed=1, draws=2)
    assert {term.dtype for term in terms} == {torch.float64}


@pytest.mark.parametrize(("steps", "draws"), [(6, 4), (6, 9), (5, 1), (6, 6), (6, 18)])
def test_every_step_is_taken_equally_often_on_average(steps, draws):
    """Draw j is uniform in its stratum [j/K, (j+1)/K), so the K strata together give each step the weight K/T.

    With K a multiple of T that holds for every image, not only on average.
    """
    recorder, n = Recorder(steps), 3000
    elbo(recorder, images(n), 0, seed=2, draws=draws)
    u = torch.stack([noise.u for noise in recorder.seen])
    for j, row in enumerate(u):
        assert stats.kstest(row.numpy() * draws - j, "uniform").pvalue > 1e-3
    index = (u * steps).floor().long()
    counts = torch.stack([(index == i).sum(0) for i in range(steps)])
    if draws % steps == 0:
        assert (counts == draws // steps).all()
    else:
        assert counts.double().mean(1).tolist() == pytest.approx([draws / steps] * steps, abs=0.05)


def test_draws_images_and_kinds_of_noise_are_independent():
    recorder = Recorder()
    elbo(recorder, images(2000, (1,)), 0, seed=4, draws=2)
    elbo(recorder, images(2000, (1,)), 2000, seed=4, draws=2)
    elbo(recorder, images(2000, (1,)), 0, seed=5, draws=2)
    rows = [values.flatten() for noise in recorder.seen for values in noise]
    off = torch.corrcoef(torch.stack(rows)) - torch.eye(len(rows), dtype=torch.float64)
    assert float(off.abs().max()) < 0.1


@pytest.mark.parametrize(("kind", "keys", "draws"), [("continuous", {}, 3), ("discrete", {"steps": 6}, 4)])
def test_few_draws_are_unbiased(tiny, kind, keys, draws):
    """One image under 6000 ids: its mean over K draws agrees with that over many strata, K not a multiple of T."""
    objective = tiny(kind, **keys)
    few = elbo(objective, images(1).expand(6000, 2), 0, seed=6, draws=draws).total
    many = elbo(objective, images(1).expand(500, 2), 10_000, seed=6, draws=60).total
    error = (few.var() / len(few) + many.var() / len(many)).sqrt()
    assert float((few.mean() - many.mean()).abs()) < 4 * float(error)
    assert float(error) < 0.05 * float(many.mean())
