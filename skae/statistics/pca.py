"""Mean, variances and principal axes of X: where every model starts.

Two passes over X in float64, chunk by chunk, give the moments; the axes come from what
is left after the mean, so that an offset costs no digits and nothing of X's size is
copied. NaN counts as the mean of its column.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse
from sklearn.utils import check_random_state

from skae.rows.chunks import chunks
from skae.statistics.centred_rows import (
    CentredRows,
    Covariance,
    axes_of_share,
    leading_axes,
    share,
)

__all__ = [
    "Moments",
    "Principal",
    "moments",
    "pooled_moments",
    "principal",
    "sequence_moments",
    "share",
]

# Of more features the covariance is multiplied, not formed.
_FORMED = 2000
_ROUNDING = 32 * np.finfo(np.float64).eps


@dataclass(frozen=True)
class Moments:
    """First and second moments of the rows.

    Attributes
    ----------
    mean : ndarray of shape (n_features,), in X's units
    unit : float
        Power of two that keeps squares of X / unit within range.
    variance : ndarray of shape (n_features,), in units of ``unit`` squared
    covariance : ndarray or Covariance of shape (n_features, n_features) or None
        Likewise; not formed of more than 2,000 features, None where it was not wanted.
    shared_center : ndarray of shape (n_features,) or None
        What rows are centred at, where that is not their mean.
    """

    mean: np.ndarray
    unit: float
    variance: np.ndarray
    covariance: np.ndarray | Covariance | None
    shared_center: np.ndarray | None = None

    @property
    def center(self) -> np.ndarray:
        """What rows are centred at, in X's units."""
        return self.mean if self.shared_center is None else self.shared_center


@dataclass(frozen=True)
class Principal:
    """Principal component analysis of the rows, whatever the solver.

    Attributes
    ----------
    mean : ndarray of shape (n_features,), in X's units
    unit : float
        The other attributes are in this unit of X.
    axes : ndarray of shape (n_features, n_components)
        Orthonormal columns; zero columns beyond min(n_samples, n_features).
    axis_variance : ndarray of shape (n_components,)
    variance : ndarray of shape (n_features,)
    """

    mean: np.ndarray
    unit: float
    axes: np.ndarray
    axis_variance: np.ndarray
    variance: np.ndarray

    @property
    def center(self) -> np.ndarray:
        """What rows are centred at: the mean."""
        return self.mean

    @property
    def residual(self) -> float:
        """Mean squared error per entry of the training rows."""
        lost = self.variance.sum() - self.axis_variance.sum()
        return max(0.0, lost) / len(self.variance)


def moments(X, sample_weight=None, *, covariance: bool) -> Moments:
    """Weighted mean, variances and, if wanted, the covariance.

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (n_samples, n_features)
        NaN counts as its column's mean; a column of nothing else has mean zero.
    sample_weight : ndarray of shape (n_samples,), optional
    covariance : bool
    """
    unit, weight = _unit(X), _shares_of(sample_weight, X.shape[0])
    present, first, _ = _column_sums(X, weight, np.zeros(X.shape[1]), unit)
    mean = _ratio(first, present) * unit
    present, first, second = _column_sums(X, weight, mean, unit)
    # Rows centred at the mean have the mean's own rounding error as their mean.
    mean = mean + _ratio(first, present) * unit
    variance = _above_rounding(second - _ratio(first**2, present), mean / unit)
    found = Moments(mean, unit, variance, None)
    if not covariance:
        return found
    rows = CentredRows(X, weight, mean, unit)
    if X.shape[1] <= _FORMED:
        return replace(found, covariance=rows.covariance())
    return replace(found, covariance=Covariance(rows, variance.sum()))


def pooled_moments(X, sample_weight, groups: np.ndarray) -> Moments:
    """Moments of columns that share a center and a variance, NaN left out.

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (n_samples, n_features)
    sample_weight : ndarray of shape (n_samples,) or None
    groups : ndarray of int of shape (n_features,)
        Columns of equal number share a center and a variance, those over all their
        entries. The mean is each column's; the center where it has no entry.
    """
    unit, weight = _unit(X), _shares_of(sample_weight, X.shape[0])
    groups = np.unique(groups, return_inverse=True)[1]

    def pooled(columns):
        return np.bincount(groups, columns)[groups]

    present, first, _ = _column_sums(X, weight, np.zeros(X.shape[1]), unit)
    center = _ratio(pooled(first), pooled(present)) * unit
    present, first, second = _column_sums(X, weight, center, unit)
    mean = center + _ratio(first, present) * unit
    shift = _ratio(pooled(first), pooled(present))
    variance = _ratio(pooled(second), pooled(present)) - shift**2
    center = center + shift * unit
    mean[present == 0] = center[present == 0]
    variance = _above_rounding(variance, center / unit)
    return Moments(mean, unit, variance, None, center)


def sequence_moments(X, sample_weight, period: int) -> Moments:
    """`pooled_moments` of flat sequences, columns ``period`` apart being one feature.

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (n_samples, n_features)
    sample_weight : ndarray of shape (n_samples,) or None
    period : int
    """
    return pooled_moments(X, sample_weight, np.arange(X.shape[1]) % period)


def principal(X, n_components, sample_weight=None, random_state=None) -> Principal:
    """PCA of X.

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (n_samples, n_features)
        NaN counts as its column's mean.
    n_components : int or float
        A float in (0, 1) is the share of variance to keep.
    sample_weight : ndarray of shape (n_samples,), optional
    random_state : RandomState, optional
        Where an iterative solver starts; where it ends does not depend on it.

    Returns
    -------
    Principal

    Raises
    ------
    ValueError
        When a share of the variance takes too many components of large X.
    """
    found = moments(X, sample_weight, covariance=False)
    weight = _shares_of(sample_weight, X.shape[0])
    rows = CentredRows(X, weight, found.mean, found.unit)
    random_state = check_random_state(0 if random_state is None else random_state)
    if n_components < 1:
        total = found.variance.sum()
        variance, axes = axes_of_share(rows, n_components, total, random_state)
        n_components = len(variance)
    else:
        rank = min(n_components, *X.shape)
        variance, axes = leading_axes(rows, rank, random_state)
    return Principal(
        found.mean,
        found.unit,
        _padded(axes, n_components),
        _padded(variance, n_components),
        found.variance,
    )


def _column_sums(X, weight, center, unit):
    """Weight of each column's entries, sums of (X - center) / unit and of its square.

    The differences are exact where an offset leaves few digits to them.
    """
    if sparse.issparse(X):
        return _sparse_column_sums(X, weight, center, unit)
    present, first, second = np.zeros((3, X.shape[1]))
    for rows in chunks(*X.shape):
        block = np.subtract(X[rows], center, dtype=np.float64)
        if unit != 1:
            block /= unit
        missing = np.isnan(block)
        block[missing] = 0
        present += weight[rows] @ ~missing
        first += weight[rows] @ block
        second += weight[rows] @ np.square(block, out=block)
    return present, first, second


def _sparse_column_sums(X, weight, center, unit):
    """The same from the stored entries, the others being zeros."""
    n_samples, n_features = X.shape
    stored, present, first, second = np.zeros((4, n_features))
    count = np.zeros(n_features, dtype=np.int64)
    for rows in chunks(n_samples, max(1, X.nnz // n_samples)):
        block = X[rows]
        if not block.has_canonical_format:
            # Slices are views of X.
            block = block.copy()
            block.sum_duplicates()
        columns = block.indices
        share_of_row = np.repeat(weight[rows], np.diff(block.indptr))
        values = (block.data.astype(np.float64) - center[columns]) / unit
        missing = np.isnan(values)
        values[missing] = 0

        def total(entries, columns=columns):
            return np.bincount(columns, entries, n_features)

        count += np.bincount(columns, minlength=n_features)
        stored += total(share_of_row)
        present += total(share_of_row * ~missing)
        first += total(share_of_row * values)
        second += total(share_of_row * values**2)
    # Exactly none where all are stored: the square of an offset would be added.
    zeros = np.where(count == n_samples, 0, np.maximum(1 - stored, 0))
    shift = -center / unit
    return present + zeros, first + zeros * shift, second + zeros * shift**2


def _shares_of(sample_weight, n_samples: int) -> np.ndarray:
    """Weights that add up to one."""
    if sample_weight is None:
        return np.full(n_samples, 1 / n_samples)
    return sample_weight / sample_weight.sum()


def _ratio(sums, weight) -> np.ndarray:
    return np.divide(sums, weight, out=np.zeros_like(sums), where=weight > 0)


def _above_rounding(variance, mean) -> np.ndarray:
    """A constant feature differs from its mean by rounding, which is no variance."""
    return np.where(variance <= (_ROUNDING * mean) ** 2, 0, variance)


def _unit(X) -> float:
    values = X.data if sparse.issparse(X) else X
    largest = 0.0
    if values.size:
        # NaN, where entries are missing, does not count.
        high, low = (f.reduce(f.reduce(values, axis=0)) for f in (np.fmax, np.fmin))
        largest = max(float(high), -float(low))
    extreme = largest > 0 and not 1e-12 < largest < 1e12
    return float(2.0 ** np.round(np.log2(largest))) if extreme else 1.0


def _padded(array, width) -> np.ndarray:
    missing = width - array.shape[-1]
    return np.pad(array, [(0, 0)] * (array.ndim - 1) + [(0, missing)])
