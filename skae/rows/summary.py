"""What one pass over rows tells of them: ranges, missing entries, moments.

Blocks are centred on means of their own and merged (Chan, Golub and LeVeque 1983), so
that offsets, sorted rows and drifting ones cost no digits. Summaries of parts merge
into that of the whole, on one machine or several.
"""

import math
from typing import Any

import numpy as np

__all__ = ["Summary", "check_finite_block"]


def check_finite_block(block: np.ndarray, first: int, name: str = "X") -> None:
    """Raise for infinite entries, with the number of the row.

    Parameters
    ----------
    block : ndarray of shape (n_rows, n_features)
        NaN passes.
    first : int
        Number of its first row among all.
    name : str, default="X"
    """
    if not np.isinf(block).any():
        return
    row, column = np.argwhere(np.isinf(block))[0]
    raise ValueError(
        f"{name} contains infinity: {name}[{first + row}, {column}] is "
        f"{block[row, column]}."
    )


class Summary:
    """Counts, ranges and moments of rows.

    Parameters
    ----------
    n_features : int
    covariance : bool, default=False
        Whether products of columns are summed up too.
    name : str, default="X"

    Attributes
    ----------
    n_rows : int
    low, high : ndarray of shape (n_features,)
        NaN for columns without an entry.
    n_present : ndarray of shape (n_features,)
        Entries that are not NaN.
    first_missing : tuple (row, column) or None
        The first NaN.
    mean : ndarray of shape (n_features,)
        Of the entries; zero for columns without one.
    squares : ndarray of shape (n_features,)
        Sums of squared departures from the mean.
    scatter : ndarray of shape (n_features, n_features) or None
        Sums of products of departures, where no entry is missing.
    grey : int
        Entries in [0, 1] away from both of its ends.
    """

    def __init__(self, n_features: int, *, covariance: bool = False, name: str = "X"):
        self.name = name
        self.n_rows = 0
        self.low, self.high = np.full((2, n_features), np.nan)
        self.n_present = np.zeros(n_features)
        self.first_missing: tuple[int, int] | None = None
        self.mean, self.squares = np.zeros((2, n_features))
        self.scatter = np.zeros((n_features, n_features)) if covariance else None

    def add(self, block: np.ndarray, first: int) -> None:
        """Take in the rows from this number on."""
        self.merge(self._of(block, first))

    def _of(self, block: np.ndarray, first: int) -> "Summary":
        own = Summary(block.shape[1], covariance=self.scatter is not None)
        own.n_rows = len(block)
        if not own.n_rows:
            return own
        own.low, own.high = np.fmin.reduce(block), np.fmax.reduce(block)
        largest = np.fmax.reduce(np.abs([own.low, own.high]), axis=None, initial=0)
        if math.isinf(largest):
            check_finite_block(block, first, self.name)
        centred = block.astype(np.float64)
        own.n_present[:] = own.n_rows
        missing: Any = None
        # A sum is NaN where an entry is.
        if np.isnan(block.sum(dtype=np.float64)):
            missing = np.isnan(block)
            row, column = np.argwhere(missing)[0]
            own.first_missing = first + int(row), int(column)
            own.n_present -= missing.sum(axis=0)
            centred[missing] = 0
        own.mean = centred.sum(axis=0) / np.maximum(own.n_present, 1)
        centred -= own.mean
        if missing is not None:
            centred[missing] = 0
        # What rounding left of the mean.
        rest = centred.sum(axis=0) / np.maximum(own.n_present, 1)
        own.mean += rest
        if own.scatter is not None:
            own.scatter = centred.T @ centred
            own.scatter -= np.outer(rest, rest * own.n_present)
            own.squares = own.scatter.diagonal().copy()
        else:
            own.squares = np.einsum("ij,ij->j", centred, centred)
            own.squares -= own.n_present * np.square(rest)
        return own

    def merge(self, other: "Summary") -> None:
        """Take in the summary of further rows."""
        if self.first_missing is None:
            self.first_missing = other.first_missing
        n_present = self.n_present + other.n_present
        apart = other.mean - self.mean
        share = other.n_present / np.maximum(n_present, 1)
        between = self.n_present * share
        if self.scatter is not None and other.scatter is not None:
            self.scatter += other.scatter
            # Equal for all columns where no entry is missing.
            self.scatter += np.outer(between * apart, apart)
        self.squares += other.squares + between * np.square(apart)
        self.mean = self.mean + share * apart
        self.low = np.fmin(self.low, other.low)
        self.high = np.fmax(self.high, other.high)
        self.n_present = n_present
        self.n_rows += other.n_rows
