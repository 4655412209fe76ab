"""Input checks that every estimator makes, once, in its public methods."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from scipy import sparse
from sklearn.utils.validation import (
    _check_sample_weight,
    check_array,
    check_is_fitted,
    validate_data,
)

__all__ = [
    "check_unit_interval",
    "feature_ranges",
    "fitted_rows",
    "in_unit_interval",
    "n_axes",
    "target_rows",
    "training_rows",
    "unchanged_on_error",
]

_FLOATS = [np.float64, np.float32]


def training_rows(estimator, X, sample_weight, *, reset, allow_nan=False):
    """X and its weights for a fit.

    Parameters
    ----------
    estimator : estimator
        Takes over n_features_in_ and feature_names_in_ if ``reset``, else X is checked
        against them.
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        At least two rows.
    sample_weight : array-like of shape (n_samples,) or None
    reset : bool
    allow_nan : bool, default=False

    Returns
    -------
    X : ndarray or CSR matrix
        Without the rows of weight zero.
    weight : ndarray of shape (n_samples,) or None
        Positive, of mean one; None where all are equal.
    """
    X = validate_data(
        estimator,
        X,
        accept_sparse="csr",
        dtype=_FLOATS,
        ensure_min_samples=2,
        reset=reset,
        ensure_all_finite="allow-nan" if allow_nan else True,
    )
    if sample_weight is None:
        return X, None
    weight = _check_sample_weight(
        sample_weight, X, dtype=np.float64, ensure_non_negative=True
    )
    used = weight > 0
    if used.sum() < 2:
        raise ValueError(
            f"sample_weight must be positive for at least two rows; it is for "
            f"{used.sum()}."
        )
    if not used.all():
        X, weight = X[used], weight[used]
    even = np.all(weight == weight[0])
    return X, None if even else weight / weight.mean()


def fitted_rows(estimator, X, *, allow_nan=False):
    """X for a fitted estimator, as float array or CSR matrix."""
    check_is_fitted(estimator)
    return validate_data(
        estimator,
        X,
        accept_sparse="csr",
        dtype=_FLOATS,
        reset=False,
        ensure_all_finite="allow-nan" if allow_nan else True,
    )


def target_rows(y, shape, *, allow_nan=False):
    """Clean rows that are the targets of noisy rows of this shape."""
    y = check_array(
        y,
        accept_sparse="csr",
        dtype=_FLOATS,
        ensure_all_finite="allow-nan" if allow_nan else True,
        input_name="y",
    )
    if y.shape != shape:
        raise ValueError(
            f"y, the clean rows, must have the shape of X, {shape}; got {y.shape}. "
            "Labels are one-dimensional and ignored."
        )
    return y


def n_axes(X) -> int:
    """Number of axes of anything array-like."""
    return X.ndim if hasattr(X, "ndim") else np.asarray(X).ndim


def check_unit_interval(X) -> None:
    """Raise for values that no Bernoulli likelihood can judge."""
    if not in_unit_interval(X):
        low, high = feature_ranges(X)
        raise ValueError(
            "likelihood='bernoulli' needs X within [0, 1], but X ranges from "
            f"{low.min():g} to {high.max():g}. Scale X, with MinMaxScaler for example, "
            "or use likelihood='gaussian'."
        )


def in_unit_interval(X) -> bool:
    """Whether all values lie in [0, 1]."""
    low, high = feature_ranges(X)
    return low.min() >= 0 and high.max() <= 1


def feature_ranges(X):
    """Smallest and largest value of each feature, NaN left out."""
    if sparse.issparse(X):
        low, high = (part.toarray().ravel() for part in (X.min(0), X.max(0)))
        return low, high
    return np.nanmin(X, axis=0), np.nanmax(X, axis=0)


@contextmanager
def unchanged_on_error(estimator) -> Iterator[None]:
    """Leave an estimator as it was, fitted or not, when the block raises."""
    before = dict(vars(estimator))
    try:
        yield
    except BaseException:
        vars(estimator).clear()
        vars(estimator).update(before)
        raise
