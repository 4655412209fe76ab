"""Methods of a fitted `AEOutlierDetector` that watches rows: thresholds.

The detector inherits them; nothing here knows what judges rows.
"""

from skae.estimators.parameters import estimator
from skae.outliers.threshold_tuning import best_threshold

__all__ = ["Monitoring"]


@estimator
class Monitoring:
    """What is done with a fitted detector besides scoring."""

    def tune_threshold(self, X, y, scoring="f1"):
        """Set ``offset_`` to where labelled rows score best; of ties, flag the most.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            New rows or training rows, which are scored out of bag.
        y : array-like of shape (n_samples,)
            1 for outliers and 0 for inliers, or -1 and +1 as from ``predict``; both
            must occur.
        scoring : str or callable, default="f1"
            Name of a scikit-learn scorer of labels, or ``scorer(detector, X, y) ->
            float``. It sees 1 for outliers and 0 for inliers, so that "f1", "precision"
            and "recall" are those of the outliers.

        Returns
        -------
        self : AEOutlierDetector

        Raises
        ------
        ValueError
            When y has other values, or only one kind, or when ``scoring`` cannot tell
            thresholds apart.
        """
        self.offset_ = best_threshold(self.score_samples(X), X, y, scoring)
        return self
