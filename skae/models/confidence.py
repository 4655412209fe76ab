"""How sure a classifier is, raised to how often it can be expected to be right.

A network that learns from rows with much noise is less sure of clean rows than it may
be. `StageTraining` scales its logits by what `sharpness` returns.
"""

from torch import Tensor

__all__ = ["sharpness"]

_MOST = 4.0
_HALVINGS = 20


def sharpness(logits: Tensor, confidence: float) -> float:
    """The smallest factor on logits with which the mean confidence is reached.

    Parameters
    ----------
    logits : Tensor of shape (batch, n_classes)
    confidence : float
        The mean over rows of the largest probability that is to be reached.

    Returns
    -------
    factor : float
        In [1, 4]; one where rows are as sure as that already.
    """

    def reached(factor):
        return float((factor * logits).softmax(1).amax(1).mean()) >= confidence

    if reached(1.0):
        return 1.0
    low, high = 1.0, _MOST
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if reached(middle) else (middle, high)
    return high
