"""The search for the threshold at which labelled rows score best.

`AEOutlierDetector.tune_threshold` calls it with scores; nothing here knows a model.
"""

import warnings

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import check_scoring
from sklearn.utils.validation import check_consistent_length, column_or_1d

__all__ = ["best_threshold"]

_CANDIDATES = 500

# scikit-learn's scorers of true and false positives and of the numbers of outliers,
# which are the positive class, and inliers; for all thresholds at once.
_FROM_COUNTS = {
    "f1": lambda tp, fp, outliers, inliers: 2 * tp / (tp + fp + outliers),
    "precision": lambda tp, fp, outliers, inliers: tp / np.maximum(tp + fp, 1),
    "recall": lambda tp, fp, outliers, inliers: tp / outliers,
    "accuracy": lambda tp, fp, outliers, inliers: (
        (tp + inliers - fp) / (outliers + inliers)
    ),
    "balanced_accuracy": lambda tp, fp, outliers, inliers: (
        (tp * inliers + (inliers - fp) * outliers) / (2 * outliers * inliers)
    ),
}


def best_threshold(scores, X, y, scoring) -> float:
    """The threshold below which rows are best called outliers; of ties, the highest.

    Higher scores are more normal; X, y and scoring are those of
    `AEOutlierDetector.tune_threshold`, which says what raises.
    """
    check_consistent_length(scores, y)
    outlier = _outlier_labels(y)
    candidates = _candidates(scores, outlier)
    if isinstance(scoring, str) and scoring in _FROM_COUNTS:
        tp, n_outliers = _counts(scores[outlier == 1], candidates)
        fp, n_inliers = _counts(scores[outlier == 0], candidates)
        values = _FROM_COUNTS[scoring](tp, fp, n_outliers, n_inliers)
    else:
        labeller = _Labeller(scores)
        scorer = check_scoring(labeller, scoring=scoring)
        values = np.array(
            [_score_at(scorer, labeller, t, X, outlier) for t in candidates]
        )
    if len(np.unique(values[np.isfinite(values)])) < 2:
        raise ValueError(
            f"scoring={scoring!r} is {values[0]:.3g} whatever the threshold. Use one "
            "that judges labels, such as 'f1' or 'balanced_accuracy'."
        )
    best = np.flatnonzero(values == np.nanmax(values))[-1]
    return float(candidates[best])


def _candidates(scores, outlier):
    """Thresholds to try, ascending: 500 of those between scores, evenly, and 500 more.

    Those end right after an outlier: for most scorings, to stop elsewhere flags an
    inlier for nothing or spares an outlier.
    """
    levels, place = np.unique(scores, return_inverse=True)
    has_outlier, has_inlier = (
        np.bincount(place, label, minlength=len(levels)) > 0
        for label in (outlier, 1 - outlier)
    )
    ends = has_outlier & np.r_[has_inlier[1:], True]
    above = np.r_[(levels[1:] + levels[:-1]) / 2, np.nextafter(levels[-1], np.inf)]
    return np.unique(np.r_[levels[0], _some(above), _some(above[ends])])


def _some(thresholds):
    """At most 500 of them, evenly."""
    n_kept = min(len(thresholds), _CANDIDATES)
    return thresholds[np.linspace(0, len(thresholds) - 1, n_kept).round().astype(int)]


def _counts(scores, thresholds):
    """How many scores are below each threshold, and how many there are."""
    return np.searchsorted(np.sort(scores), thresholds), len(scores)


class _Labeller(ClassifierMixin, BaseEstimator):
    """A classifier of rows whose scores are known, by a threshold."""

    def __init__(self, scores, offset=0.0):
        self.scores = scores
        self.offset = offset
        self.classes_ = np.array([0, 1])

    def fit(self, X, y):
        return self

    def predict(self, X):
        return (self.scores < self.offset).astype(int)

    def decision_function(self, X):
        return self.offset - self.scores


def _score_at(scorer, labeller, offset, X, outlier):
    """The score at a threshold, without a warning where no row is flagged."""
    labeller.offset = offset
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UndefinedMetricWarning)
        try:
            return scorer(labeller, X, outlier)
        except AttributeError as error:
            raise ValueError(
                "scoring must judge labels or decision values; this one asked for "
                f"something else: {error}"
            ) from error


def _outlier_labels(y):
    """1 for outliers and 0 for inliers, from either convention."""
    y = column_or_1d(y)
    values = set(np.unique(y).tolist())
    if values == {0, 1}:
        return y.astype(int)
    if values == {-1, 1}:
        return (y == -1).astype(int)
    raise ValueError(
        "y must hold 1 for outliers and 0 for inliers, or -1 and +1, and both must "
        f"occur; got the values {sorted(values, key=str)[:5]}."
    )
