"""Means, standard errors and paired comparisons against numbers worked out by hand."""

import math

import numpy as np
import pytest
import torch

from ndm.likelihood.statistics import bits_per_dim, mean, paired


def test_bits_per_dimension():
    nats = torch.tensor([math.log(2), 64 * math.log(2) * 3.5], dtype=torch.float64)
    assert bits_per_dim(nats, 64).tolist() == pytest.approx([1 / 64, 3.5])


def test_mean_and_its_standard_error():
    """Of 1, 2, 4, 9: mean 4, s^2 = (9 + 4 + 0 + 25) / 3, error sqrt(s^2 / 4)."""
    assert mean(torch.tensor([1.0, 2.0, 4.0, 9.0])) == pytest.approx((4, math.sqrt(38 / 12)))


def test_one_value_has_no_error():
    found = mean(torch.tensor([2.5]))
    assert found.value == 2.5
    assert math.isnan(found.error)


def test_single_precision_values_are_summed_in_double():
    values = torch.full((300_000,), 1234.567)
    assert mean(values).value == pytest.approx(float(values[0]), rel=1e-12)


def test_pairing_takes_out_what_two_models_share():
    """The error is that of the differences: their spread, 0.01, and not the images', 100."""
    random = np.random.default_rng(3)
    images, extra = 100 * random.normal(size=400), 0.01 * random.normal(size=400)
    first, second = torch.tensor(images + 0.2 + extra), torch.tensor(images)
    found = paired(first, second)
    assert found.value == pytest.approx(0.2, abs=5 * 0.01 / 20)
    assert found.error == pytest.approx(extra.std(ddof=1) / 20, rel=1e-6)
    assert mean(first).error > 1000 * found.error
    assert paired(second, first).value == -found.value


def test_other_images_are_refused():
    with pytest.raises(ValueError, match="3 against 2"):
        paired(torch.zeros(3), torch.zeros(2))
