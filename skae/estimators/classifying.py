"""What a classifier offers whose module gives logits: classes, probabilities, accuracy.

`Classifying` needs ``classes_``, ``net_`` and the methods of `TrainedEstimator`; how
the module was trained it does not know.
"""

import numpy as np
from scipy.special import log_softmax
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.utils.validation import _check_sample_weight, check_consistent_length

from skae.checks.labels import labels_of
from skae.estimators.lazy import in_memory
from skae.estimators.parameters import estimator

__all__ = ["Classifying"]


@estimator
class Classifying(ClassifierMixin):
    """Predictions from the logits of ``net_``."""

    def predict(self, X):
        """The likeliest class of each row.

        Returns
        -------
        y : ndarray of shape (n_samples,)
        """
        likeliest = self._logits(X).argmax(axis=1)
        return self.classes_[likeliest]

    def predict_proba(self, X):
        """Probability of each class.

        Returns
        -------
        P : ndarray of shape (n_samples, n_classes), float64
            Columns in the order of ``classes_``.
        """
        return np.exp(self.predict_log_proba(X))

    def predict_log_proba(self, X):
        """Logarithm of the probability of each class.

        Returns
        -------
        log_P : ndarray of shape (n_samples, n_classes), float64
        """
        return log_softmax(self._logits(X), axis=1)

    def score(self, X, y, sample_weight=None):
        """Share of the labelled rows whose class is predicted.

        Parameters
        ----------
        y : array-like of shape (n_samples,)
            Labels; rows with -1 that is no class, None or NaN are left out.

        Returns
        -------
        score : float

        Raises
        ------
        ValueError
            When no row has a label.
        """
        predicted = in_memory(self.predict(X))
        y, missing = labels_of(y, self.classes_)
        check_consistent_length(predicted, y)
        if missing.all():
            raise ValueError("score needs rows with a label; y has none.")
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, predicted)[~missing]
        labels, predicted = y[~missing], predicted[~missing]
        return float(accuracy_score(labels, predicted, sample_weight=sample_weight))

    def _logits(self, X):
        X = self._rows(X)
        return self._map_rows(X, self.net_, len(self.classes_), dtype=np.float64)

    def _transduced(self, X, y, missing):
        """Labels of the training rows, predicted where y has none."""
        # A class of rows of weight zero alone is none.
        known = ~missing & np.isin(y, self.classes_)
        if known.all():
            return y.astype(self.classes_.dtype)
        labels = np.array(in_memory(self.predict(X)))
        labels[known] = y[known]
        return labels
