"""A basis of time that vanishes at t = 0: b_k(t) = t P_{k-1}(2t - 1), k = 1..degree, with Legendre polynomials P.

Bounded by one and, but for the factor t, orthogonal on [0, 1], they keep coefficients comparable at any degree, unlike
powers. Values and derivatives come from (k+1) P_{k+1} = (2k+1) s P_k - k P_{k-1} and P'_{k+1} = P'_{k-1} + (2k+1) P_k.
"""

import torch
from torch import Tensor


def legendre(t: Tensor, degree: int) -> tuple[Tensor, Tensor]:
    """b_k(t) and b_k'(t) for k = 1..degree, both [degree, *t.shape]."""
    s = 2 * t - 1
    p, d_p = [torch.ones_like(t), s], [torch.zeros_like(t), torch.ones_like(t)]
    for k in range(1, degree - 1):
        p.append(((2 * k + 1) * s * p[k] - k * p[k - 1]) / (k + 1))
        d_p.append(d_p[k - 1] + (2 * k + 1) * p[k])
    value = torch.stack(p[:degree])
    return t * value, value + 2 * t * torch.stack(d_p[:degree])
