"""Input checks that every estimator makes, once, in its public methods."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from scipy import sparse
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from skae.checks.collections import check_shaped
from skae.checks.places import entries_named
from skae.checks.sources import rows_of_source
from skae.checks.weights import check_balance, training_weights
from skae.rows.blocks import unmasked
from skae.rows.chunks import chunks
from skae.rows.sources import RowSource
from skae.rows.summary import count_grey

__all__ = [
    "check_fitted",
    "check_magnitude",
    "check_padding",
    "code_rows",
    "feature_ranges",
    "fitted_rows",
    "in_unit_interval",
    "is_black_and_white",
    "shape_of",
    "target_rows",
    "training_rows",
    "unchanged_on_error",
    "used_samples",
]

_FLOATS = [np.float64, np.float32]
# Squares of float64 entries, and codes in X's dtype, are finite up to these.
_LARGEST = {np.dtype(np.float64): 1e150, np.dtype(np.float32): 1e35}
# In the model's units; sums of weighted entries are finite in the model's dtype.
_FARTHEST = {torch.float64: 1e150, torch.float32: 1e35}


def training_rows(
    estimator,
    X,
    sample_weight,
    *,
    reset,
    allow_nan=False,
    min_rows=2,
    balanced=True,
    like=None,
):
    """X and its weights for a fit.

    Parameters
    ----------
    estimator : estimator
        Takes over n_features_in_ and feature_names_in_ if ``reset``, else X is checked
        against them.
    X : {array-like, sparse matrix} of shape (n_samples, n_features) or row source
    sample_weight : array-like of shape (n_samples,) or None
    reset : bool
    allow_nan : bool, default=False
    min_rows : int, default=2
        Of positive weight.
    balanced : bool, default=True
        Whether a row that has practically all the weight is refused.
    like : object, optional
        The samples as the user passed them, by whose indices errors name entries of
        X, their flat rows.

    Returns
    -------
    X : ndarray, CSR matrix or RowSource
        Without the rows of weight zero.
    weight : ndarray of shape (n_samples,) or None
        Positive, of mean one; None where all are equal.
    """
    options = {"reset": reset, "min_rows": min_rows, "like": like}
    X = _validated(estimator, X, allow_nan, **options)
    if not reset:
        _check_distance(estimator, X)
    return used_samples(X, sample_weight, min_rows, balanced=balanced)


def used_samples(X, sample_weight, min_rows, *, balanced=True):
    """The samples of positive weight, and their weights.

    Parameters
    ----------
    X : ndarray, CSR matrix or list of arrays
    sample_weight : array-like of shape (n_samples,) or None
    min_rows : int
        Of positive weight.
    balanced : bool, default=True
        Whether a row that has practically all the weight is refused.

    Returns
    -------
    X : as it came
    weight : ndarray of shape (n_samples,) or None
        Positive, of mean one; None where all are equal.
    """
    if sample_weight is None:
        return X, None
    weight = training_weights(sample_weight, X, min_rows)
    used = weight > 0
    if not used.all():
        numbers, weight = np.flatnonzero(used), weight[used]
        is_source = isinstance(X, RowSource)
        X = X.selected(numbers) if is_source else _safe_indexing(X, numbers)
    weight = None if np.all(weight == weight[0]) else weight / weight.mean()
    if isinstance(X, RowSource):
        X.weight = weight
    if balanced:
        check_balance(weight)
    return X, weight


def check_fitted(estimator) -> None:
    """As scikit-learn's, without a look at all attributes where the fit set its own."""
    if "n_features_in_" not in vars(estimator):
        check_is_fitted(estimator)


def fitted_rows(estimator, X, *, allow_nan=False, like=None):
    """X for a fitted estimator, as float array, CSR matrix or row source.

    ``like`` is as of `training_rows`.
    """
    check_fitted(estimator)
    fitted = vars(estimator)
    # Ensembles take any magnitude.
    bounded = "units_" in fitted
    is_nameless = "feature_names_in_" not in fitted
    width = fitted.get("n_features_in_")
    if not (is_nameless and _is_valid(X, width, allow_nan, bounded)):
        options = {"bounded": bounded, "reset": False, "like": like}
        X = _validated(estimator, X, allow_nan, **options)
    _check_distance(estimator, X)
    return X


def code_rows(estimator, Z, width) -> np.ndarray:
    """Codes of this width for a fitted estimator, as float array."""
    if _is_valid(Z, width):
        return Z
    source = rows_of_source(Z, name="Z")
    if source is None:
        Z = check_array(unmasked(Z), dtype=_FLOATS, input_name="Z")
    else:
        Z = source
    if Z.shape[1] != width:
        raise ValueError(
            f"Z has {Z.shape[1]} columns, but the codes of this "
            f"{type(estimator).__name__} have n_components_={width}."
        )
    return Z


def _is_valid(X, width, allow_nan=False, bounded=False) -> bool:
    """Whether X is an array that validation, which takes long, would give back."""
    if type(X) is not np.ndarray or X.dtype not in _LARGEST or not X.size:
        return False
    if X.ndim != 2 or X.shape[1] != width:
        return False
    if allow_nan:
        largest = max(np.fmax.reduce(X, axis=None), -np.fmin.reduce(X, axis=None))
        largest = 0 if np.isnan(largest) else largest
    else:
        largest = max(X.max(), -X.min())
    return bool(largest <= _LARGEST[X.dtype] if bounded else largest < np.inf)


def _validated(estimator, X, allow_nan, *, reset, min_rows=1, bounded=True, like=None):
    """X as a float array, CSR matrix or row source with the estimator's columns."""
    options = {"reset": reset, "min_rows": min_rows, "bounded": bounded, "like": like}
    source = _rows_of_source(X, allow_nan, estimator=estimator, **options)
    if source is not None:
        return source
    X = unmasked(X)
    options = {"reset": reset, "ensure_min_samples": min_rows, **_accepted(allow_nan)}
    # scikit-learn adds all entries up, which the largest ones do not survive.
    with np.errstate(invalid="ignore"), entries_named(X, like=like):
        X = validate_data(estimator, X, **options)
    if bounded:
        check_magnitude(X)
    return X


def _rows_of_source(X, allow_nan, *, bounded=True, **options):
    largest = _LARGEST if bounded else None
    return rows_of_source(X, allow_nan=allow_nan, largest=largest, **options)


def _accepted(allow_nan) -> dict:
    finite = "allow-nan" if allow_nan else True
    return {"accept_sparse": "csr", "dtype": _FLOATS, "ensure_all_finite": finite}


def target_rows(y, shape, *, allow_nan=False, like=None):
    """Clean rows that are the targets of noisy rows of this shape.

    ``like`` is as of `training_rows`.
    """
    source = _rows_of_source(y, allow_nan, name="y", like=like)
    if source is None:
        y = unmasked(y)
        with np.errstate(invalid="ignore"), entries_named(y, "y", like):
            y = check_array(y, input_name="y", **_accepted(allow_nan))
    else:
        y = source
    if y.shape != shape:
        raise ValueError(
            f"y, the clean rows, must have the shape of X, {shape}; got {y.shape}. "
            "Labels are one-dimensional and ignored."
        )
    if source is None:
        check_magnitude(y, "y")
    return y


def check_magnitude(X, name="X") -> None:
    """Raise for entries so large that their squares, or codes of them, are infinite."""
    values = X.data if sparse.issparse(X) else X
    if not values.size:
        return
    largest = max(np.fmax.reduce(values, axis=None), -np.fmin.reduce(values, axis=None))
    if largest > _LARGEST[X.dtype]:
        raise ValueError(
            f"The entries of {name}, of dtype {X.dtype}, must not exceed "
            f"{_LARGEST[X.dtype]:g} in magnitude; the largest is {largest:g}. Scale "
            f"{name}, with StandardScaler for example."
        )


def _check_distance(estimator, X) -> None:
    """Raise for entries so far from the training rows that a model cannot square them.

    Estimators without units of their own, such as ensembles, take any distance.
    """
    units, model = getattr(estimator, "units_", None), getattr(estimator, "net_", None)
    if units is None or model is None:
        return
    if isinstance(X, RowSource):
        X.add_check(lambda block, _: _check_distance(estimator, block))
        return
    low, high = feature_ranges(X)
    distance = np.fmax(high - units.center, units.center - low) / units.scale
    farthest = np.fmax.reduce(distance)
    if not farthest > min(_FARTHEST.values()):
        return
    largest = _FARTHEST[next(model.parameters()).dtype]
    if farthest > largest:
        column = int(np.nanargmax(distance))
        unit = np.broadcast_to(units.scale, distance.shape)[column]
        raise ValueError(
            f"The entries of X must lie within {largest:g} units of the training rows' "
            f"mean; column {column}, fitted in units of {unit:g}, is {farthest:g} of "
            "them away. Fit to rows that include such values, or clip X."
        )


def in_unit_interval(X) -> bool:
    """Whether all values but NaN lie in [0, 1]."""
    low, high = feature_ranges(X)
    return not (np.fmin.reduce(low) < 0 or np.fmax.reduce(high) > 1)


def is_black_and_white(X) -> bool:
    """Whether all values lie in [0, 1] and at least half of them near an end."""
    if not in_unit_interval(X):
        return False
    if isinstance(X, RowSource):
        return 2 * X.summary.n_grey <= X.size
    # Entries that a sparse matrix leaves out are zeros.
    stored = X.data if sparse.issparse(X) else X
    n_entries = X.shape[0] * X.shape[1]
    n_grey = sum(
        count_grey(part)
        for part in np.array_split(stored, max(1, stored.size // 4_000_000))
    )
    return 2 * n_grey <= n_entries


def shape_of(X, name="X") -> tuple:
    """The shape of anything array-like, without a copy where it says so itself."""
    check_shaped(X, name)
    return X.shape if hasattr(X, "shape") else np.asarray(X).shape


def feature_ranges(X):
    """Smallest and largest value of each feature, NaN only where all values are."""
    if sparse.issparse(X):
        return tuple(part.toarray().ravel() for part in (X.nanmin(0), X.nanmax(0)))
    if isinstance(X, RowSource):
        return X.summary.low, X.summary.high
    if X.shape[0] == 1:
        return X[0], X[0]
    return np.fmin.reduce(X, axis=0), np.fmax.reduce(X, axis=0)


def check_padding(X, shape, name="X") -> np.ndarray:
    """The number of steps of each sequence.

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (n_samples, n_features)
        Sequences laid out flat, step after step.
    shape : (n_steps, n_step_features)
    name : str, default="X"
        What X is called in messages.
    """
    lengths = np.full(X.shape[0], shape[0])
    for rows in chunks(*X.shape):
        block = X[rows].toarray() if sparse.issparse(X) else X[rows]
        missing = np.isnan(block)
        if not missing.any():
            continue
        missing = missing.reshape(-1, *shape)
        whole = missing.all(axis=2)
        lengths[rows] = shape[0] - whole.sum(axis=1)
        padding = np.arange(shape[0]) >= lengths[rows, None]
        wrong = missing.any(axis=2) != padding
        for row in np.flatnonzero(wrong.any(axis=1) | whole.all(axis=1))[:1]:
            step = np.flatnonzero(missing[row].any(axis=1))[0]
            problem = (
                "is NaN throughout."
                if whole[row].all()
                else f"has NaN at step {step} and values after it or beside it. Fill "
                "in what is missing, with SimpleImputer for example."
            )
            raise ValueError(
                "A sequence has at least one step, and NaN only in whole steps at its "
                f"end, for those of {shape[0]} that it does not have; "
                f"{name}[{rows.start + row}] {problem}"
            )
    return lengths


@contextmanager
def unchanged_on_error(estimator) -> Iterator[None]:
    """Leave an estimator as it was, fitted or not, when the block raises.

    This includes weights that are trained in place: the optimiser moves parameters to
    other memory and writes there.
    """
    before = dict(vars(estimator))
    net = before.get("net_")
    weights = [] if net is None else [(p, p.data) for p in net.parameters()]
    buffers = [] if net is None else [(b, b.clone()) for b in net.buffers()]
    try:
        yield
    except BaseException:
        vars(estimator).clear()
        vars(estimator).update(before)
        for tensor, values in (*weights, *buffers):
            tensor.data, tensor.grad = values, None
        raise
