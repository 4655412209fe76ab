"""The ladder network's combinator, with its gradient written out by hand.

`LadderDecoder` calls it for every level of every training step; autograd of its formula
takes a third longer. It knows no module. Gradients of gradients are refused.
"""

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

__all__ = ["combined"]


def combined(z: Tensor, u: Tensor, a: Tensor) -> Tensor:
    """g(z, u) = (z - mu(u)) v(u) + mu(u), Rasmus et al. 2015, appendix B.

    Parameters
    ----------
    z, u : Tensor of shape (batch, width)
    a : Tensor of shape (10, width)
        Parameters of mu, then of v: a_0 sigmoid(a_1 u + a_2) + a_3 u + a_4.
    """
    return _Combined.apply(z, u, a)


class _Combined(Function):
    @staticmethod
    def forward(ctx, z, u, a):
        of_mu, mu = _curve(u, a[:5])
        of_v, v = _curve(u, a[5:])
        centred = z - mu
        ctx.save_for_backward(centred, u, a, of_mu, of_v, v)
        return mu.addcmul_(centred, v)

    @staticmethod
    @once_differentiable
    def backward(ctx, slope):
        centred, u, a, of_mu, of_v, v = ctx.saved_tensors
        slope_z = slope * v
        slope_a = torch.empty_like(a)
        slope_u = _curve_slope(slope - slope_z, u, a[:5], of_mu, slope_a[:5])
        slope_u += _curve_slope(slope * centred, u, a[5:], of_v, slope_a[5:])
        return slope_z, slope_u, slope_a


def _curve(u, a):
    """A sigmoid of u, and the curve: a line plus a multiple of it."""
    sigmoid = torch.addcmul(a[2], a[1], u).sigmoid_()
    return sigmoid, torch.addcmul(a[4], a[3], u).addcmul_(sigmoid, a[0])


def _curve_slope(slope, u, a, sigmoid, slope_a):
    """Fill the slopes of a curve's parameters and return that of u."""
    product = slope * sigmoid
    torch.sum(product, 0, out=slope_a[0])
    torch.sum(slope * u, 0, out=slope_a[3])
    torch.sum(slope, 0, out=slope_a[4])
    inner = product.addcmul_(product, sigmoid, value=-1).mul_(a[0])
    torch.sum(inner * u, 0, out=slope_a[1])
    torch.sum(inner, 0, out=slope_a[2])
    return inner.mul_(a[1]).addcmul_(slope, a[3])
