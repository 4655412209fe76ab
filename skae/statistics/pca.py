"""Mean, variances and principal axes of X: where every model starts.

Two passes over X in float64, chunk by chunk, give the moments, and one over a row
source; the axes come from what is left after the mean, so that an offset costs no
digits and nothing of X's size is copied. NaN counts as the mean of its column.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import LinearOperator
from sklearn.utils import check_random_state
from sklearn.utils.sparsefuncs import mean_variance_axis

from skae.checks.rows import feature_ranges
from skae.rows.chunks import chunks
from skae.rows.sources import RowSource
from skae.statistics.centred_rows import CentredRows, leading_axes
from skae.statistics.linear_algebra import product

__all__ = ["Moments", "PCAResult", "moments", "pooled_moments", "principal"]

# Of more features the covariance is multiplied, not formed.
_FORMED = 2000
_ROUNDING = 32 * np.finfo(np.float64).eps
_TINY = np.finfo(np.float64).tiny


@dataclass(frozen=True, kw_only=True)
class Moments:
    """First and second moments of the rows.

    Attributes
    ----------
    mean : ndarray of shape (n_features,), in X's units
    unit : float
        Power of two that keeps squares of X / unit within range.
    variance : ndarray of shape (n_features,), in units of ``unit`` squared
    covariance : ndarray or LinearOperator of shape (n_features, n_features) or None
        Likewise; not formed of more than 2,000 features, None where it was not wanted.
    shared_center : ndarray of shape (n_features,) or None
        What rows are centred at, where that is not their mean.
    """

    mean: np.ndarray
    unit: float
    variance: np.ndarray
    covariance: np.ndarray | LinearOperator | None = None
    shared_center: np.ndarray | None = None

    @property
    def center(self) -> np.ndarray:
        """What rows are centred at, in X's units."""
        return self.mean if self.shared_center is None else self.shared_center

    @property
    def std(self) -> np.ndarray:
        """Standard deviation of each column, in X's units."""
        return np.sqrt(self.variance) * self.unit


@dataclass(frozen=True, kw_only=True)
class PCAResult(Moments):
    """Moments and principal axes of the rows, whatever the solver.

    Attributes
    ----------
    axes : ndarray of shape (n_features, n_components)
        Orthonormal columns; zero columns beyond min(n_samples, n_features).
    axis_variance : ndarray of shape (n_components,), in units of ``unit`` squared
    """

    axes: np.ndarray
    axis_variance: np.ndarray

    @property
    def residual(self) -> float:
        """Mean squared error per entry of the training rows, in ``unit`` squared."""
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
    if covariance and isinstance(X, RowSource):
        X.summarized(sample_weight, covariance=True)
    unit, present, mean, variance = _column_moments(X, sample_weight)
    result = Moments(
        mean=mean * unit, unit=unit, variance=_above_rounding(variance * present, mean)
    )
    if not covariance:
        return result
    rows = CentredRows(X, sample_weight, result.mean, unit)
    if X.shape[1] <= _FORMED:
        return replace(result, covariance=rows.covariance())
    products = rows.covariance_times
    shape = X.shape[1], X.shape[1]
    operator = LinearOperator(shape, products, matmat=products, dtype=np.float64)
    return replace(result, covariance=operator)


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
    unit, present, mean, variance = _column_moments(X, sample_weight)
    groups = np.unique(groups, return_inverse=True)[1]
    entries = np.maximum(np.bincount(groups, present), _TINY)

    def pooled(values):
        return (np.bincount(groups, present * values) / entries)[groups]

    center = pooled(mean)
    variance = pooled(variance + (mean - center) ** 2)
    return Moments(
        mean=np.where(present > 0, mean, center) * unit,
        unit=unit,
        variance=_above_rounding(variance, center),
        shared_center=center * unit,
    )


def principal(X, n_components, sample_weight=None, random_state=None) -> PCAResult:
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
    PCAResult

    Raises
    ------
    ValueError
        When a share of the variance takes too many components of large X.
    """
    if isinstance(X, RowSource) and X.shape[0] > X.shape[1]:
        # In the same pass as the mean.
        X.summarized(sample_weight, covariance=True)
    result = moments(X, sample_weight, covariance=False)
    rows = CentredRows(X, sample_weight, result.mean, result.unit)
    random_state = check_random_state(0 if random_state is None else random_state)
    rank = min(n_components, *X.shape)
    total = result.variance.sum()
    variance, axes = leading_axes(rows, rank, total, random_state)
    n_missing = max(0, n_components - len(variance))
    return PCAResult(
        **vars(result),
        axes=np.pad(axes, ((0, 0), (0, n_missing))),
        axis_variance=np.pad(variance, (0, n_missing)),
    )


def _column_moments(X, sample_weight):
    """Unit, and for each column the share of entries, their mean and variance in it.

    Shares are weighted; NaN, where entries are missing, does not count.
    """
    if isinstance(X, RowSource):
        summary = X.summarized(sample_weight)
        entries = np.where(summary.present > 0, summary.present, 1)
        share = summary.present / summary.weight
        return summary.unit, share, summary.mean, summary.squares / entries
    n_samples, n_features = X.shape
    largest = np.fmax.reduce(np.abs(feature_ranges(X)), axis=None, initial=0)
    extreme = largest > 0 and not 1e-12 < largest < 1e12
    unit = float(2.0 ** np.round(np.log2(largest))) if extreme else 1.0
    weight = np.ones(n_samples) if sample_weight is None else sample_weight
    weight = weight / weight.sum()
    if sparse.issparse(X):
        scaled = X.astype(np.float64) / unit
        scaled.sum_duplicates()
        mean, variance, present = mean_variance_axis(
            scaled, axis=0, weights=weight, return_sum_weights=True
        )
        return unit, present, *(np.where(present > 0, v, 0) for v in (mean, variance))
    mean = np.zeros(n_features)
    # The second pass has the digits that an offset costs the first.
    for _ in range(2):
        present, first, second = np.zeros((3, n_features))
        for rows in chunks(n_samples, n_features):
            block = np.divide(X[rows], unit, dtype=np.float64)
            block -= mean
            missing = np.isnan(block)
            block[missing] = 0
            present += product(weight[rows], ~missing)
            first += product(weight[rows], block)
            second += product(weight[rows], np.square(block, out=block))
        entries = np.where(present > 0, present, 1)
        mean += first / entries
    return unit, present, mean, second / entries - (first / entries) ** 2


def _above_rounding(variance, mean) -> np.ndarray:
    """A constant feature differs from its mean by rounding, which is no variance."""
    return np.where(variance <= (_ROUNDING * mean) ** 2, 0, variance)
