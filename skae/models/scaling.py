"""Gain and shift of a normalised layer, with their gradient written out by hand.

`skae.models.stack` calls it for every layer of every pass; autograd of its formula
takes ten operations instead of six. It knows no module. Gradients of gradients are
refused.
"""

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

__all__ = ["scaled"]


def scaled(z: Tensor, gain: Tensor, shift: Tensor) -> Tensor:
    """gain * (z + shift).

    Parameters
    ----------
    z : Tensor of shape (batch, width)
    gain, shift : Tensor of shape (width,)
    """
    return _Scaled.apply(z, gain, shift)


class _Scaled(Function):
    @staticmethod
    def forward(ctx, z, gain, shift):
        ctx.save_for_backward(z, gain, shift)
        return torch.addcmul(gain * shift, gain, z)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        z, gain, shift = ctx.saved_tensors
        total = gradient.sum(0)
        gradient_gain = (gradient * z).sum(0).addcmul_(total, shift)
        return gradient * gain, gradient_gain, total * gain
