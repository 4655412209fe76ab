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
    # Both curves along a leading axis: on a GPU, launches count and not entries.

    @staticmethod
    def forward(ctx, z, u, a):
        curves = a.view(2, 5, 1, -1)
        sigmoid = torch.addcmul(curves[:, 2], curves[:, 1], u).sigmoid_()
        mu, v = torch.addcmul(curves[:, 4], curves[:, 3], u).addcmul_(
            sigmoid, curves[:, 0]
        )
        centred = z - mu
        ctx.save_for_backward(centred, u, curves, sigmoid, v)
        return mu.addcmul_(centred, v)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        centred, u, curves, sigmoid, v = ctx.saved_tensors
        gradient_z = gradient * v
        # Of each parameter, the entries that its gradient sums up.
        parts = gradient.new_empty(2, 5, *gradient.shape)
        product, inner_u, inner, line_u, line = parts.unbind(1)
        torch.sub(gradient, gradient_z, out=line[0])
        torch.mul(gradient, centred, out=line[1])
        torch.mul(line, sigmoid, out=product)
        torch.mul(line, u, out=line_u)
        torch.addcmul(product, product, sigmoid, value=-1, out=inner).mul_(curves[:, 0])
        torch.mul(inner, u, out=inner_u)
        gradient_a = parts.sum(2).view(10, -1)
        of_mu, of_v = inner.mul_(curves[:, 1]).addcmul_(line, curves[:, 3])
        return gradient_z, of_mu.add_(of_v), gradient_a
