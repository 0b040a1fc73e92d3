"""Derivatives in time and space of whole models: both modes agree, and no fused kernel stands in the way."""

import pytest
import torch
from benches import Formula, bend, line
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from ndm.decoders.gaussian import Gaussian
from ndm.model import Model
from ndm.networks.unet import Attention
from ndm.processes.ndm import NDM
from ndm.registry import kinds, variant
from ndm.sampling.ode import Ode
from ndm.volatilities.constant import Constant

SHAPE = (1, 2, 2)


def build(kind, network="mlp", shape=SHAPE):
    """A model with that transform."""
    size = {"width": 8, "depth": 1} if network == "mlp" else {"channels": 4}
    config = variant("ndm.networks", network).Config(**size)
    transform = variant("ndm.transforms", kind).Config
    made = transform(network=config) if "network" in transform.model_fields else transform()
    process = NDM(line(-5, 4), made.build(shape), Constant(1.0))
    return Model(process, config.build(shape), variant("ndm.heads", "v").Config().build(), Gaussian(), shape)


@pytest.mark.parametrize("kind", kinds("ndm.transforms"))
def test_latent_of_the_decoder_is_that_of_the_process(kind, randomise):
    """F(x, 0) = x to the last bit, so the decoder's alpha_0 x + sigma_0 epsilon is a draw from q(z_0 | x)."""
    model = randomise(build(kind).double())
    x, epsilon = torch.randn(2, 4, *SHAPE, dtype=torch.float64)
    zero = torch.zeros(4, dtype=torch.float64)
    value = model.process.at(zero, x)
    z_0 = model.process.latent(model.process.transform(x, zero), value, epsilon)
    expected = -model.decoder.log_prob(x, z_0, value.alpha, value.sigma)
    assert torch.equal(model.process.transform(x, zero), x)
    assert torch.equal(model.reconstruction(x, epsilon), expected)


@pytest.mark.parametrize("kind", kinds("ndm.transforms"))
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-11), (torch.float32, 1e-5)])
def test_divergence_of_the_velocity_by_both_modes(kind, dtype, tolerance, randomise):
    """div u passes through x_hat, F and dF/dt: forward over forward and reverse over forward give one number."""
    model = randomise(build(kind), 0.3).to(dtype)
    z = torch.tensor([0.4, -1.1, 0.7, 0.2], dtype=dtype)
    for time in (0.1, 0.5, 0.9):

        def velocity(place, t=time):
            return model.velocity(place.reshape(1, *SHAPE), torch.tensor([t], dtype=dtype)).flatten()

        forward, reverse = torch.func.jacfwd(velocity)(z), torch.func.jacrev(velocity)(z)
        assert forward.dtype == dtype
        assert not torch.allclose(forward, torch.diag(torch.diag(forward)))
        torch.testing.assert_close(forward, reverse, rtol=tolerance, atol=tolerance)
        torch.testing.assert_close(forward.trace(), reverse.trace(), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    ("kind", "network"), [*((kind, "mlp") for kind in kinds("ndm.transforms")), ("residual", "unet")]
)
def test_every_transform_can_be_sampled_by_the_ode(kind, network, randomise):
    """The solver's time is one number, expanded over the batch: forward mode must accept it."""
    model = randomise(build(kind, network, (1, 4, 4)))
    z = torch.randn(2, 1, 4, 4)
    t = torch.tensor(0.3)
    expanded, full = (model.velocity(z, time) for time in (t.expand(2), torch.full((2,), 0.3)))
    assert torch.equal(expanded, full)
    with torch.no_grad():
        assert Ode(1e-1).run(model, z, 0, 0).z.isfinite().all()


def test_forward_mode_by_default_takes_an_expanded_time():
    """The base class's derivative too, which a new transform inherits."""
    transform = Formula(bend)
    x, t = torch.randn(3, 2, dtype=torch.float64), torch.tensor(0.3, dtype=torch.float64)
    for expanded, full in zip(transform.dual(x, t.expand(3)), transform.dual(x, t.repeat(3)), strict=True):
        assert torch.equal(expanded, full)


def test_fused_attention_has_no_forward_mode_on_the_cpu():
    """Why the U-Net writes its softmax out: the default kernel raises under a tangent, the composed one does not."""
    q = torch.randn(1, 1, 4, 8)

    def attend(t):
        return scaled_dot_product_attention(t * q, q, q)

    one = torch.ones(())
    with pytest.raises(NotImplementedError):
        torch.func.jvp(attend, (one,), (one,))
    with sdpa_kernel(SDPBackend.MATH):
        assert torch.func.jvp(attend, (one,), (one,))[1].abs().max() > 1e-3


def test_written_out_attention_is_attention(randomise):
    """Same numbers as torch's own, and a right forward derivative."""
    attention = randomise(Attention(8, 2).double(), 0.5)
    x = torch.randn(2, 8, 3, 3, dtype=torch.float64)
    q, k, v = attention.qkv(attention.norm(x)).flatten(2).transpose(1, 2).chunk(3, dim=2)
    mixed = scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(x.shape)
    torch.testing.assert_close(attention(x), x + attention.last(mixed), rtol=1e-12, atol=1e-12)
    way, h = torch.randn_like(x), 1e-5
    tangent = torch.func.jvp(attention, (x,), (way,))[1]
    torch.testing.assert_close(
        tangent, (attention(x + h * way) - attention(x - h * way)) / (2 * h), rtol=1e-6, atol=1e-7
    )
