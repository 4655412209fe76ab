"""The limits of a guard, from how far-out rows do under the trained model.

Rows beyond what all but a few others show are learned by heart or not at all, so that
being in the training rows does not make a value safe. A limit therefore covers the
largest values only where held-out rows of that kind gain, and all rows that carry the
value. The judges call this after training; nothing here knows a loss.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from skae.parts.anchored import REACH, AnchoredCodec, Guard

__all__ = ["earned_limits", "extents", "guard_from", "widest_guard"]

_FEW = 5
_SMALLEST = 1e-12


@torch.no_grad()
def guard_from(
    codec: AnchoredCodec,
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
        ``gain(rows)`` is what the codec as it is then gains over the anchor on the rows
        of x of these numbers, less what it has to gain there.
    does_harm : callable, optional
        Whether the codec as it is then is much worse than the anchor on rows. All
        limits are the largest values where the limits found harm the rows beyond them.

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
def widest_guard(
    codec: AnchoredCodec, x: Tensor, trained_on: Tensor | None = None
) -> Guard:
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
    """For each column the larger limit, where the rows that it lets in gain.

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
    gains = gain(rows).double()
    honest = gains[is_held_out[rows]]
    if not len(honest) or honest.sum() < 0:
        return torch.where(is_far.any(0), common, largest)
    return torch.where(gains @ is_far[rows].double() >= 0, largest, common)
