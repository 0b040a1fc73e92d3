"""p(x | z_0): known bits per dimension, probabilities that sum to one, and the scale of the data."""

from math import log, pi

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ndm.decoders import for_levels
from ndm.decoders.categorical import Categorical
from ndm.decoders.gaussian import Gaussian
from ndm.errors import UserError

# Standard normal quadrature: the rectangle rule converges exponentially here.
EPSILON = torch.linspace(-9, 9, 1201, dtype=torch.float64)
WEIGHT = torch.softmax(-EPSILON.square() / 2, dim=0)


def ends(gamma_0):
    """(alpha_0, sigma_0) of a variance-preserving schedule."""
    gamma_0 = torch.as_tensor(gamma_0, dtype=torch.float64)
    return torch.sigmoid(-gamma_0).sqrt(), torch.sigmoid(gamma_0).sqrt()


def values(levels):
    """v_k in float64: [K]."""
    return 2 * (torch.arange(levels, dtype=torch.float64) + 0.5) / levels - 1


def dense(levels, x, z_0, alpha_0, sigma_0):
    """ln p(x | z_0) with the whole softmax written out."""
    exponents = -(z_0[..., None] / alpha_0 - values(levels)).square() * (alpha_0 / sigma_0) ** 2 / 2
    index = ((x + 1) * levels / 2 - 0.5).round().long()
    return torch.log_softmax(exponents, -1).gather(-1, index[..., None])[..., 0].flatten(1).sum(1)


def bits(levels, k, gamma_0):
    """E over q(z_0 | x = v_k) of -log2 p(x | z_0), one dimension."""
    alpha_0, sigma_0 = ends(gamma_0)
    x = values(levels)[k].expand(EPSILON.numel(), 1)
    log_prob = Categorical(levels).log_prob(x, alpha_0 * x + sigma_0 * EPSILON[:, None], alpha_0, sigma_0)
    return float(-(WEIGHT * log_prob).sum() / log(2))


@pytest.mark.parametrize(
    ("gamma_0", "bpd", "digits"), [(-13.3, 0.010453, 6), (-10, 1.8336, 4), (-9, 2.5550, 4), (-8, 3.2763, 4)]
)
def test_bits_per_dimension_of_bytes(gamma_0, bpd, digits):
    # The figures are those of a level far from both ends; the first and the last have one neighbour fewer.
    assert round(bits(256, 128, gamma_0), digits) == bpd
    assert bits(256, 0, gamma_0) < 0.9 * bits(256, 128, gamma_0)


@pytest.mark.parametrize("gamma_0", [-13.3, -9.0, -5.0, 1.0])
@pytest.mark.parametrize("levels", [2, 17, 256])
def test_probabilities_of_all_levels_sum_to_one(levels, gamma_0):
    alpha_0, sigma_0 = ends(gamma_0)
    x = values(levels)[:, None]
    for z_0 in (-1.7, -0.2, 0.003, 1.0):
        p = Categorical(levels).log_prob(x, torch.full_like(x, z_0), alpha_0, sigma_0).exp()
        assert float(p.sum()) == pytest.approx(1, abs=1e-12)


@settings(deadline=None, max_examples=40)
@given(
    levels=st.sampled_from([2, 3, 17, 256]),
    gamma_0=st.floats(-14, 4),
    seed=st.integers(0, 1000),
    spread=st.sampled_from([1.0, 10.0]),
)
def test_log_prob_and_gradients_are_those_of_the_whole_softmax(levels, gamma_0, seed, spread):
    generator = torch.Generator().manual_seed(seed)
    index = torch.randint(levels, (2, 1, 2, 3), generator=generator)
    x = values(levels)[index]
    alpha_0, sigma_0 = (end.reshape(1, 1, 1, 1).requires_grad_() for end in ends(gamma_0))
    noise = spread * torch.randn(x.shape, generator=generator, dtype=torch.float64)
    z_0 = (alpha_0 * x + sigma_0 * noise).detach().requires_grad_()
    found = Categorical(levels).log_prob(x, z_0, alpha_0, sigma_0)
    expected = dense(levels, x, z_0, alpha_0[0, 0, 0], sigma_0[0, 0, 0])
    assert found.shape == (2,)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    wrt = (z_0, alpha_0, sigma_0)
    pairs = zip(*(torch.autograd.grad(f.sum(), wrt) for f in (found, expected)), strict=True)
    for a, b in pairs:
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-7 * float(1 / sigma_0.detach()))


def test_single_precision_keeps_the_bits():
    decoder, generator = Categorical(256), torch.Generator().manual_seed(0)
    alpha_0, sigma_0 = ends(-13.3)
    x = decoder.encode(torch.randint(256, (4, 3, 8, 8), generator=generator))
    z_0 = alpha_0 * x.double() + sigma_0 * torch.randn(x.shape, generator=generator, dtype=torch.float64)
    single = decoder.log_prob(x, z_0.float(), alpha_0.float(), sigma_0.float())
    assert single.dtype == torch.float32
    torch.testing.assert_close(
        single.double(), decoder.log_prob(x.double(), z_0, alpha_0, sigma_0), rtol=1e-3, atol=1e-3
    )


def test_a_lost_run_gives_nan_not_an_exception():
    x = values(17)[:, None]
    nan = torch.tensor(float("nan"), dtype=torch.float64)
    assert Categorical(17).log_prob(x, x, nan, nan).isnan().all()


@pytest.mark.parametrize("levels", [2, 17, 256])
def test_encode_and_decode_are_inverse(levels):
    decoder = for_levels(levels)
    raw = torch.arange(levels, dtype=torch.uint8)[:, None]
    x = decoder.encode(raw)
    assert x.dtype == torch.float32
    torch.testing.assert_close(x[:, 0].double(), values(levels), rtol=0, atol=1e-7)
    back = decoder.decode(x + 0.98 / levels)
    assert back.dtype == torch.uint8
    assert torch.equal(back, raw)
    assert torch.equal(decoder.decode(x - 0.98 / levels), raw)
    assert decoder.decode(torch.tensor([-7.0, 7.0])).tolist() == [0, levels - 1]


def test_gaussian_reconstruction_term():
    # E over q(z_0 | x) of -ln p(x | z_0) = (1 + ln 2 pi + gamma_0) / 2 per dimension, whatever x.
    alpha_0, sigma_0 = ends(-13.3)
    x = torch.full((EPSILON.numel(), 1), 0.37, dtype=torch.float64)
    log_prob = Gaussian().log_prob(x, alpha_0 * x + sigma_0 * EPSILON[:, None], alpha_0, sigma_0)
    term = float(-(WEIGHT * log_prob).sum())
    assert round(term, 6) == -5.231061
    assert term == pytest.approx((1 + log(2 * pi) - 13.3) / 2, abs=1e-10)


def test_gaussian_log_prob_is_the_normal_density():
    generator = torch.Generator().manual_seed(4)
    x, z_0 = torch.randn(2, 3, 2, 2, 2, generator=generator, dtype=torch.float64)
    alpha_0, sigma_0 = ends(-1.0)
    expected = torch.distributions.Normal(z_0 / alpha_0, sigma_0 / alpha_0).log_prob(x).sum((1, 2, 3))
    torch.testing.assert_close(Gaussian().log_prob(x, z_0, alpha_0, sigma_0), expected)


def test_continuous_data_are_kept_as_they_are():
    decoder = for_levels(0)
    x = torch.tensor([[0.25, -3.5]])
    assert torch.equal(decoder.encode(x), x)
    assert torch.equal(decoder.decode(x), x)
    assert decoder.encode(x.double()).dtype == torch.float32


@pytest.mark.parametrize("levels", [-1, 1, 257])
def test_other_numbers_of_levels_are_refused(levels):
    with pytest.raises(UserError, match=f"levels = {levels} .* 2 to 256"):
        for_levels(levels)
