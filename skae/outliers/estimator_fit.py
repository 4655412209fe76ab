"""The fit of `AEOutlierDetector` around an autoencoder: fit or check, then calibrate.

`AEOutlierDetector` calls this when ``estimator`` is not None, with validated rows or
with samples in a shape of their own, which the estimator validates.
"""

import numpy as np
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils import check_random_state, get_tags
from sklearn.utils.validation import _num_samples, check_is_fitted

from skae.checks.samples import some_samples
from skae.outliers.calibration import Calibration
from skae.outliers.reconstruction_scorer import (
    ReconstructionScorer,
    best_score,
    nameless,
)
from skae.training.checkpoint import Checkpoint, split_callbacks

__all__ = ["fit_estimator", "is_fitted"]

_VALIDATION_FRACTION = 0.25


def fit_estimator(estimator, X, weight, random_state, feature_names, adjust=None):
    """A scorer by an autoencoder, and its calibration.

    Parameters
    ----------
    estimator : estimator
        Left as it is: one that is not fitted is cloned and fitted to three quarters of
        the rows, and the others calibrate. Of a fitted one, all rows calibrate.
    X : {ndarray, CSR matrix} of shape (n_samples, n_features), or samples
    weight : ndarray of shape (n_samples,) or None
    random_state : int, RandomState or None
    feature_names : ndarray of str or None
        Those of X.
    adjust : callable, optional
        ``adjust(scores, row_numbers)`` returns the scores of the calibration.

    Returns
    -------
    scorer : ReconstructionScorer
    calibration : Calibration
    """
    if is_fitted(estimator):
        if hasattr(X, "shape") and len(X.shape) == 2:
            _check_columns(estimator, X.shape[1], feature_names)
        held_out = np.arange(_num_samples(X))
    else:
        estimator, held_out = _fitted_clone(estimator, X, weight, random_state)
    scorer = ReconstructionScorer(nameless(estimator))
    scores = scorer.scores(some_samples(X, held_out))
    scorer.best, scorer.margin = best_score(scores)
    counted = scores if adjust is None else adjust(scores, held_out)
    weight = None if weight is None else weight[held_out]
    calibration = Calibration.robust(counted, weight, screened=scores)
    return scorer, calibration


def _fitted_clone(estimator, X, weight, random_state):
    """A clone fitted to some rows, and the numbers of the others."""
    n_samples = _num_samples(X)
    if n_samples < 4:
        raise ValueError(
            "estimator= needs at least 4 rows, to fit and to set the threshold; X has "
            f"{n_samples}."
        )
    estimator = clone(estimator)
    if get_tags(estimator).target_tags.required:
        raise ValueError(
            f"estimator={type(estimator).__name__}() needs y in fit, which a detector "
            "does not have; fit it first and pass the fitted one."
        )
    random = np.random.default_rng(_seed(estimator, random_state))
    order = random.permutation(n_samples)
    n_held_out = max(1, round(_VALIDATION_FRACTION * n_samples))
    held_out, rest = np.sort(order[:n_held_out]), np.sort(order[n_held_out:])
    if isinstance(X, list | tuple):
        # Sequences to be scored must not be longer than those of the fit.
        longest = max(range(n_samples), key=lambda sample: len(X[sample]))
        if longest in held_out:
            held_out[held_out == longest], rest[0] = rest[0], longest
    if "random_state" in estimator.get_params():
        estimator.set_params(random_state=int(random.integers(2**31)))
    weights = {} if weight is None else {"sample_weight": weight[rest]}
    return estimator.fit(some_samples(X, rest), **weights), held_out


def _seed(estimator, random_state) -> int:
    """A seed for the split, that of the checkpoint where a fit goes on."""
    callbacks = getattr(estimator, "callbacks", None)
    if isinstance(callbacks, list | tuple):
        checkpoint, _ = split_callbacks(callbacks)
        if isinstance(checkpoint, Checkpoint):
            return checkpoint.seed(random_state)
    return int(check_random_state(random_state).randint(2**31 - 1))


def _check_columns(estimator, n_features, names):
    """Refuse X with other columns than those that a fitted estimator expects."""
    expected = getattr(estimator, "feature_names_in_", None)
    has_names = expected is not None and names is not None
    if has_names and not np.array_equal(expected, names):
        raise ValueError(
            f"The columns of X are {list(names)}, but the fitted estimator= expects "
            f"{list(expected)}."
        )
    if estimator.n_features_in_ != n_features:
        raise ValueError(
            f"X has {n_features} features, but the fitted estimator= expects "
            f"{estimator.n_features_in_}."
        )


def is_fitted(estimator) -> bool:
    """Whether an estimator has been fitted."""
    try:
        check_is_fitted(estimator)
    except NotFittedError:
        return False
    return True
