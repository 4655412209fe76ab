"""Input checks that every estimator makes, once, in its public methods."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from sklearn.utils.validation import (
    _check_sample_weight,
    check_is_fitted,
    validate_data,
)

__all__ = ["fitted_rows", "training_rows", "unchanged_on_error"]

_FLOATS = [np.float64, np.float32]


def training_rows(estimator, X, sample_weight, *, reset):
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


def fitted_rows(estimator, X):
    """X for a fitted estimator, as float array or CSR matrix."""
    check_is_fitted(estimator)
    return validate_data(estimator, X, accept_sparse="csr", dtype=_FLOATS, reset=False)


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
