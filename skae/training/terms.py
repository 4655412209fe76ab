"""Terms of gradients, and their sums on several threads.

The gradient of a dense layer is a sum of products over the rows of a batch. A formula
names the terms of a shard's rows as `Term`; `fill` adds those of all shards, parameter
by parameter and block by block. No shard then needs a gradient of its own, which costs
as much memory traffic as the products. Nothing here knows models.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from skae.rows.threads import together

__all__ = ["Term", "fill"]

# Entries of a gradient that a thread works on at a time.
BLOCK = 2**16


class Term(NamedTuple):
    """A summand of a gradient.

    Attributes
    ----------
    grad : Tensor of shape (members, n_in, n_out)
        Where the gradient goes; of any shape for a term that is no product.
    x : Tensor of shape (members, rows, n_in) or None
    delta : Tensor of shape (members, rows, n_out)
        The term is ``x.mT @ delta``, or ``delta``, of the gradient's shape, without x.
    """

    grad: Tensor
    x: Tensor | None
    delta: Tensor


@torch.no_grad()
def fill(terms: Sequence[Term]) -> None:
    """Fill gradients with the sums of their terms, in the order in which they come."""
    sums: dict[int, list[Term]] = {}
    for term in terms:
        own = sums.setdefault(term.grad.data_ptr(), [])
        own.append(_as(own[0].grad, term) if own else term)
    calls = []
    for own in sums.values():
        n_rows, *_ = own[0].grad.shape[-2:]
        n_blocks = 1
        if own[0].x is not None:
            n_blocks = min(n_rows, max(1, own[0].grad.numel() // BLOCK))
        ends = [n_rows * number // n_blocks for number in range(n_blocks + 1)]
        rows = map(slice, ends[:-1], ends[1:])
        calls += [partial(_fill_block, own, block) for block in rows]
    together(calls)


def _as(grad: Tensor, term: Term) -> Term:
    """A term of a gradient as one of its transpose, if that is what is filled."""
    if term.x is None or (
        grad.shape == term.grad.shape and grad.stride() == term.grad.stride()
    ):
        return term
    return Term(grad, term.delta, term.x)


def _fill_block(terms: list[Term], rows: slice) -> None:
    if terms[0].x is None:
        first, *others = (term.delta for term in terms)
        terms[0].grad.copy_(first)
        for other in others:
            terms[0].grad.add_(other)
        return
    block = terms[0].grad[..., rows, :]
    for number, term in enumerate(terms):
        assert term.x is not None
        block.baddbmm_(term.x[..., rows].mT, term.delta, beta=int(number > 0))
