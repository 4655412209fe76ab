"""Penalties: what a code or a codec pays beyond its reconstruction error.

A penalty is called as ``penalty(state) -> (batch,)`` in nats per sample, with the
objective's `State` record, so that a new penalty changes no signature.
"""

from sklearn.base import BaseEstimator
from torch import Tensor

__all__ = ["NoPenalty"]


class NoPenalty(BaseEstimator):
    """No cost beyond the reconstruction error.

    Shape
    -----
    returns ``(...,)``, one zero a row of ``state.x``.
    """

    def __call__(self, state) -> Tensor:
        """Zero for each row."""
        return state.x.new_zeros(state.x.shape[:-1])
