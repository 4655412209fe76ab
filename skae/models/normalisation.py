"""Columns of mean zero and variance one, over a batch that may be in shards.

Functions of `skae.rows.lockstep` that hold the shards of a batch exchange their sums:
the mean and the variance are those of the whole batch, and so are their gradients.
"""

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional

from skae.rows.lockstep import exchange, n_exchanged

__all__ = ["EPSILON", "normalised"]

EPSILON = 1e-5


def normalised(x: Tensor) -> Tensor:
    """Columns of mean zero and variance one over the batch (Ioffe and Szegedy 2015)."""
    if n_exchanged() is not None:
        return _InStep.apply(x)
    # Mean and variance, and their gradients, in one pass each.
    return functional.batch_norm(x, None, None, training=True, eps=EPSILON)


class _InStep(Function):
    """`normalised` of a shard."""

    @staticmethod
    def forward(ctx, x):
        ctx.tag = n_exchanged()
        var, mean = torch.var_mean(x, 0, unbiased=False)
        parts = exchange((len(x), mean, var), ctx.tag)
        ctx.n_rows = sum(n for n, _, _ in parts)
        shares = [n / ctx.n_rows for n, _, _ in parts]
        mean = sum(share * m for share, (_, m, _) in zip(shares, parts, strict=True))
        var = sum(
            # Within shards, and between them (Chan et al. 1979).
            share * (v + (m - mean).square())
            for share, (_, m, v) in zip(shares, parts, strict=True)
        )
        scale = (var + EPSILON).rsqrt()
        z = functional.batch_norm(x, mean, var, training=False, eps=EPSILON)
        ctx.save_for_backward(z, scale)
        return z

    @staticmethod
    @once_differentiable
    def backward(ctx, slope):
        z, scale = ctx.saved_tensors
        own = torch.stack([slope.sum(0), (slope * z).sum(0)])
        along = sum(exchange(own, ("gradient", ctx.tag))) / ctx.n_rows
        return torch.addcmul(slope - along[0], z, along[1], value=-1).mul_(scale)
