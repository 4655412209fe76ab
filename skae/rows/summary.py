"""What one pass over rows computes: ranges, missing entries, mean and covariance.

Parts of the rows are centred at means of their own and merged (Chan, Golub and LeVeque
1983), so that offsets, sorted rows and drifting ones cost no digits. `merged` is a pure
function of two summaries: blocks of a file and machines of a cluster use the same one,
in any tree. Nothing here reads files.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import torch

__all__ = ["NEAR", "Summary", "count_grey", "merged", "summary_of", "total_of"]

# Of an end of [0, 1].
NEAR = 0.05
# Second moments about a mean that rounding moved by less than this share are exact.
_ROUNDING = 1e-17


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Counts, ranges and centred moments of rows.

    Attributes
    ----------
    n_rows : int
    weight : float
        Sum of the weights of the rows, their number where they have none.
    low, high : ndarray of shape (n_features,), in X's units
        NaN for columns without an entry.
    first_missing : tuple (row, column) or None
        Where the first NaN is.
    n_grey : int or None
        Entries in (0.05, 0.95) where all lie in [0, 1], else None.
    unit : float
        Power of two that keeps squares of X / unit within range.
    present : ndarray of shape (n_features,)
        Sum of the weights of the entries that are not NaN.
    mean : ndarray of shape (n_features,), in units of ``unit``
        Zero for columns without an entry.
    rest : ndarray of shape (n_features,), likewise
        What rounding left of the mean, without which large offsets cost digits.
    squares : ndarray of shape (n_features,), in units of ``unit`` squared
        Weighted sum of squared distances to the mean.
    scatter : ndarray of shape (n_features, n_features) or None
        Weighted sums of products of these distances, zero where an entry is missing;
        None where it was not wanted.
    pairs : tuple of two ndarrays of shape (n_features, n_features) or None
        Only with a scatter of rows with NaN: for columns i and j that both have an
        entry, the sums of the weights, and of the weighted distances of column j.
    """

    n_rows: int
    weight: float
    low: np.ndarray
    high: np.ndarray
    first_missing: tuple[int, int] | None
    n_grey: int | None
    unit: float
    present: np.ndarray
    mean: np.ndarray
    rest: np.ndarray
    squares: np.ndarray
    scatter: np.ndarray | None = None
    pairs: tuple[np.ndarray, np.ndarray] | None = None

    @property
    def largest(self) -> float:
        """The largest magnitude, zero where there is no entry."""
        return _largest(self.low, self.high)


def unit_of(largest: float) -> float:
    """The unit of rows of this largest magnitude."""
    extreme = largest > 0 and not 1e-12 < largest < 1e12
    return float(2.0 ** np.round(np.log2(largest))) if extreme else 1.0


def summary_of(
    block: np.ndarray,
    weight: np.ndarray | None = None,
    *,
    first: int = 0,
    covariance: bool = False,
) -> Summary:
    """The summary of some rows.

    Parameters
    ----------
    block : ndarray of shape (n_rows, n_features)
        At least one row; finite or NaN.
    weight : ndarray of shape (n_rows,), optional
        Positive.
    first : int, default=0
        Number of its first row.
    covariance : bool, default=False
        Whether products of columns are summed up too.
    """
    low, high = block.min(axis=0), block.max(axis=0)
    missing = first_missing = None
    if np.isnan(low).any():
        missing = np.isnan(block)
        row, column = divmod(int(missing.argmax()), missing.shape[1])
        first_missing = first + row, column
        low, high = np.fmin.reduce(block, axis=0), np.fmax.reduce(block, axis=0)
    unit = unit_of(_largest(low, high))
    centred = np.divide(block, unit, dtype=np.float64) if unit != 1 else None
    if centred is None:
        centred = block.astype(np.float64)
    n_rows = len(block)
    w = np.ones(n_rows) if weight is None else weight
    total = float(w.sum())
    there = None if missing is None else (~missing).astype(np.float64)
    present = np.full(block.shape[1], total) if there is None else _times(w, there)
    entries = np.where(present > 0, present, 1)
    mean = _centre(centred, np.zeros(block.shape[1]), w, entries, missing)
    # What rounding left.
    rest = _times(w, centred) / entries
    if weight is not None:
        root = np.sqrt(weight)[:, None]
        centred *= root
        there = None if there is None else there * root
    squares = np.einsum("ij,ij->j", centred, centred)
    is_off = (present * rest**2 > _ROUNDING * squares).any()
    scatter = pairs = None
    if covariance:
        scatter = _square_of(centred)
        if there is not None:
            pairs = _square_of(there), _times(there.T, centred)
    result = Summary(
        n_rows=n_rows,
        weight=total,
        low=low,
        high=high,
        first_missing=first_missing,
        n_grey=_n_grey(block, low, high),
        unit=unit,
        present=present,
        mean=mean,
        rest=rest,
        squares=squares,
        scatter=scatter,
        pairs=pairs,
    )
    return _about_exact_mean(result) if is_off else result


def merged(a: Summary, b: Summary) -> Summary:
    """The summary of the rows of both, of which those of ``a`` come first."""
    low, high = np.fmin(a.low, b.low), np.fmax(a.high, b.high)
    unit = unit_of(_largest(low, high))
    a, b = _in_unit(a, unit), _in_unit(b, unit)
    present = a.present + b.present
    share = b.present / np.where(present > 0, present, 1)
    apart = (b.mean - a.mean) + (b.rest - a.rest)
    step = a.rest + share * apart
    mean = a.mean + step
    rest = step - (mean - a.mean)
    scatter = pairs = None
    if a.scatter is not None and b.scatter is not None:
        if a.pairs is None and b.pairs is None:
            scatter = a.scatter + b.scatter
            vector, both = torch.from_numpy(apart), a.weight + b.weight
            alpha = a.weight / both * b.weight
            torch.from_numpy(scatter).addr_(vector, vector, alpha=alpha)
        else:
            parts = [_scatter_about(part, mean, rest) for part in (a, b)]
            scatter, *sums = (x + y for x, y in zip(*parts, strict=True))
            pairs = sums[0], sums[1]
    return Summary(
        n_rows=a.n_rows + b.n_rows,
        weight=a.weight + b.weight,
        low=low,
        high=high,
        first_missing=a.first_missing or b.first_missing,
        n_grey=None if a.n_grey is None or b.n_grey is None else a.n_grey + b.n_grey,
        unit=unit,
        present=present,
        mean=mean,
        rest=rest,
        squares=a.squares + b.squares + a.present * share * np.square(apart),
        scatter=scatter,
        pairs=pairs,
    )


def count_grey(values: np.ndarray) -> int:
    """How many values are in (0.05, 0.95)."""
    return int(np.count_nonzero((values > NEAR) & (values < 1 - NEAR)))


def total_of(parts: Iterable[Summary]) -> Summary:
    """The summary of all parts, in their order.

    Raises
    ------
    ValueError
        When there are none.
    """
    total: Summary | None = None
    for part in parts:
        total = part if total is None else merged(total, part)
    if total is None:
        raise ValueError("There are no rows to summarize.")
    return total


def _largest(low, high) -> float:
    return float(np.fmax.reduce(np.abs([low, high]), axis=None, initial=0))


def _n_grey(block, low, high) -> int | None:
    if np.fmin.reduce(low) < 0 or np.fmax.reduce(high) > 1:
        return None
    return count_grey(block)


def _centre(centred, start, w, entries, missing) -> np.ndarray:
    """Subtract the mean of the entries in place, and return it."""
    if missing is not None:
        centred[missing] = 0
    mean = start + _times(w, centred) / entries
    centred -= mean
    if missing is not None:
        centred[missing] = 0
    return mean


def _about_exact_mean(part: Summary) -> Summary:
    """Moments that were taken about the rounded mean, about the exact one."""
    rest, scatter, pairs = part.rest, part.scatter, part.pairs
    squares = np.maximum(0, part.squares - part.present * rest**2)
    if scatter is not None and pairs is None:
        scatter = scatter - part.weight * np.outer(rest, rest)
    elif scatter is not None and pairs is not None:
        n, sums = pairs
        cross = rest[:, None] * sums
        scatter = scatter - cross - cross.T + n * np.outer(rest, rest)
        pairs = n, sums - n * rest
    return replace(part, squares=squares, scatter=scatter, pairs=pairs)


def _scatter_about(part: Summary, mean, rest) -> tuple[np.ndarray, ...]:
    """Scatter and pairs of a part about another mean."""
    shift = (part.mean - mean) + (part.rest - rest)
    if part.pairs is None:
        n = np.full_like(part.scatter, part.weight)
        sums = np.zeros_like(n)
    else:
        n, sums = part.pairs
    cross = shift[:, None] * sums
    scatter = part.scatter + cross + cross.T + n * np.outer(shift, shift)
    return scatter, n, sums + n * shift


def _in_unit(part: Summary, unit: float) -> Summary:
    if part.unit == unit:
        return part
    if part.largest == 0:
        return replace(part, unit=unit)
    factor = part.unit / unit
    square = factor**2
    pairs = None if part.pairs is None else (part.pairs[0], part.pairs[1] * factor)
    return replace(
        part,
        unit=unit,
        mean=part.mean * factor,
        rest=part.rest * factor,
        squares=part.squares * square,
        scatter=None if part.scatter is None else part.scatter * square,
        pairs=pairs,
    )


def _times(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    # By torch, whose sums do not depend on the threads that NumPy's BLAS has.
    return torch.matmul(torch.from_numpy(left), torch.from_numpy(right)).numpy()


def _square_of(block: np.ndarray) -> np.ndarray:
    """block^T block, at little more than half the work of a product."""
    x = torch.from_numpy(block)
    width = x.shape[1]
    square = x.new_empty(width, width)
    step = max(64, -(-width // 4))
    for start in range(0, width, step):
        strip = slice(start, min(start + step, width))
        torch.matmul(x[:, strip].mT, x[:, start:], out=square[strip, start:])
        square[strip.stop :, strip] = square[strip, strip.stop :].mT
    return square.numpy()
