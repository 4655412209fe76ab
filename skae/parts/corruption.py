"""Corruptions: what is done to a row before the encoder sees it.

A corruption is called as ``corruption(x, generator) -> x_tilde``; the target of the
reconstruction stays clean. The objective calls it once a training step and never at
prediction time.
"""

import torch
from sklearn.base import BaseEstimator
from torch import Generator, Tensor

__all__ = ["GaussianNoise", "NoCorruption"]


class NoCorruption(BaseEstimator):
    """The identity: the encoder sees the row itself.

    Shape
    -----
    x, x_tilde : ``(..., n_features)``
    """

    def __call__(self, x: Tensor, generator: Generator | None) -> Tensor:
        """Return ``x``, the same tensor."""
        return x


class GaussianNoise(BaseEstimator):
    """Independent Gaussian noise on every entry (Vincent et al. 2010).

    Parameters
    ----------
    scale : float, default=0.3
        Standard deviation, in the units of x.

    Shape
    -----
    x, x_tilde : ``(..., n_features)``

    Examples
    --------
    >>> import torch
    >>> from skae.parts.corruption import GaussianNoise
    >>> noise = GaussianNoise(0.5)
    >>> x_tilde = noise(torch.zeros(10_000, 1), torch.Generator().manual_seed(0))
    >>> round(float(x_tilde.std()), 1)
    0.5
    """

    def __init__(self, scale=0.3):
        self.scale = scale

    def __call__(self, x: Tensor, generator: Generator | None) -> Tensor:
        """Return x plus noise drawn from ``generator``, on the CPU for every device."""
        noise = torch.randn(x.shape, generator=generator, dtype=x.dtype)
        return x + self.scale * noise.to(x.device)
