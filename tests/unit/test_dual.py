"""Value and tangent in one pass: every rule against torch.func.jvp, and nothing without a rule slips through."""

import pytest
import torch
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from ndm import dual
from ndm.dual import NoRule, Stacked
from ndm.networks.unet import Config

B, C, H, W = 3, 8, 4, 6


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


K, L, V = draw(5, C, 3, 3, seed=1), draw(7, W, seed=2), draw(C, seed=3)
OPERATIONS = {
    "sum": lambda a, b: a + b,
    "sum with a constant": lambda a, b: 2.5 + a + V[:, None, None] + b,
    "sum of unequal ranks": lambda a, b: a + a[0, 0] + b[:, :, :1, :1],
    "a constant of higher rank": lambda a, b: (K.new_ones(2, 1, 1, 1, 1) + a) * b,
    "difference": lambda a, b: 1 - a - b + (V[:, None, None] - a) + (a - 0.5),
    "product": lambda a, b: a * b * a[:, :1] * 3 * V[:, None, None] * -b,
    "quotient": lambda a, b: a / (b * b + 1) / 3 + 2 / (a * a + 1) + V[:, None, None] / (a * a + 2),
    "matrices": lambda a, b: (a @ b.transpose(2, 3)) @ a,
    "a matrix and a constant": lambda a, b: (
        (L @ a.transpose(-1, -2)) @ K[0, 0, :1].new_ones(4, 2) + b.mean((2, 3))[..., None, None]
    ),
    "linear": lambda a, b: functional.linear(a, L, draw(7)) * functional.linear(b, L),
    "linear of rows": lambda a, b: functional.linear(a.flatten(1), draw(2, C * H * W), draw(2)),
    "convolution": lambda a, b: functional.conv2d(a, K, draw(5), padding=1) * functional.conv2d(b, K, padding=1),
    "convolution with keys": lambda a, b: functional.conv2d(a, K[:4, :2], draw(4), stride=2, groups=4),
    "one-dimensional convolution": lambda a, b: functional.conv1d(a.flatten(2), K[:, :, 0], draw(5)),
    "averages": lambda a, b: functional.avg_pool2d(a * b, 2),
    "nearest neighbours": lambda a, b: functional.interpolate(a * b, scale_factor=2.0),
    "bilinear": lambda a, b: functional.interpolate(a * b, scale_factor=2.0, mode="bilinear"),
    "sine and cosine": lambda a, b: a.sin() * torch.cos(b),
    "exponentials": lambda a, b: torch.exp(a) + torch.tanh(b) * torch.sigmoid(a),
    "roots": lambda a, b: torch.sqrt(a.square() + 1) + torch.rsqrt(b.square() + 1),
    "silu": lambda a, b: functional.silu(a) * b,
    "gelu": lambda a, b: functional.gelu(a) * functional.gelu(b, approximate="tanh"),
    "softmax": lambda a, b: torch.softmax(a, 1) * torch.softmax(b, dim=-1) * a.softmax(-2),
    "group norm": lambda a, b: functional.group_norm(a, 4, V, V + 1) * b,
    "group norm and silu": lambda a, b: functional.silu(functional.group_norm(a * b, 2, V, V + 1, 1e-3)),
    "group norm without weights": lambda a, b: functional.silu(functional.group_norm(a * b, 8)),
    "group norm of vectors": lambda a, b: functional.silu(functional.group_norm(a[:, :, 0, 0], 2, V, V)),
    "a norm used twice": lambda a, b: (lambda n: functional.silu(n) * n)(functional.group_norm(a, 2, V, V)),
    "means and sums": lambda a, b: a.mean(-1, keepdim=True) * b.sum((0, 2), keepdim=True) + torch.mean(a, 1, True),
    "concatenation": lambda a, b: torch.cat([a, V.reshape(1, C, 1, 1).expand_as(K.new_empty(B, C, H, W)), b], dim=1),
    "forms": lambda a, b: a.reshape(B, -1, W).permute(2, 0, 1).flatten(1) * b.view((W, B * C * H)),
    "forms of forms": lambda a, b: (
        a.unflatten(1, (2, -1)).transpose(0, 1)[0].unsqueeze(-1).contiguous() * b[0, 0, 0, 0]
    ),
    "parts": lambda a, b: (
        a.chunk(2, dim=1)[1] * b[:, 4:, :, None, ..., 0] + torch.reshape(b.unbind(1)[2], (B, 1, H, -1))
    ),
    "rows": lambda a, b: [*a][1] * len(a) + b[-1] * b.shape[1] * a.ndim,
}


def agree(f, primals, tangents, tolerance=1e-12):
    """Value, tangent, the gradients of both, and the gradients of these, against forward mode."""
    primals = [p.clone().requires_grad_() for p in primals]
    results = []
    for way in (dual.stacked, dual.forward_mode):
        value, tangent = way(f, primals, tangents)
        cotangents = draw(*value.shape, seed=5), draw(*value.shape, seed=6)
        loss = sum((c * v + v.square()).sum() for c, v in zip(cotangents, (value, tangent), strict=True))
        plain = torch.autograd.grad(loss, primals, retain_graph=True, materialize_grads=True, allow_unused=True)
        graph = torch.autograd.grad(loss, primals, create_graph=True, materialize_grads=True, allow_unused=True)
        twice = torch.autograd.grad(
            sum(g.square().sum() for g in graph), primals, materialize_grads=True, allow_unused=True
        )
        results.append([value, tangent, *plain, *graph, *twice])
    for own, expected in zip(*results, strict=True):
        assert own.shape == expected.shape
        torch.testing.assert_close(
            own, expected, rtol=tolerance, atol=tolerance * (1 + float(expected.detach().abs().max()))
        )


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("moving", [(True, True), (True, False), (False, True)], ids=["both", "first", "second"])
def test_a_rule_is_the_derivative(name, moving):
    x, y = draw(B, C, H, W, seed=3), draw(B, C, H, W, seed=4)
    tangents = [draw(B, C, H, W, seed=7 + i) if moves else None for i, moves in enumerate(moving)]
    agree(OPERATIONS[name], [x, y], tangents)


def test_what_depends_on_constants_alone_has_a_zero_tangent():
    value, tangent = dual.jvp(lambda x, t: x.sin(), (V, V), (None, V))
    assert torch.equal(value, V.sin())
    assert torch.equal(tangent, torch.zeros_like(V))


WITHOUT_A_RULE = {
    "an unknown function": lambda x, t: torch.erf(t) * x,
    "an unknown method": lambda x, t: t.cumsum(0) * x,
    "a power": lambda x, t: t**3 * x,
    "an argument no rule knows": lambda x, t: torch.add(x, t, alpha=2),
    "a tensor as an index": lambda x, t: x * t[torch.tensor([1, 0, 2])],
    "no graph inside": lambda x, t: x * t + quiet(t),
}


def quiet(t):
    with torch.no_grad():
        return t * 2


@pytest.mark.parametrize("name", WITHOUT_A_RULE)
def test_forward_mode_takes_over_where_there_is_no_rule(name, caplog):
    f = WITHOUT_A_RULE[name]
    x, t = (draw(3, seed=seed).requires_grad_() for seed in (1, 2))
    with pytest.raises(NoRule):
        dual.stacked(f, (x, t), (None, torch.ones_like(t)))
    results = []
    for way in (dual.jvp, dual.forward_mode):
        value, tangent = way(f, (x, t), (None, torch.ones_like(t)))
        gradients = torch.autograd.grad((value * tangent).sum(), (x, t), allow_unused=True)
        results.append([value, tangent, *gradients])
    for own, expected in zip(*results, strict=True):
        assert torch.equal(own, expected)
    assert len(caplog.records) <= 1  # once for each operation in a process
    assert all("no rule" in record.message and "torch.func.jvp" in record.message for record in caplog.records)


@pytest.mark.parametrize(
    "decide",
    [
        lambda a: a > 0,
        lambda a: a == a,
        bool,
        float,
        lambda a: 0.5 in a,
        lambda a: a.add_(1),
        lambda a: functional.silu(a, inplace=True),
        lambda a: a.requires_grad,
        lambda a: functional.linear(L, a),
        lambda a: functional.dropout(a),
        torch.zeros_like,
        lambda a: a.numpy(),
    ],
)
def test_nothing_reads_or_changes_the_value_behind_the_tangent(decide):
    with pytest.raises(NoRule):
        decide(Stacked(draw(2, 7)))


def test_an_update_in_place_is_refused():
    a = Stacked(draw(2, 3, 4))
    with pytest.raises(NoRule):
        a += 1
    with pytest.raises(NoRule):
        a[0] = 1


def test_a_function_of_its_own_does_not_lose_the_gradient():
    """A custom autograd.Function runs its forward without a graph: the pair must not go through it."""

    class Double(torch.autograd.Function):
        generate_vmap_rule = True

        @staticmethod
        def forward(t):
            return 2 * t

        @staticmethod
        def setup_context(ctx, inputs, output):
            pass

        @staticmethod
        def backward(ctx, grad):
            return 2 * grad

        @staticmethod
        def jvp(ctx, tangent):
            return 2 * tangent

    w = draw(3).requires_grad_()
    value, tangent = dual.jvp(lambda t: Double.apply(t * w), (V[:3],), (torch.ones_like(V[:3]),))
    assert torch.equal(value, 2 * w * V[:3])
    assert torch.equal(torch.autograd.grad(tangent.sum(), w)[0], torch.full_like(w, 2))


@pytest.fixture
def unet(randomise):
    return randomise(Config(channels=8, groups=2).build((2, 4, 4)).double())


def test_transforms_of_functions_go_through(unet):
    """Forward over, reverse over and vmap over the dual of a U-Net agree."""
    t, one = torch.tensor([0.3], dtype=torch.float64), torch.ones(1, dtype=torch.float64)

    def tangent(x):
        return dual.stacked(unet, (x.reshape(1, 2, 4, 4), t), (None, one))[1].flatten()

    x = draw(32)
    forward, reverse = torch.func.jacfwd(tangent)(x), torch.func.jacrev(tangent)(x)
    by_rows = torch.stack([torch.autograd.grad(tangent(x.requires_grad_())[i], x)[0] for i in range(32)])
    assert forward.abs().max() > 1e-3
    torch.testing.assert_close(forward, reverse, rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(by_rows, reverse, rtol=1e-11, atol=1e-12)


def test_activation_checkpoints_give_the_same_gradients(unet):
    """Recomputing inside the pass, which torch.func.jvp cannot: the pair is an argument like any other."""
    x, t = draw(3, 2, 4, 4), draw(3).abs()

    def recomputed(x, t):
        return checkpoint(unet, x, t, use_reentrant=False)

    results = []
    for f in (unet, recomputed):
        value, tangent = dual.stacked(f, (x, t), (None, torch.ones_like(t)))
        results.append([value, tangent, *torch.autograd.grad((value * tangent).sum(), list(unet.parameters()))])
    for own, expected in zip(*results, strict=True):
        assert torch.equal(own, expected)


def test_channels_in_the_last_place_change_nothing(unet):
    x, t = draw(3, 2, 4, 4), draw(3).abs()
    last = x.to(memory_format=torch.channels_last)
    moved = unet.to(memory_format=torch.channels_last)
    for own, expected in zip(
        dual.stacked(moved, (last, t), (None, torch.ones_like(t))),
        dual.forward_mode(unet.to(memory_format=torch.contiguous_format), (x, t), (None, torch.ones_like(t))),
        strict=True,
    ):
        torch.testing.assert_close(own, expected, rtol=1e-12, atol=1e-12)


def test_less_is_kept_for_the_backward_pass_than_by_forward_mode(unet):
    """Bytes that autograd keeps: a norm with its activation keeps the pair that goes in."""
    x, t = draw(3, 2, 4, 4), draw(3).abs()

    def kept(run):
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(lambda a: (sizes.append(a.numel()), a)[1], lambda a: a):
            run()
        return sum(sizes)

    own = kept(lambda: dual.stacked(unet, (x, t), (None, torch.ones_like(t))))
    assert own < 2.5 * kept(lambda: unet(x, t))
