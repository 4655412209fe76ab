"""How members of the ensemble recognise rows that they trained on when they come back.

A row comes back rounded, as float32 or from a file with six digits, and must then be
judged by the members that did not train on it, as it is in the calibration. So rows are
compared by signatures, a few random projections, within a tolerance. Rows are in robust
units; nothing here knows what a member is.
"""

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

__all__ = ["are_alike", "n_copies", "signatures"]

_WIDTH = 8
# Of signatures of rows that differ by a root mean square of one; by chance, of one in
# ten the norm is larger, and of one in 100,000 with a difference of 0.58, that of
# numbers rounded to the nearest multiple of two.
_LONGEST = 1.25 * _WIDTH**0.5


def signatures(x: Tensor) -> Tensor:
    """Random projections of rows, shape ``(n_rows, 8)``.

    Their squared difference is on average eight times the mean squared difference of
    the rows.
    """
    return x @ _directions(x.shape[1], x.device)


def are_alike(one: Tensor, other: Tensor, tolerance: Tensor) -> Tensor:
    """Whether signatures are those of rows that differ by the tolerance at most.

    The tolerance is a root mean square over features.
    """
    return (one - other).norm(dim=-1) <= _LONGEST * tolerance


def n_copies(signature: Tensor, tolerance: Tensor) -> Tensor:
    """How many other rows are like each of these, shape ``(n_rows,)``.

    These are the rows in the same cell of a grid, which is as wide as signatures may
    differ: rows that differ by much less are hardly ever in different ones.
    """
    cells = (signature / (_LONGEST * tolerance)).floor().long()
    # Cells by the number of each, which no two are likely to share.
    number, order = (cells * _odd(signature.device)).sum(1).sort()
    is_new = number.diff(prepend=number[:1]) != 0
    group = is_new.long().cumsum(0)
    count = torch.zeros_like(group).index_add_(0, group, torch.ones_like(group))
    return torch.empty_like(group).scatter_(0, order, count[group] - 1)


@lru_cache(maxsize=8)
def _odd(device: torch.device) -> Tensor:
    odd = np.random.default_rng(0).integers(2**62, size=_WIDTH) * 2 + 1
    return torch.from_numpy(odd).to(device)


@lru_cache(maxsize=8)
def _directions(n_features: int, device: torch.device) -> Tensor:
    generator = torch.Generator("cpu").manual_seed(n_features)
    directions = torch.randn(
        n_features, _WIDTH, generator=generator, device="cpu", dtype=torch.float32
    )
    return (directions / n_features**0.5).to(device)
