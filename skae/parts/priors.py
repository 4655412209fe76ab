"""Priors: how the code is drawn from what the encoder says, and what that costs.

``draw(h, generator) -> z`` and ``divergence(h) -> (batch,)`` in nats per sample enter
the objective.
"""

from sklearn.base import BaseEstimator
from torch import Generator, Tensor

__all__ = ["NoPrior"]


class NoPrior(BaseEstimator):
    """The deterministic code: z = h, at no cost.

    Shape
    -----
    h, z : ``(..., n_components)``; divergence : ``(...,)``
    """

    def draw(self, h: Tensor, generator: Generator | None) -> Tensor:
        """Return ``h``, the same tensor."""
        return h

    def divergence(self, h: Tensor) -> Tensor:
        """Zero for each row."""
        return h.new_zeros(h.shape[:-1])
