"""Corruptions: what is done to a row before the encoder sees it.

A corruption is called as ``corruption(x, generator) -> x_tilde``; the target of the
reconstruction stays clean. The objective calls it once a training step and never at
prediction time.
"""

from sklearn.base import BaseEstimator
from torch import Generator, Tensor

__all__ = ["NoCorruption"]


class NoCorruption(BaseEstimator):
    """The identity: the encoder sees the row itself.

    Shape
    -----
    x, x_tilde : ``(..., n_features)``
    """

    def __call__(self, x: Tensor, generator: Generator | None) -> Tensor:
        """Return ``x``, the same tensor."""
        return x
