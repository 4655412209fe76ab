"""Explanations of `AEOutlierDetector`: which features make a row unusual.

The detector inherits the method; `skae.outliers.explanation` makes tables of
contributions.
"""

from numbers import Integral

import numpy as np
from scipy import sparse

from skae.checks.rows import fitted_rows
from skae.estimators.parameters import estimator

__all__ = ["Explaining"]


@estimator
class Explaining:
    """The method `explain`."""

    def explain(self, X, *, top=None):
        """Which features make a row unusual.

        Parameters
        ----------
        top : int, default=None
            Return so many features of each row, the most unusual first, instead.

        Returns
        -------
        contributions : ndarray or DataFrame of shape (n_samples, n_features)
            Each row sums to its score; the lowest entry is the feature that makes it
            most unusual. A DataFrame when X is one.
        table : record array or DataFrame with n_samples * top rows
            With ``top``: columns row, feature (numbers, or labels of a DataFrame),
            contribution, observed and expected (reconstructed) value in X's units.

        Examples
        --------
        >>> from sklearn.datasets import load_wine
        >>> from skae import AEOutlierDetector
        >>> X = load_wine(as_frame=True).data
        >>> detector = AEOutlierDetector(random_state=0).fit(X)
        >>> row = X.iloc[[0]].assign(alcohol=25.0)
        >>> detector.explain(row, top=1)["feature"].item()
        'alcohol'
        """
        rows = fitted_rows(self, X, allow_nan=True)
        contributions = self._scorer.contributions(rows, self.n_jobs)
        frame = hasattr(X, "iloc")
        if top is None:
            if not frame:
                return contributions
            return type(X)(contributions, index=X.index, columns=X.columns)
        if not isinstance(top, Integral) or top < 1:
            raise ValueError(f"top must be a positive int or None; got {top!r}.")
        order = np.argsort(contributions, axis=1, kind="stable")[:, :top]
        place = np.repeat(np.arange(len(order)), order.shape[1]), order.ravel()
        axes = (X.index, X.columns) if frame else map(np.arange, contributions.shape)
        row, feature = (np.asarray(a)[i] for a, i in zip(axes, place, strict=True))
        observed = rows.toarray() if sparse.issparse(rows) else rows
        columns = {
            "row": row,
            "feature": feature,
            "contribution": contributions[place],
            "observed": observed[place],
            "expected": self._scorer.expected(rows, self.n_jobs)[place],
        }
        if frame:
            return type(X)(columns)
        return np.rec.fromarrays(list(columns.values()), names=list(columns))
