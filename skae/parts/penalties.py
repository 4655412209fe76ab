"""Penalties: what a code or a codec pays beyond its reconstruction error.

A penalty is called as ``penalty(state)`` with the `State` of a pass and returns nats
per sample, shape ``(..., batch)``. State is a record, so that a new penalty changes no
signature.
"""

import torch
from torch import Tensor

from skae.parts.activations import ACTIVATIONS
from skae.parts.base import Penalty
from skae.parts.random_numbers import normal

__all__ = ["PENALTIES", "Contraction", "KLSparsity", "L1Sparsity"]

_FROM_OUTPUT = ("identity", "logistic", "tanh", "relu")
_SMALLEST = 1e-6


class KLSparsity(Penalty):
    """Keeps the mean activity of each code unit near a target (Ng 2011, CS294A notes).

    The activity rho_hat is the weighted mean over the batch; each unit pays
    KL(Bernoulli(target) || Bernoulli(rho_hat)), which is shared out evenly over rows.

    Parameters
    ----------
    target : float, default=0.05
        In (0, 1).
    weight : float, default=1.0
        Nats per sample for one nat of divergence.
    """

    def __init__(self, target=0.05, weight=1.0):
        self.target = target
        self.weight = weight

    def __call__(self, state) -> Tensor:
        """The weighted divergence, the same for each row of the batch.

        Raises
        ------
        ValueError
            When the parameters are out of range or the code is no activity in (0, 1).
        """
        _check_weight(self.weight)
        if not 0 < self.target < 1:
            raise ValueError(f"target must be in (0, 1); got {self.target!r}.")
        activation = state.codec.code_activation
        if activation not in (None, "logistic"):
            raise ValueError(
                f"KLSparsity cannot be combined with {type(state.codec).__name__} of "
                f"code_activation={activation!r}: it needs code_activation='logistic', "
                "whose activities lie in (0, 1). Use L1Sparsity with it."
            )
        if activation is None and not ((state.h >= 0) & (state.h <= 1)).all():
            raise ValueError(
                "KLSparsity needs a code in (0, 1), such as an encoder that ends in a "
                "Sigmoid; its values go beyond. Use L1Sparsity with it."
            )
        rho = self.target
        if state.weight is None:
            active = state.h.mean(-2)
        else:
            weight = state.weight / state.weight.sum(-1, keepdim=True)
            active = (state.h * weight.unsqueeze(-1)).sum(-2)
        active = active.clamp(_SMALLEST, 1 - _SMALLEST)
        divergence = rho * torch.log(rho / active)
        divergence = divergence + (1 - rho) * torch.log((1 - rho) / (1 - active))
        total = self.weight * divergence.sum(-1, keepdim=True)
        return total.expand(state.h.shape[:-1])


class L1Sparsity(Penalty):
    """Each row pays the sum of the magnitudes of its code.

    Parameters
    ----------
    weight : float, default=1.0
        Nats per unit of activity.
    """

    is_rowwise = True

    def __init__(self, weight=1.0):
        self.weight = weight

    def __call__(self, state) -> Tensor:
        _check_weight(self.weight)
        return self.weight * state.h.abs().sum(-1)


class Contraction(Penalty):
    """Squared Frobenius norm of the encoder's Jacobian (Rifai et al. 2011, ICML).

    In closed form for an encoder of one dense layer. Otherwise exact, by one backward
    pass for each entry of the code, up to ``exact_width`` entries; beyond, the mean of
    ``|v^T J|^2`` over random Gaussian v, which is unbiased.

    Parameters
    ----------
    weight : float, default=0.1
        Nats per sample for one unit of the norm, in model units.
    n_projections : int, default=8
        Random vectors v a step.
    exact_width : int, default=32
    """

    is_rowwise = True

    def __init__(self, weight=0.1, n_projections=8, exact_width=32):
        self.weight = weight
        self.n_projections = n_projections
        self.exact_width = exact_width

    def __call__(self, state) -> Tensor:
        _check_weight(self.weight)
        layer = state.codec.one_layer()
        if layer is not None and layer[1] in _FROM_OUTPUT:
            weights, activation = layer
            return self.weight * _closed_form(weights, activation, state.h)
        with torch.enable_grad():
            x = state.x_tilde.detach().requires_grad_()
            h = state.codec.encode(x)
            wide = h.shape[-1] > self.exact_width
            if wide:
                v = normal(h.expand(self.n_projections, *h.shape), state.generator)
            else:
                unit = torch.eye(h.shape[-1], dtype=h.dtype, device=h.device)
                v = unit.reshape(-1, *[1] * (h.ndim - 1), h.shape[-1])
                v = v.expand(-1, *h.shape)
            # Rows do not mix, so the gradient of a sum over rows is each row's own.
            (vjp,) = torch.autograd.grad(
                h, x, v, create_graph=True, is_grads_batched=True
            )
        norm = vjp.square().sum(-1)
        norm = norm.mean(0) if wide else norm.sum(0)
        return self.weight * norm


def _check_weight(weight: float) -> None:
    if not weight >= 0:
        raise ValueError(f"The weight of a penalty must be at least 0; got {weight!r}.")


def _closed_form(weight: Tensor, activation: str, h: Tensor) -> Tensor:
    """|J|^2 = sum_j s'(a_j)^2 sum_i w_ij^2, with w in front of the rows."""
    columns = weight.square().sum(-2)
    slope = ACTIVATIONS[activation].backward(torch.ones_like(h), h, h)
    return (slope.square() @ columns.unsqueeze(-1)).squeeze(-1)


PENALTIES: dict[str, type[Penalty]] = {
    "contraction": Contraction,
    "kl": KLSparsity,
    "l1": L1Sparsity,
}
