"""Every source keeps its promises; the digits are the known ones; the mixtures have the density they claim."""

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from ndm import registry
from ndm.data.sources import digits, pairs, rings
from ndm.data.sources._base import SPLITS
from ndm.errors import UserError

KINDS = registry.kinds("ndm.data.sources")


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    from sklearn.datasets import load_digits

    return load_digits().images


@pytest.mark.parametrize("kind", KINDS)
def test_a_source_has_three_splits_of_one_form_and_a_name_fit_for_a_folder(kind, source_of, splits_of):
    source = source_of(kind)
    splits = splits_of(source)
    assert tuple(splits) == SPLITS
    assert set(source.identity()) == {"name", "version"}
    assert not set("/ \\") & set("".join(source.identity().values()))
    for examples in splits.values():
        assert examples.raw.shape == (len(examples.labels), *source.shape)
        assert examples.raw.dtype == (np.uint8 if source.levels else np.float32)
        assert examples.labels.dtype == np.int64
        assert examples.labels.min() >= 0
        if source.levels:
            assert examples.raw.max() < source.levels


@pytest.mark.parametrize("kind", KINDS)
def test_reading_twice_gives_the_same_examples(kind, source_of, splits_of):
    source = source_of(kind)
    for a, b in zip(splits_of(source).values(), splits_of(source).values(), strict=True):
        np.testing.assert_array_equal(a.raw, b.raw)
        np.testing.assert_array_equal(a.labels, b.labels)


def test_the_splits_of_the_digits_are_all_images_each_once_with_their_labels(images, splits_of):
    from sklearn.datasets import load_digits

    splits = splits_of(digits.Config())
    assert [len(e.labels) for e in splits.values()] == [1437, 180, 180]
    ours = [(raw.tobytes(), int(y)) for e in splits.values() for raw, y in zip(e.raw, e.labels, strict=True)]
    theirs = [(x.astype(np.uint8).tobytes(), int(y)) for x, y in zip(images, load_digits().target, strict=True)]
    assert sorted(ours) == sorted(theirs)
    assert ours != theirs


def test_other_digits_are_refused_by_a_sentence(images):
    for change, words in {
        (0, 0): "SHA-256",
        "fewer": r"shape \(1796, 8, 8\)",
        "brighter": "range from 0 to 17",
        "finer": "SHA-256",
    }.items():
        other = images.copy()
        if change == "fewer":
            other = other[1:]
        elif change == "brighter":
            other[5, 4, 4] = 17
        elif change == "finer":
            other[5, 4, 4] = np.floor(other[5, 4, 4]) + 0.25
        else:
            other[7][change] = (other[7][change] + 1) % 16
        with pytest.raises(UserError, match=words) as caught:
            digits.validate(other)
        assert "scikit-learn" in str(caught.value)


MIXTURES = {"rings": rings, "pairs": pairs}


@pytest.mark.parametrize("kind", MIXTURES)
def test_the_density_of_a_mixture_integrates_to_one(kind):
    law = MIXTURES[kind].LAW
    x = np.random.default_rng(0).normal(size=(50, 2)) * 2
    parts = [multivariate_normal(centre, law.sd**2).logpdf(x) for centre in law.centres]
    np.testing.assert_allclose(law.log_density(x), logsumexp(parts, axis=0) - np.log(len(law.centres)), rtol=1e-12)
    # The trapezoid rule on a Gaussian is exact to every digit from three points a standard deviation on.
    grid, width = np.linspace(-4, 4, int(24 / law.sd) + 1, retstep=True)
    rows = [np.stack(np.broadcast_arrays(grid, y), axis=-1) for y in grid]
    assert sum(np.exp(law.log_density(row)).sum() for row in rows) * width**2 == pytest.approx(1, abs=1e-9)
    assert np.isfinite(law.log_density(np.full((1, 2), 1e3))).all()


@pytest.mark.parametrize("kind", MIXTURES)
def test_a_mixture_is_drawn_from_its_density(kind):
    law = MIXTURES[kind].LAW
    modes, examples = len(law.centres), law.draw(20_000, "train")
    away = (examples.raw - law.centres[examples.labels]) / law.sd
    # Standard errors are 1/200 and less; the draws are fixed, so this either holds for ever or never did.
    np.testing.assert_allclose(away.mean(axis=0), 0, atol=0.02)
    np.testing.assert_allclose(np.cov(away.T), np.eye(2), atol=0.03)
    np.testing.assert_allclose(np.bincount(examples.labels, minlength=modes) / 20_000, 1 / modes, atol=0.01)
    # The modes hardly overlap, so the entropy is log K + log(2 pi e sd^2) to three digits.
    entropy = np.log(modes) + np.log(2 * np.pi * np.e * law.sd**2)
    assert -law.log_density(examples.raw).mean() == pytest.approx(entropy, abs=0.02)


@pytest.mark.parametrize("kind", MIXTURES)
def test_a_mixture_of_any_size_begins_alike_and_the_splits_differ(kind):
    module = MIXTURES[kind]
    np.testing.assert_array_equal(module.LAW.draw(10, "test").raw, module.LAW.draw(100, "test").raw[:10])
    assert not np.isin(module.LAW.draw(100, "train").raw, module.LAW.draw(100, "test").raw).any()
    assert module.Config(examples=10).identity() != module.Config(examples=20).identity()


def test_the_pairs_have_two_length_scales():
    away = np.sort(np.linalg.norm(pairs.LAW.centres[0] - pairs.LAW.centres, axis=1))
    np.testing.assert_allclose(away[1:4], [0.3, 0.3, 0.3 * 2**0.5])
    assert away[4] == pytest.approx(2.0)
