"""The fit of `AEOutlierDetector` around an autoencoder: fit or check, then calibrate.

`AEOutlierDetector` calls this with validated rows when ``estimator`` is not None.
"""

import numpy as np
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils import check_random_state, get_tags
from sklearn.utils.validation import check_is_fitted

from skae.outliers.calibration import Calibration
from skae.outliers.scorers import ReconstructionScorer

__all__ = ["fit_estimator"]

_VALIDATION_FRACTION = 0.25


def fit_estimator(estimator, X, weight, random_state, feature_names):
    """A scorer by an autoencoder, and its calibration.

    Parameters
    ----------
    estimator : estimator
        Left as it is: one that is not fitted is cloned and fitted to three quarters of
        the rows, and the others calibrate. Of a fitted one, all rows calibrate.
    X : {ndarray, CSR matrix} of shape (n_samples, n_features)
    weight : ndarray of shape (n_samples,) or None
    random_state : int, RandomState or None
    feature_names : ndarray of str or None
        Those of X.

    Returns
    -------
    scorer : ReconstructionScorer
    calibration : Calibration
    """
    if _is_fitted(estimator):
        _check_columns(estimator, X.shape[1], feature_names)
        held_out = np.arange(X.shape[0])
    else:
        estimator, held_out = _fitted_clone(estimator, X, weight, random_state)
    scorer = ReconstructionScorer(estimator)
    scores = scorer.scores(X[held_out])
    calibration = Calibration.robust(
        scores, None if weight is None else weight[held_out]
    )
    return scorer, calibration


def _fitted_clone(estimator, X, weight, random_state):
    """A clone fitted to some rows, and the numbers of the others."""
    n_samples = X.shape[0]
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
    seed = check_random_state(random_state).randint(2**31 - 1)
    random = np.random.default_rng(int(seed))
    order = random.permutation(n_samples)
    n_held_out = max(1, round(_VALIDATION_FRACTION * n_samples))
    held_out, rest = np.sort(order[:n_held_out]), np.sort(order[n_held_out:])
    if "random_state" in estimator.get_params():
        estimator.set_params(random_state=int(random.integers(2**31)))
    weights = {} if weight is None else {"sample_weight": weight[rest]}
    return estimator.fit(X[rest], **weights), held_out


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


def _is_fitted(estimator):
    try:
        check_is_fitted(estimator)
    except NotFittedError:
        return False
    return True
