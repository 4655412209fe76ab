"""The guard of a model that starts as PCA: rows unlike the training rows stay at PCA.

`Guard` weights what a codec adds to its anchor. `widest_guard` limits it by the largest
values of the training rows, `guard_from` only where rows with large values gain: the
network memorises or ignores rows far from all but a few others, so a value is not safe
merely because a training row has it. A limit is raised to the largest value only if the
rows admitted gain: the held-out ones in sum, and all rows beyond the smaller limit in
that column.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from skae.rows.devices import as_double_on

__all__ = ["REACH", "Guard", "earned_limits", "extents", "guard_from", "widest_guard"]

# A guard leaves rows alone up to this many times its limits.
REACH = 3.0

_FEW = 5
_SMALLEST = 1e-12


class Guard(nn.Module):
    """Takes rows that are far from the training rows back to the anchor.

    What a codec adds to its anchor is weighted by a trust of one while no scaled input,
    or whitened code, exceeds three times its limit; it falls linearly to zero at six
    times. Limits are kept for each coordinate: where a feature was constant in
    training, nothing determined its weights.

    Parameters
    ----------
    input_limit : Tensor of shape (n_features,) or (members, 1, n_features)
        Of the magnitude of each scaled input.
    code_limit : Tensor of shape (n_components,) or (members, 1, n_components)
        Of the magnitude of each whitened code.
    """

    input_limit: Tensor
    code_limit: Tensor

    def __init__(self, input_limit: Tensor, code_limit: Tensor):
        super().__init__()
        self.register_buffer("input_limit", input_limit)
        self.register_buffer("code_limit", code_limit)

    def input_trust(self, scaled: Tensor) -> Tensor:
        """Weight of the code's correction, shape ``(..., batch, 1)``."""
        return _trust(scaled, self.input_limit)

    def code_trust(self, code: Tensor) -> Tensor:
        """Weight of the reconstruction's correction."""
        return _trust(code, self.code_limit)

    def member(self, index: int) -> "Guard":
        return Guard(self.input_limit[index, 0], self.code_limit[index, 0])


@torch.no_grad()
def guard_from(
    codec: Any,
    x: Tensor,
    is_held_out: Tensor,
    gain: Callable[[Tensor], Tensor],
    does_harm: Callable[[Tensor], Tensor | bool] = lambda rows: False,
) -> Guard:
    """A guard whose limits the rows x earn.

    Inputs are limited first. Codes are limited by the rows whose inputs are within
    their limits, and as the limited inputs leave them.

    Parameters
    ----------
    codec : AnchoredCodec
        Trained, without members; left without a guard.
    x : Tensor of shape (batch, n_features)
        Training rows and held-out ones.
    is_held_out : bool Tensor of shape (batch,)
    gain : callable
        Reduction in loss relative to the anchor on the rows of these numbers, minus the
        minimum required.
    does_harm : callable, optional
        Whether the guarded codec is much worse than the anchor on these rows. If it is
        with the chosen limits but not with the largest values, the latter are used.

    Returns
    -------
    Guard
    """
    codec.guard = None
    inputs, codes = codec.magnitudes(x)
    widest, common = extents(inputs)
    free = Guard(widest, extents(codes)[0])
    input_limit = earned_limits(inputs, widest, common, is_held_out, gain)
    if not torch.equal(input_limit, widest):
        boundless = torch.full_like(codes[0], torch.inf)
        codec.guard = Guard(input_limit, boundless)
        codes = codec.magnitudes(x)[1]
    is_within = (inputs <= REACH * input_limit).all(-1, keepdim=True)
    largest, common = extents(codes * is_within)
    codec.guard = Guard(input_limit, largest)
    code_limit = earned_limits(codes, largest, common, is_held_out, gain)
    guard = codec.guard = Guard(input_limit, code_limit)
    is_beyond = ~is_within.flatten() | (codes > REACH * code_limit).any(-1)
    beyond = torch.nonzero(is_beyond).flatten()
    if len(beyond) and does_harm(beyond):
        codec.guard = free
        if not does_harm(beyond):
            guard = free
    codec.guard = None
    return guard


@torch.no_grad()
def widest_guard(codec: Any, x: Tensor, trained_on: Tensor | None = None) -> Guard:
    """A guard whose limits are the largest values of rows x.

    Parameters
    ----------
    codec : AnchoredCodec
    x : Tensor of shape (batch, n_features)
    trained_on : bool Tensor of shape (members, batch), optional
        Rows that count for each member.
    """
    sizes = list(codec.magnitudes(x))
    if trained_on is not None:
        sizes = [size * trained_on[..., None] for size in sizes]
    limits = [size.amax(-2, keepdim=True).clamp_min(_SMALLEST) for size in sizes]
    if codec.members is None:
        return Guard(*(limit[0] for limit in limits))
    return Guard(*(r.expand(codec.members, *r.shape[-2:]) for r in limits))


def extents(sizes: Tensor) -> tuple[Tensor, Tensor]:
    """The largest and the fifth largest of each column, positive."""
    top = sizes.topk(min(_FEW, len(sizes)), dim=0).values.clamp_min(_SMALLEST)
    return top[0], top[-1]


def earned_limits(
    sizes: Tensor,
    largest: Tensor,
    common: Tensor,
    is_held_out: Tensor,
    gain: Callable[[Tensor], Tensor],
) -> Tensor:
    """For each column, the larger limit if the rows that only it admits gain.

    Parameters
    ----------
    sizes : Tensor of shape (batch, n_columns)
    largest, common : Tensor of shape (n_columns,)
        The two limits to choose from.
    is_held_out : bool Tensor of shape (batch,)
        Unless some of these are let in, and gain in sum, no limit is larger.
    gain : callable
        Gain of the rows of these numbers. Those that the larger limit of a column lets
        in decide by their sum.

    Returns
    -------
    Tensor of shape (n_columns,)
    """
    is_far = sizes > REACH * common
    rows = torch.nonzero(is_far.any(-1)).flatten()
    if not len(rows):
        return largest
    gains = as_double_on(gain(rows))
    held_out = gains[is_held_out[rows].to(gains.device)]
    if not len(held_out) or held_out.sum() < 0:
        return torch.where(is_far.any(0), common, largest)
    gained = gains @ is_far[rows].to(gains.device).double() >= 0
    return torch.where(gained.to(largest.device), largest, common)


def _trust(size: Tensor, limit: Tensor) -> Tensor:
    far = (size.abs() / limit).amax(-1, keepdim=True)
    return torch.rsub(far, 2, alpha=1 / REACH).clamp_(0, 1)
