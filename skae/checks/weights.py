"""Checks of sample_weight, for every fit that takes one."""

import numpy as np
from sklearn.utils.validation import _check_sample_weight

from skae.checks.sources import check_values

__all__ = ["check_balance", "training_weights"]

# What all rows but the heaviest need of the total, for a network to learn from them.
_LEAST_SHARE = 1e-4
# How many times all others a row may weigh; beyond, means and axes no longer change.
_MOST = 1e12
# Of the heaviest, so that squares of weights are no zeros in float32.
_SMALLEST = 1e-18


def training_weights(sample_weight, X, min_rows: int) -> np.ndarray:
    """Weights of the rows of X, non-negative and finite also in sums.

    Parameters
    ----------
    sample_weight : array-like of shape (n_samples,)
    X : ndarray or CSR matrix of shape (n_samples, n_features)
    min_rows : int
        Of positive weight.

    Raises
    ------
    ValueError
        When there are negative ones, or too few that are positive.
    """
    check_values(sample_weight, "sample_weight")
    weight = _check_sample_weight(
        sample_weight, X, dtype=np.float64, ensure_non_negative=True
    )
    used = weight > 0
    if used.sum() < min_rows:
        raise ValueError(
            f"sample_weight must be positive for {min_rows} of the rows at least; it "
            f"is for {used.sum()}."
        )
    # By a power of two, which changes no digit.
    _, exponent = np.frexp(weight.max())
    weight = np.ldexp(weight, -exponent)
    weight[used] = np.maximum(weight[used], np.finfo(np.float64).tiny)
    if used.sum() > 1:
        weight = np.minimum(weight, _MOST * _beside_heaviest(weight))
    weight[used] = np.maximum(weight[used], _SMALLEST * weight.max())
    return weight


def check_balance(weight: np.ndarray | None) -> None:
    """Raise where one row has practically all the weight.

    Only for models that are trained by gradients: principal axes in closed form take
    any weights.

    Parameters
    ----------
    weight : ndarray of shape (n_samples,) or None
        Positive; None for equal weights.
    """
    if weight is None or len(weight) < 2:
        return
    others = _beside_heaviest(weight)
    if others < _LEAST_SHARE * weight.sum():
        ratio = weight.max() / others
        raise ValueError(
            f"sample_weight gives one row at least {ratio:.2g} times the weight of all "
            "other rows together, so that nothing can be learned from these. Use less "
            "extreme weights, for example np.minimum(sample_weight, 100 * "
            "np.median(sample_weight)), or leave rows out by a weight of zero."
        )


def _beside_heaviest(weight) -> float:
    return float(np.delete(weight, weight.argmax()).sum())
