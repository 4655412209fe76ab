"""Activation functions by their scikit-learn names, each with its derivative.

The dense codec calls ``forward``; the hand-written gradient calls ``backward`` with the
pre-activation, so both paths read one table.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["ACTIVATIONS", "Activation"]

_aten = torch.ops.aten


class Activation(NamedTuple):
    """A function and its gradient, both elementwise.

    Attributes
    ----------
    forward : callable
        ``forward(a) -> h`` for the pre-activation ``a`` of any shape.
    backward : callable
        ``backward(grad_h, a, h) -> grad_a``, the gradient with respect to ``a``.
    gain : float
        Weights start as N(0, gain / fan_in) (He et al. 2015, arXiv 1502.01852;
        Glorot and Bengio 2010 for the saturating and linear ones).
    """

    forward: Callable[[Tensor], Tensor]
    backward: Callable[[Tensor, Tensor, Tensor], Tensor]
    gain: float


ACTIVATIONS = {
    "identity": Activation(lambda a: a, lambda grad, a, h: grad, 1.0),
    "logistic": Activation(
        torch.sigmoid, lambda grad, a, h: _aten.sigmoid_backward(grad, h), 1.0
    ),
    "tanh": Activation(
        torch.tanh, lambda grad, a, h: _aten.tanh_backward(grad, h), 1.0
    ),
    "relu": Activation(
        torch.relu, lambda grad, a, h: _aten.threshold_backward(grad, h, 0), 2.0
    ),
    "silu": Activation(F.silu, lambda grad, a, h: _aten.silu_backward(grad, a), 2.0),
    "gelu": Activation(F.gelu, lambda grad, a, h: _aten.gelu_backward(grad, a), 2.0),
}
