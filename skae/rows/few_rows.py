"""How few rows a product may have without a change of a bit.

`skae.rows.chunks.map_rows` pads rows to products of one size, so that a row's result
does not depend on the other rows. For a single row most of that is wasted,
and smaller products usually add up in the same order. Whether they do is tried with the
first rows; the answer is kept here, outside of the objects that own the
function. It depends on shapes, dtypes and the processor and not on the weights, which
may change. Nothing here knows what the function computes.
"""

from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Generator, Tensor

__all__ = ["FEW_ROWS", "fewest_rows"]

# Vectors of up to 16 numbers fit in whole.
FEW_ROWS = 16
# Some rows say nothing of a part of the model, which leaves outliers at its anchor.
_N_TRIALS = 8
_FAILED = -1

_passed: WeakKeyDictionary[Any, dict[tuple, int]] = WeakKeyDictionary()


def fewest_rows(
    owner: Any, function: Callable[[Tensor], Tensor], x: Tensor, n_rows: int
) -> int:
    """The fewest rows that a product may have with the same bits.

    The first eight calls try whether products of `FEW_ROWS` rows have the same bits as
    those of ``n_rows``, in every place.

    Parameters
    ----------
    owner : object
        Has the weights; the trials are forgotten with it.
    function : callable
        Maps a tensor (batch, n_columns) to a tensor (batch, width), each row on its
        own, and draws nothing. Functions of the same name and owner compute the same.
    x : Tensor of shape (batch, n_columns)
        Rows to be mapped, at least one.
    n_rows : int
        Size of the products of many rows.

    Returns
    -------
    int
        `FEW_ROWS` after eight trials without a difference, else ``n_rows``.
    """
    passed = _passed.get(owner)
    if passed is None:
        passed = _passed.setdefault(owner, {})
    name = getattr(function, "__qualname__", None)
    key = name, x.size(1), x.dtype, n_rows
    n_trials = passed.get(key, 0)
    if n_trials == _N_TRIALS:
        return FEW_ROWS
    if n_trials != _FAILED:
        rows = _rows_like(x[:1], n_rows, seed=n_trials)
        passed[key] = n_trials + 1 if _is_steady(function, rows) else _FAILED
    return n_rows


def _rows_like(row: Tensor, n_rows: int, seed: int) -> Tensor:
    """Rows between the row and the mean, and others further out."""
    generator = Generator("cpu").manual_seed(seed)
    uniform, normal = (
        draw(n_rows, row.shape[1], generator=generator, dtype=row.dtype, device="cpu")
        for draw in (torch.rand, torch.randn)
    )
    rows = row * (0.5 + 0.5 * uniform)
    rows[1::2] += normal[1::2]
    return rows


def _is_steady(function, rows: Tensor) -> bool:
    """Whether the function has the same bits for `FEW_ROWS` at a time."""
    if len(rows) <= FEW_ROWS or len(rows) % FEW_ROWS:
        return False
    try:
        whole = function(rows)
    except (RuntimeError, ValueError):
        # Such rows are no data of the model's, which may take class numbers only.
        return False
    parts = torch.cat([function(part) for part in rows.split(FEW_ROWS)])
    return bool(((parts == whole) | (parts.isnan() & whole.isnan())).all())
