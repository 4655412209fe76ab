"""The unit of each column, for models that must not depend on the units of X.

A table of metres and grams has as many scales as units, and a squared error counts only
the columns of large numbers. Pixels, answers on one scale and standardised columns
are in one unit already: there differences in variance are information, and X's own
metric is kept.
"""

import numpy as np

__all__ = ["column_units", "pooled_deviation"]

# Standard deviations within this ratio may well be of one unit.
_RATIO = 10.0
# Of the length of an interval: closer to an end counts as reaching it.
_NEAR = 0.05


def column_units(
    variance: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    groups: np.ndarray | None = None,
) -> np.ndarray | None:
    """Standard deviations by which columns are divided, or None to leave them as is.

    Columns are in one unit where their standard deviations are within a factor of ten
    of each other, or where all values lie in an interval both ends of which are reached
    by more than half of the columns. Columns that do not vary have no say.

    Parameters
    ----------
    variance : ndarray of shape (n_features,), in X's units squared
    low, high : ndarray of shape (n_features,)
        Smallest and largest value of each column; NaN where it has none.
    groups : ndarray of int of shape (n_features,), optional
        Columns of equal number share a unit, the root of their mean variance.

    Returns
    -------
    units : ndarray of shape (n_features,) or None
        Positive; one for columns that do not vary.

    Examples
    --------
    >>> import numpy as np
    >>> low, high = np.array([0.0, 1.0]), np.array([1.0, 5000.0])
    >>> column_units(np.array([0.04, 250_000.0]), low, high)
    array([2.e-01, 5.e+02])
    >>> column_units(np.array([0.04, 0.09]), low, np.array([1.0, 2.0])) is None
    True
    """
    # Roots first: squares of large and of small units do not meet in one sum.
    deviation = np.sqrt(variance)
    if groups is not None:
        deviation = pooled_deviation(deviation, groups)
    varies = deviation > 0
    if not varies.any():
        return None
    spread = deviation[varies]
    if spread.max() <= _RATIO * spread.min() or _is_one_interval(low, high):
        return None
    return np.where(varies, deviation, 1.0)


def pooled_deviation(deviation: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Root mean square of the deviations of each column's group, ``(n_features,)``."""
    groups = np.unique(groups, return_inverse=True)[1]
    total = np.bincount(groups, deviation**2)
    return np.sqrt(total / np.bincount(groups))[groups]


def _is_one_interval(low, high) -> bool:
    """Whether most columns that vary come near both ends of all values."""
    varies = high > low
    if not varies.any():
        return False
    least, most = np.nanmin(low), np.nanmax(high)
    margin = _NEAR * (most - least)
    reaching = (low[varies] <= least + margin) & (high[varies] >= most - margin)
    return bool(reaching.mean() > 0.5)
