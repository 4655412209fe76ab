"""Mean, variances and principal axes of X: where every model starts.

scikit-learn's PCA finds the axes of tables that fit comfortably in memory. Weighted,
sparse and larger data go through their covariance, added up chunk by chunk in float64,
so that nothing of X's size is copied.
"""

from dataclasses import dataclass

import numpy as np
from scipy import linalg, sparse
from sklearn.decomposition import PCA

from skae.training.batches import chunks

__all__ = [
    "Moments",
    "Principal",
    "moments",
    "principal",
    "sequence_moments",
    "share",
]

_IN_MEMORY_BYTES = 128 * 2**20
_UPCAST_ENTRIES = 4_000_000
_FULL_SVD = 500
# A covariance of more features than this is not formed when rows are fewer.
_WIDE = 5000
_EIGEN = 2000
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
    covariance : ndarray of shape (n_features, n_features) or None
        Likewise; None where it was not asked for.
    shared_center : ndarray of shape (n_features,) or None
        What rows are centred at, where that is not their mean.
    """

    mean: np.ndarray
    unit: float
    variance: np.ndarray
    covariance: np.ndarray | None
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
    """Weighted mean, variances and, if wanted, the covariance, in two passes."""
    n_samples, n_features = X.shape
    unit = _unit(X)
    weight = np.ones(n_samples) if sample_weight is None else sample_weight
    weight = weight / weight.sum()
    mean = np.zeros(n_features)
    for rows in chunks(n_samples, n_features):
        mean += weight[rows] @ _dense(X[rows], unit)
    second = np.zeros((n_features, n_features) if covariance else n_features)
    for rows in chunks(n_samples, n_features):
        block = _dense(X[rows], unit) - mean
        if covariance:
            block *= np.sqrt(weight[rows])[:, None]
            second += block.T @ block
        else:
            second += weight[rows] @ np.square(block)
    variance = np.diag(second).copy() if covariance else second
    # A constant feature differs from its mean by rounding, which is no variance.
    variance[variance <= (_ROUNDING * mean) ** 2] = 0
    return Moments(mean * unit, unit, variance, second if covariance else None)


def sequence_moments(X, sample_weight, period: int) -> Moments:
    """Moments of rows that are sequences laid out flat, NaN left out.

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (n_samples, n_features)
    sample_weight : ndarray of shape (n_samples,) or None
    period : int
        Columns that are this far apart are one feature at successive steps; its center
        and variance are those over all steps of all rows. The mean is each column's.
    """
    n_samples, n_features = X.shape
    unit = _unit(X)
    weight = np.ones(n_samples) if sample_weight is None else sample_weight
    weight = weight / weight.sum()

    def pooled(columns):
        sums = columns.reshape(-1, period).sum(axis=0)
        return np.tile(sums, n_features // period)

    seen, total, second = np.zeros((3, n_features))
    for rows in chunks(n_samples, n_features):
        block = _dense(X[rows], unit)
        seen += weight[rows] @ ~np.isnan(block)
        total += weight[rows] @ np.nan_to_num(block)
    center = pooled(total) / pooled(seen)
    for rows in chunks(n_samples, n_features):
        block = np.nan_to_num(_dense(X[rows], unit) - center)
        second += weight[rows] @ np.square(block)
    variance = pooled(second) / pooled(seen)
    mean = np.divide(total, seen, out=center.copy(), where=seen > 0)
    return Moments(mean * unit, unit, variance, None, center * unit)


def principal(X, n_components, sample_weight=None, random_state=None) -> Principal:
    """PCA of X.

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (n_samples, n_features)
    n_components : int or float
        A float in (0, 1) is the share of variance to keep.
    sample_weight : ndarray of shape (n_samples,), optional
    random_state : RandomState, optional
        For PCA's randomised solver.

    Returns
    -------
    Principal
    """
    n_samples, n_features = X.shape
    wide = n_features > max(n_samples, _WIDE)
    if sparse.issparse(X):
        in_memory = False
    else:
        in_memory = wide or X.nbytes <= _IN_MEMORY_BYTES
    # PCA divides by the variance, of which equal rows have none.
    varies = in_memory and bool((X != X[0]).any())
    if sample_weight is None and varies:
        return _from_pca(X, n_components, random_state)
    if sample_weight is None and sparse.issparse(X) and n_components >= 1 and wide:
        return _from_sparse_pca(X, n_components, random_state)
    found = moments(X, sample_weight, covariance=True)
    values, vectors = linalg.eigh(found.covariance)
    values, vectors = np.maximum(values[::-1], 0), vectors[:, ::-1]
    if n_components < 1:
        n_components = share(values, n_components)
    rank = min(n_components, n_samples, n_features)
    axes = _sign_flipped(vectors[:, :rank])
    return Principal(
        found.mean,
        found.unit,
        _padded(axes, n_components),
        _padded(values[:rank], n_components),
        found.variance,
    )


def _from_pca(X, n_components, random_state) -> Principal:
    unit = _unit(X)
    if unit != 1 or X.size <= _UPCAST_ENTRIES:
        X = _dense(X, unit)
    limit = min(X.shape)
    wanted = n_components if n_components < 1 else min(n_components, limit)
    # PCA's own choice would be the randomised solver here, which is not the best one.
    exact = max(X.shape) > _FULL_SVD and X.shape[1] <= _EIGEN
    solver = "covariance_eigh" if exact else "auto"
    pca = PCA(wanted, svd_solver=solver, random_state=random_state).fit(X)
    to_population = (len(X) - 1) / len(X)
    kept = pca.explained_variance_.astype(np.float64) * to_population
    width = pca.n_components_ if n_components < 1 else n_components
    return Principal(
        pca.mean_.astype(np.float64) * unit,
        unit,
        _padded(pca.components_.T.astype(np.float64), width),
        _padded(kept, width),
        X.var(axis=0, dtype=np.float64),
    )


def _from_sparse_pca(X, n_components, random_state) -> Principal:
    """Few rows of many features, never centred as a whole."""
    rank = min(n_components, min(X.shape) - 1)
    pca = PCA(rank, svd_solver="arpack", random_state=random_state).fit(X)
    found = moments(X, covariance=False)
    population = (X.shape[0] - 1) / X.shape[0] / found.unit**2
    return Principal(
        found.mean,
        found.unit,
        _padded(pca.components_.T.astype(np.float64), n_components),
        _padded(pca.explained_variance_ * population, n_components),
        found.variance,
    )


def _unit(X) -> float:
    values = X.data if sparse.issparse(X) else X
    largest = 0.0
    if values.size:
        # NaN, where sequences end, does not count.
        high, low = (f.reduce(f.reduce(values, axis=0)) for f in (np.fmax, np.fmin))
        largest = max(float(high), -float(low))
    extreme = largest > 0 and not 1e-12 < largest < 1e12
    return float(2.0 ** np.round(np.log2(largest))) if extreme else 1.0


def _dense(block, unit) -> np.ndarray:
    block = block.toarray() if sparse.issparse(block) else block
    block = np.asarray(block, dtype=np.float64)
    return block if unit == 1 else block / unit


def share(values, wanted) -> int:
    """How many leading variances add up to more than the share."""
    cumulated = np.cumsum(values) / max(values.sum(), np.finfo(float).tiny)
    return min(len(values), int(np.searchsorted(cumulated, wanted, side="right")) + 1)


def _padded(array, width) -> np.ndarray:
    missing = width - array.shape[-1]
    return np.pad(array, [(0, 0)] * (array.ndim - 1) + [(0, missing)])


def _sign_flipped(axes) -> np.ndarray:
    """PCA's convention: the largest entry of each axis is positive."""
    largest = np.abs(axes).argmax(axis=0)
    signs = np.sign(axes[largest, np.arange(axes.shape[1])])
    return axes * np.where(signs == 0, 1, signs)


def pooled_moments(X, sample_weight, groups):
    return sequence_moments(X, sample_weight, int(groups.max()) + 1)


def column_units(variance, low, high, groups=None):
    sd = np.sqrt(variance)
    v = sd > 0
    if not v.any() or sd[v].max() / sd[v].min() <= 4:
        return None
    lo, hi = np.fmin.reduce(low), np.fmax.reduce(high)
    near = (low <= lo + 0.05 * (hi - lo)) & (high >= hi - 0.05 * (hi - lo))
    if near[v].mean() >= 0.5:
        return None
    if groups is not None:
        pooled = np.bincount(groups, variance) / np.bincount(groups)
        sd = np.sqrt(pooled)[groups]
    return np.where(sd > 0, sd, 1.0)
