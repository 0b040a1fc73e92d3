"""Every source keeps its promises; the digits are the known ones; the rings have the density they claim."""

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from ndm import registry
from ndm.data.sources import digits, rings
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


def test_the_density_of_the_rings_is_the_mixture_and_integrates_to_one():
    x = np.random.default_rng(0).normal(size=(50, 2)) * 2
    parts = [multivariate_normal(centre, 0.25**2).logpdf(x) for centre in rings.CENTRES]
    np.testing.assert_allclose(rings.log_density(x), logsumexp(parts, axis=0) - np.log(8), rtol=1e-12)
    grid, width = np.linspace(-4, 4, 401, retstep=True)
    points = np.stack(np.meshgrid(grid, grid), axis=-1).reshape(-1, 2)
    assert np.exp(rings.log_density(points)).sum() * width**2 == pytest.approx(1, abs=1e-9)
    assert np.isfinite(rings.log_density(np.full((1, 2), 1e3))).all()


def test_the_rings_are_drawn_from_their_density():
    examples = rings.draw(20_000, "train")
    away = (examples.raw - rings.CENTRES[examples.labels]) / rings.SD
    # Standard errors are 1/200 and less; the draws are fixed, so this either holds for ever or never did.
    np.testing.assert_allclose(away.mean(axis=0), 0, atol=0.02)
    np.testing.assert_allclose(np.cov(away.T), np.eye(2), atol=0.03)
    np.testing.assert_allclose(np.bincount(examples.labels, minlength=8) / 20_000, 1 / 8, atol=0.01)
    # The modes hardly overlap, so the entropy is log 8 + log(2 pi e sd^2) to three digits.
    entropy = np.log(8) + np.log(2 * np.pi * np.e * rings.SD**2)
    assert -rings.log_density(examples.raw).mean() == pytest.approx(entropy, abs=0.02)


def test_the_rings_of_any_size_begin_alike_and_the_splits_differ():
    np.testing.assert_array_equal(rings.draw(10, "test").raw, rings.draw(100, "test").raw[:10])
    assert not np.isin(rings.draw(100, "train").raw, rings.draw(100, "test").raw).any()
    assert rings.Config(examples=10).identity() != rings.Config(examples=20).identity()
