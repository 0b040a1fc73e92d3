"""Information and the bound on three atoms, where the posterior of x is a softmax and every oracle is exact."""

import pytest
import torch
from benches import Atoms, Curve, Formula, Oracle, bend, continuous, discrete, expected, fine, line, make, three_atoms

from ndm.decoders import Decoder
from ndm.decoders.gaussian import Gaussian
from ndm.processes.ndm import NDM
from ndm.schedules import Schedule, ScheduleValue
from ndm.transforms.identity import Identity
from ndm.volatilities.constant import Constant

SCHEDULE = line(-4, 4)


def given(f=None, schedule=SCHEDULE, eta=1.0):
    """(atoms, the model whose x_hat is E[x | z_t], with the exact decoder P(x | z_0))."""
    transform = Identity() if f is None else Formula(f)
    atoms = three_atoms(NDM(schedule, transform, Constant(eta)))
    model = make(
        schedule,
        lambda z, t: atoms.x_hat(z, t[:, 0]),
        transform=transform,
        decoder=Posterior(atoms),
        eta=eta,
    )
    return atoms, model


class Posterior(Decoder):
    """The exact P(x | z_0) of atoms."""

    def __init__(self, atoms: Atoms) -> None:
        super().__init__()
        self.atoms = atoms

    encode = decode = Gaussian.encode

    def log_prob(self, x, z_0, alpha_0, sigma_0):
        del alpha_0, sigma_0
        index = (x - self.atoms.x[:, 0]).abs().argmin(1)
        log_posterior = self.atoms.posterior(z_0, torch.zeros(len(z_0), dtype=z_0.dtype)).log()
        return log_posterior.gather(1, index[:, None])[:, 0]


def bound(model, atoms, steps=None):
    """Terms averaged over the atoms and the noise."""
    objective = continuous(model) if steps is None else discrete(model, steps)
    terms = expected(objective, atoms.x, fine(), nodes=100)
    return {name: float(atoms.p @ term) for name, term in terms._asdict().items()}


def test_identity_loses_exactly_the_information():
    """I' = -(1/2) SNR' mmse for any law of x: L_diff = I(x; z_0) - I(x; z_1), and the bound is tight.

    L_diff + L_prior + H(x | z_0) = H(x) + KL(q(z_1), p), with L_prior = I(x; z_1) + KL(q(z_1), p).
    """
    atoms, model = given()
    first, last = atoms.information(0.0), atoms.information(1.0)
    terms = bound(model, atoms)
    assert terms["diffusion"] == pytest.approx(first - last, abs=1e-9)
    assert terms == pytest.approx(bound(Oracle(atoms, model.decoder), atoms), abs=1e-12)
    assert terms["reconstruction"] == pytest.approx(atoms.entropy() - first, abs=1e-9)
    assert terms["prior"] == pytest.approx(last + atoms.end_kl(), abs=1e-9)
    assert sum(terms.values()) == pytest.approx(atoms.entropy() + atoms.end_kl(), abs=1e-9)


@pytest.mark.parametrize("eta", [0.5, 1.0, 2.0])
def test_nonlinear_transform_cannot_beat_the_information_and_x_hat_costs_more(eta):
    """L_diff >= I(x; z_0) - I(x; z_1) for any F; predicting x and pushing it through F costs something on top.

    The best drift needs E[F | z] and E[dF/dt | z], two numbers that no single x_hat gives once F is not affine.
    """
    atoms, model = given(bend, eta=eta)
    lost = atoms.information(0.0) - atoms.information(1.0)
    direct, through_x = (bound(m, atoms)["diffusion"] for m in (Oracle(atoms, model.decoder), model))
    assert lost < direct - 0.005
    assert direct < through_x - 0.005


def test_only_the_diffusion_term_knows_how_time_is_cut():
    """Prior and reconstruction see the ends alone: they are the same in discrete and in continuous time."""
    atoms, model = given(bend)
    whole = bound(model, atoms)
    for steps in (1, 6):
        cut = bound(model, atoms, steps)
        assert (cut["prior"], cut["reconstruction"]) == pytest.approx(
            (whole["prior"], whole["reconstruction"]), rel=1e-12
        )


@pytest.mark.parametrize("steps", [1, 3, 10, 50])
def test_discrete_bound_never_goes_below_the_entropy(steps):
    """-ELBO > H(x) at every T, F and parameterisation, and refining the steps helps the oracles."""
    for f in (None, bend):
        atoms, model = given(f)
        assert sum(bound(model, atoms, steps).values()) > atoms.entropy()
        best = Oracle(atoms, model.decoder)
        coarse, finer = (sum(bound(best, atoms, n).values()) for n in (steps, 2 * steps))
        assert atoms.entropy() < finer < coarse


class Rescaled(Schedule):
    """z multiplied by c(t) = 2 + sin 4t: alpha and sigma scale alike, gamma stays."""

    def forward(self, t):
        value = SCHEDULE(t)
        c, d_c = 2 + torch.sin(4 * t), 4 * torch.cos(4 * t)
        return value._replace(
            alpha=c * value.alpha,
            sigma=c * value.sigma,
            d_alpha=c * value.d_alpha + d_c * value.alpha,
            d_sigma=c * value.d_sigma + d_c * value.sigma,
        )


def test_scale_of_the_latents_does_not_matter():
    """z -> c(t) z is a change of variables at every time: the oracle moves along, the bound does not change."""
    values = [bound(model, atoms)["diffusion"] for atoms, model in (given(bend), given(bend, Rescaled()))]
    assert values[0] == pytest.approx(values[1], abs=1e-9)


def test_speed_of_time_does_not_matter():
    """t -> tau(t), in gamma and F alike, is a substitution in the integral over time."""

    def tau(t):
        return 0.3 * t + 0.7 * t**2

    curve = Curve(lambda t: -4 + 8 * tau(t))
    values = [
        bound(model, atoms)["diffusion"] for atoms, model in (given(bend), given(lambda x, t: bend(x, tau(t)), curve))
    ]
    assert values[0] == pytest.approx(values[1], abs=1e-9)


class Divided(Schedule):
    """The schedule with alpha divided by a constant k, to be met by k F."""

    def __init__(self, k: float) -> None:
        super().__init__()
        self.k = k

    def forward(self, t):
        value, k = SCHEDULE(t), self.k
        gamma = value.gamma + 2 * torch.log(torch.tensor(k, dtype=t.dtype))
        return value._replace(alpha=value.alpha / k, d_alpha=value.d_alpha / k, gamma=gamma)


@pytest.mark.parametrize("k", [0.3, 4.0])
def test_alpha_and_the_transform_share_one_gauge(k):
    """F -> k F with alpha -> alpha / k leaves z and, with the same g, the integrand alone.

    A constant k shifts gamma and keeps gamma', hence g^2 = eta sigma^2 gamma' too.
    """
    pairs = (given(bend), given(lambda x, t: k * bend(x, t), Divided(k)))
    values = [bound(model, atoms) for atoms, model in pairs]
    assert values[0]["diffusion"] == pytest.approx(values[1]["diffusion"], abs=1e-11)
    assert values[0]["prior"] == pytest.approx(values[1]["prior"], abs=1e-13)


def test_a_gauge_that_moves_leaves_velocity_and_score():
    """For k(t) the gauge changes gamma', so only at fixed g; velocity and score, of which f^B is made, stay exactly."""
    t = torch.linspace(0.05, 0.95, 20, dtype=torch.float64)
    x, z = torch.randn(2, 20, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    k, d_k = (1 + t**2)[:, None], 2 * t[:, None]
    plain = NDM(SCHEDULE, Formula(bend), Constant(1.0))
    value = plain.at(t, x)
    f, d_f = plain.transform.dual(x, t)
    moved = ScheduleValue(
        value.alpha / k,
        value.sigma,
        value.d_alpha / k - value.alpha * d_k / k**2,
        value.d_sigma,
        value.gamma + 2 * k.log(),
        value.d_gamma + 2 * d_k / k,
    )
    torch.testing.assert_close(
        NDM.velocity(z, k * f, k * d_f + d_k * f, moved), NDM.velocity(z, f, d_f, value), rtol=1e-12, atol=1e-12
    )
    torch.testing.assert_close(NDM.score(z, k * f, moved), NDM.score(z, f, value), rtol=1e-12, atol=1e-12)


def test_a_constant_transform_costs_nothing_on_the_way():
    """F that forgets x gives L_diff = 0 in discrete and continuous time, whatever x_hat is."""
    model = make(SCHEDULE, lambda z, t: torch.tanh(3 * z) + t, transform=Formula(lambda x, t: 0 * x + torch.cos(t)))
    x = torch.linspace(-2, 2, 5, dtype=torch.float64)[:, None]
    for objective in (continuous(model), discrete(model, 5)):
        assert torch.equal(expected(objective, x, fine(41), nodes=20).diffusion, torch.zeros(5, dtype=torch.float64))
