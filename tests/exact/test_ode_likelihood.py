"""The ODE's likelihood against densities known in closed form, against SciPy, and against a sum over a whole cell."""

from math import log, pi

import numpy as np
import pytest
import torch
from benches import Formula, bend, line, make, three_atoms
from scipy.integrate import solve_ivp

from ndm.data.sources import rings
from ndm.decoders import for_levels
from ndm.errors import UserError
from ndm.likelihood.dequantise import dequantise
from ndm.likelihood.importance import Settings, ode_nats, recipe
from ndm.likelihood.ode import log_density, standard_normal
from ndm.likelihood.statistics import mean
from ndm.model import Model
from ndm.processes.ndm import NDM
from ndm.transforms.identity import Identity
from ndm.volatilities.constant import Constant

ONE = torch.ones(1, dtype=torch.float64)


class Normals:
    """A mixture of isotropic normals in D dimensions, diffused with F = identity."""

    def __init__(self, schedule, p, means, variances):
        self.process = NDM(schedule, Identity(), Constant(1.0))
        self.p, self.means, self.variances = (torch.as_tensor(v, dtype=torch.float64) for v in (p, means, variances))

    def law(self, z, t):
        """(ln of each component's share of q(z_t), its mean, its regression slope), [B, K] and broadcastable."""
        value = self.process.at(t, z)
        variance = value.alpha**2 * self.variances + value.sigma**2
        mean = value.alpha[..., None] * self.means
        squares = (z[:, None] - mean).square().sum(2)
        size = z.shape[1]
        return (
            self.p.log() - squares / (2 * variance) - size / 2 * (2 * pi * variance).log(),
            mean,
            value.alpha,
            variance,
        )

    def log_density(self, z, t):
        return torch.logsumexp(self.law(z, t)[0], 1)

    def x_hat(self, z, t):
        """E[x | z_t]; t shaped [B, 1]."""
        joint, mean, alpha, variance = self.law(z, t[:, 0])
        slope = (alpha * self.variances / variance)[..., None]
        return (torch.softmax(joint, 1)[..., None] * (self.means + slope * (z[:, None] - mean))).sum(1)

    def model(self, decoder=None):
        return make(self.process.schedule, self.x_hat, decoder=decoder, shape=self.means.shape[1:])


def pair():
    """0.3 N(-1.5, 0.4^2) + 0.7 N(1, 0.6^2)."""
    return Normals(line(-8, 8), [0.3, 0.7], [[-1.5], [1.0]], [0.16, 0.36])


class Averaged(Model):
    """(F, dF/dt) averaged over the posterior of x given z_t, which is what an optimal direct head gives."""

    def __init__(self, atoms):
        made = make(atoms.process.schedule, lambda z, t: z, transform=atoms.process.transform)
        super().__init__(made.process, made.network, made.head, made.decoder, (1,))
        self.atoms = atoms

    def dual(self, z, t):
        return self.atoms.oracle(z, t)


def column(*values):
    return torch.tensor(values, dtype=torch.float64)[:, None]


def at(law, z, t):
    return law.log_density(z, torch.full((len(z),), t, dtype=torch.float64))


def test_mixture():
    """With the true end density the ODE gives ln q(z_0); with the model's prior N(0, I), the model's own likelihood."""
    law, z = pair(), column(-1.5, 0.0, 1.0)
    found = log_density(law.model(), z, tolerance=1e-11, prior=lambda z: at(law, z, 1.0))
    torch.testing.assert_close(found.log_density, at(law, z, 0.0), rtol=0, atol=1e-9)
    assert found.log_density.tolist() == pytest.approx([-1.2072343, -2.1503763, -0.7650859], abs=5e-8)
    own = log_density(law.model(), z, tolerance=1e-9)
    assert own.log_density.tolist() == pytest.approx([-1.2025, -2.1483, -0.7668], abs=5e-5)
    assert (own.evaluations < found.evaluations).all()


def test_nonlinear_transform_needs_the_average_of_f_and_of_its_derivative():
    """The averaged field transports q(z_t) exactly for any F; F at x_hat = E[x | z_t] is another field."""
    atoms = three_atoms(NDM(line(-4, 4), Formula(bend), Constant(1.0)))
    z = column(-1.3, 0.1)
    settings = {"tolerance": 1e-11, "prior": lambda z: at(atoms, z, 1.0)}
    exact = at(atoms, z, 0.0)
    averaged = log_density(Averaged(atoms), z, **settings).log_density
    torch.testing.assert_close(averaged, exact, rtol=0, atol=1e-9)
    through_x = make(line(-4, 4), lambda z, t: atoms.x_hat(z, t[:, 0]), transform=Formula(bend))
    settings["tolerance"] = 1e-7
    assert (log_density(through_x, z, **settings).log_density - exact).abs().max() > 0.1


def ring(gamma_0):
    variances = [rings.LAW.sd**2] * rings.MODES
    return Normals(line(gamma_0, 8), [1 / rings.MODES] * rings.MODES, rings.LAW.centres, variances)


def test_rings():
    """z_0's density is that of the data, scaled by alpha_0 and widened by sigma_0; at gamma_0 = -20 the data's own."""
    x = torch.tensor([[2.0, 0.1], [-1.3, 1.5], [0.0, -2.3], [1.6, 0.7]], dtype=torch.float64)
    law = ring(-3)
    start = law.process.at(torch.zeros(4, dtype=torch.float64), x)
    found = log_density(law.model(), start.alpha * x, tolerance=1e-9, prior=lambda z: at(law, z, 1.0)).log_density
    sd = float((rings.LAW.sd**2 + start.sigma[0] ** 2 / start.alpha[0] ** 2).sqrt())
    squares = (x[:, None] - torch.from_numpy(rings.LAW.centres)).square().sum(2)
    widened = torch.logsumexp(-squares / (2 * sd**2), 1) - log(rings.MODES * 2 * pi * sd**2)
    torch.testing.assert_close(found + 2 * start.alpha[:, 0].log(), widened, rtol=0, atol=1e-7)
    own = torch.from_numpy(rings.LAW.log_density(x.numpy()))
    assert (widened - own).abs().max() > 0.1
    settings = Settings(way="point", probes=0, tolerance=1e-8, check=1)
    nats = ode_nats(ring(-20).model(), x, 0, seed=0, settings=settings)
    torch.testing.assert_close(-nats.nats, own, rtol=0, atol=2e-3)  # the prior is N(0, I) here, not q(z_1)


def test_probes_give_the_exact_trace_on_average():
    """In two dimensions the two sign vectors (1, 1) and (1, -1) give the trace together, on the same path."""
    law = ring(-6)
    z = torch.tensor([[1.5, 1.1], [-1.9, 0.2]], dtype=torch.float64)
    signs = torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=torch.float64)[:, None].expand(2, 2, 2)
    exact = log_density(law.model(), z, tolerance=1e-6)
    both = log_density(law.model(), z, tolerance=1e-6, probes=signs)
    single = [log_density(law.model(), z, tolerance=1e-6, probes=signs[i : i + 1]) for i in range(2)]
    torch.testing.assert_close(both.log_density, exact.log_density, rtol=0, atol=1e-10)
    torch.testing.assert_close(
        (single[0].log_density + single[1].log_density) / 2, exact.log_density, rtol=0, atol=1e-10
    )
    assert (single[0].log_density - exact.log_density).abs().min() > 0.01
    assert torch.equal(both.evaluations, exact.evaluations)


def test_against_scipy():
    """Nothing of the oracle, the solver or the divergence in common: RK45 in one system, the trace by differences."""
    weights = torch.tensor([[0.9, 0.3], [-0.2, 1.1]], dtype=torch.float64)
    model = make(
        line(-4, 4),
        lambda z, t: torch.tanh(z @ weights + t),
        transform=Formula(lambda x, t: x + t * torch.sin(2 * x.flip(1) + 3 * t)),
        shape=(2,),
    )
    z = torch.tensor([[0.4, -0.8], [1.1, 0.3]], dtype=torch.float64)
    found = log_density(model, z, tolerance=1e-9)
    h = 1e-4
    shifts = torch.cat([k * h * torch.eye(2, dtype=torch.float64) for k in (1, -1, 2, -2)])
    for i in range(2):

        def field(time, state):
            points = torch.from_numpy(state[:2]) + torch.cat([torch.zeros(1, 2, dtype=torch.float64), shifts])
            u = model.velocity(points, torch.full((9,), time, dtype=torch.float64))
            near, far = u[1:3] - u[3:5], u[5:7] - u[7:9]
            return np.append(u[0].numpy(), float(((8 * near - far) / (12 * h)).trace()))

        end = solve_ivp(field, (0, 1), np.append(z[i].numpy(), 0.0), method="RK45", rtol=1e-8, atol=1e-9).y[:, -1]
        expected = float(standard_normal(torch.from_numpy(end[None, :2]))) + end[2]
        assert float(found.log_density[i]) == pytest.approx(expected, abs=2e-6)


LEVELS = 3


def levels():
    """Three levels of probabilities 0.2, 0.5 and 0.3, blurred: some of the mass lies between the levels."""
    return Normals(line(-4, 10), [0.2, 0.5, 0.3], [[-2 / 3], [0.0], [2 / 3]], [0.02] * 3).model(for_levels(LEVELS))


NODES, WEIGHTS = (torch.from_numpy(v) for v in np.polynomial.legendre.leggauss(60))


def cell(model):
    """-ln of the mass that the model's z_0 has in the cell of level 0.5, the middle one."""
    half = float(model.process.at(0 * ONE, ONE).alpha) / LEVELS
    density = log_density(model, half * NODES[:, None], tolerance=1e-7).log_density.exp()
    return -log(float(WEIGHTS @ density) * half)


def softmax(model):
    """-ln int p(z_0) P(x | z_0) dz_0 of the middle level; over all levels the probabilities sum to one."""
    z = torch.linspace(-2.5, 2.5, 251, dtype=torch.float64)[:, None]
    start = model.process.at(0 * ONE, ONE)
    density = log_density(model, z, tolerance=1e-7).log_density.exp() * (z[1, 0] - z[0, 0])
    values = [torch.full_like(z, (2 * k + 1) / LEVELS - 1) for k in range(LEVELS)]
    p = [float((density * model.decoder.log_prob(v, z, start.alpha, start.sigma).exp()).sum()) for v in values]
    assert sum(p) == pytest.approx(1, abs=1e-5)
    return -log(p[1])


@pytest.mark.parametrize(("way", "truth"), [("uniform", cell), ("tn", cell), ("decoder", softmax)])
def test_bounds_and_what_they_bound(way, truth):
    """The mean weight over all of a way's noise is P(x), by quadrature, and the mean of its log lies below.

    "uniform" and "tn" are for the mass of the cell, "decoder" for the model's own decoder. Draws of `ode_nats` come
    from the same law: one draw is at the mean of the log, more are lower, and none below the truth.
    """
    model = levels()
    exact = truth(model)
    # Nodes crowd at both ends of (0, 1), where the noise has its tails: u = sigmoid(3 v), du = 3 u (1 - u) dv.
    v = torch.linspace(-6, 6, 121, dtype=torch.float64)
    u, weight = torch.sigmoid(v * 3), torch.softmax(torch.nn.functional.logsigmoid(3 * v) * 2 - 3 * v, 0)
    latent = dequantise(model, torch.zeros(121, 1, dtype=torch.float64), way, u[:, None])
    log_weights = log_density(model, latent.z, tolerance=1e-6).log_density - latent.cost
    assert -float((weight.log() + log_weights).logsumexp(0)) == pytest.approx(exact, abs=1e-4)
    single = -float(weight @ log_weights)
    assert single > exact + 0.005
    x = torch.zeros(100, 1, dtype=torch.float64)
    for draws in (1, 8):
        settings = Settings(way=way, draws=draws, probes=0, tolerance=1e-4, check=1000)
        nats = mean(ode_nats(model, x, 1, seed=2, settings=settings).nats)
        assert abs(nats.value - (single if draws == 1 else exact)) < 4 * nats.error + (draws > 1) * (single - exact) / 4
        assert nats.value > exact - 3 * nats.error


def test_an_image_has_its_own_noise():
    """Scored together or in two blocks: the same nats, evaluations and errors; another seed or id, other nats."""
    model = levels()
    x = torch.tensor([[-2 / 3], [0.0], [2 / 3], [0.0], [0.0]], dtype=torch.float64)
    settings = Settings(way="tn", draws=2, probes=0, tolerance=1e-5, check=3)
    whole = ode_nats(model, x, 7, seed=4, settings=settings)
    parts = [ode_nats(model, x[:2], 7, seed=4, settings=settings), ode_nats(model, x[2:], 9, seed=4, settings=settings)]
    for name in ("nats", "evaluations", "error"):
        together = torch.cat([getattr(part, name) for part in parts])
        torch.testing.assert_close(getattr(whole, name), together, rtol=0, atol=1e-10, equal_nan=True)
    assert whole.error.isfinite().tolist() == [False, False, True, False, False]
    assert len(set(whole.nats.tolist())) == 5
    other = ode_nats(model, x, 7, seed=5, settings=settings).nats
    assert (other - whole.nats).abs().min() > 1e-6


@pytest.mark.parametrize("probes", [0, 1])
def test_the_error_it_states_is_the_error_it_makes(probes):
    """Against a tolerance ten thousand times smaller with the same noise, to two digits."""
    law = ring(-8)
    x = torch.tensor([[2.0, 0.1], [-1.3, 1.5], [0.0, -2.3], [1.6, 0.7]], dtype=torch.float64)
    settings = Settings(way="decoder", probes=probes, tolerance=1e-4, check=1)
    rough = ode_nats(law.model(), x, 0, seed=1, settings=settings)
    fine = ode_nats(law.model(), x, 0, seed=1, settings=settings.model_copy(update={"tolerance": 1e-8, "check": 9}))
    actual = rough.nats - fine.nats
    assert actual.abs().max() > 1e-6
    assert float((rough.error - actual).norm() / actual.norm()) < 0.1
    assert rough.evaluations.mean() < fine.evaluations.mean()


def test_draws_with_probes_are_refused():
    with pytest.raises(UserError, match="draws = 2 with probes = 1 would be no bound: give probes = 0, or draws = 1"):
        ode_nats(levels(), torch.zeros(1, 1), 0, seed=0, settings=Settings(draws=2))


def test_recipes():
    assert [recipe(Settings(**s)) for s in ({}, {"draws": 20, "probes": 0}, {"way": "point", "probes": 4})] == [
        "ode_tn_k1_h1",
        "ode_tn_k20_exact",
        "ode_point_h4",
    ]
