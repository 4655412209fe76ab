"""Ranks among sorted numbers, in operations that every exporter of torch has.

Calibration tables and rarities of missing values are looked up here; nothing here knows
what the numbers are.
"""

import torch
from torch import Tensor

__all__ = ["n_below"]


def n_below(table: Tensor, values: Tensor, *, or_equal: bool = False) -> Tensor:
    """How many entries of a table lie below each value, or are equal to it.

    Parameters
    ----------
    table : Tensor of shape (n_entries,)
        Sorted.
    values : Tensor of shape (batch,)
        Finite, of the table's dtype.
    or_equal : bool, default=False

    Returns
    -------
    number : int64 Tensor of shape (batch,)

    Examples
    --------
    >>> import torch
    >>> from skae.statistics.ranks import n_below
    >>> table = torch.tensor([1.0, 2.0, 2.0, 5.0])
    >>> n_below(table, torch.tensor([0.0, 2.0, 9.0])).tolist()
    [0, 1, 4]
    >>> n_below(table, torch.tensor([0.0, 2.0, 9.0]), or_equal=True).tolist()
    [0, 3, 4]
    """
    if not torch.compiler.is_compiling():
        return torch.searchsorted(table, values, right=or_equal)
    step = 2 ** (len(table).bit_length() - 1)
    # Never below a finite value.
    padding = table.new_full((2 * step - 1 - len(table),), torch.inf)
    table = torch.cat([table, padding])
    number = torch.zeros_like(values, dtype=torch.long)
    while step:
        entry = table[number + (step - 1)]
        is_below = entry <= values if or_equal else entry < values
        number = number + is_below.long() * step
        step //= 2
    return number
