"""Explanations of `AEOutlierDetector`: which features make a row unusual.

The detector inherits the method; `skae.outliers.explanation` makes tables of
contributions.
"""

import numpy as np

from skae.checks.integers import check_integer
from skae.checks.samples import in_memory, in_own_shape, is_list_of_arrays
from skae.estimators.parameters import estimator
from skae.outliers.explanation import (
    Grouping,
    as_table,
    contributions_like,
    most_unusual,
)
from skae.rows.readers import as_rows
from skae.rows.sources import RowSource

__all__ = ["Explaining"]


@estimator
class Explaining:
    """The method `explain`."""

    def explain(self, X, *, top=None, groups=None):
        """Which features make a row unusual.

        Parameters
        ----------
        top : int, default=None
            Return so many features of each row, the most unusual first, instead.
        groups : mapping or sequence, default=None
            Columns that are explained as one, such as those that one-hot encoding made
            of one. A mapping from names to columns, ``{"city": ["city_a", "city_b"]}``;
            columns are names or numbers, and ``"city_*"`` stands for all whose names
            fit. Or one label for each column, where equal labels make a group and None
            none.

        Returns
        -------
        contributions : ndarray or DataFrame of shape (n_samples, n_features)
            Each row sums to its score; the lowest entry is the feature that makes it
            most unusual. A DataFrame, of pandas or polars, when X is one, and
            of pandas when a file or an iterator names X's columns; in the form
            of X when an ``estimator`` takes images or sequences, with zero for missing
            steps. With ``groups`` one column for each group, the sum of its columns, at
            the place of the first of them.
        table : record array or DataFrame with n_samples * top rows
            With ``top``: columns row, feature (numbers, or labels of a DataFrame; the
            place in an image or a sequence), contribution, observed and expected
            (reconstructed) value in X's units. Of a group, observed and expected are
            the columns of the levels, None without one, if the row is one-hot there,
            else tuples of the values.

        Raises
        ------
        ValueError
            When ``groups`` names no column of X, or a column twice.

        Examples
        --------
        >>> from sklearn.datasets import load_wine
        >>> from skae import AEOutlierDetector
        >>> X = load_wine(as_frame=True).data
        >>> detector = AEOutlierDetector(random_state=0).fit(X)
        >>> row = X.iloc[[0]].assign(alcohol=25.0)
        >>> detector.explain(row, top=1)["feature"].item()
        'alcohol'
        >>> phenols = {"phenols": "*phenols"}
        >>> detector.explain(row, groups=phenols).shape
        (1, 12)
        """
        if top is not None:
            check_integer("top", top)
        if not in_own_shape(X):
            X = as_rows(X)
        samples = in_memory(self._samples(X), "explain")
        X = _named(X)
        contributions = self._scorer.contributions(samples, self.n_jobs)
        if self._missing is not None:
            contributions -= self._missing.parts(samples)
        columns = grouping = None
        if not in_own_shape(contributions) and not is_list_of_arrays(contributions):
            columns = list(getattr(X, "columns", range(contributions.shape[1])))
            if groups is not None:
                names = getattr(self, "feature_names_in_", columns)
                grouping = Grouping.of(groups, columns, names)
        elif groups is not None:
            raise ValueError(
                "groups is for columns of a table; X has samples in a shape of their "
                "own. Sum the contributions over the axes that you mean."
            )
        if top is None:
            return (
                contributions
                if columns is None
                else contributions_like(X, contributions, grouping)
            )
        expected = self._scorer.expected(samples, self.n_jobs)
        table = most_unusual(samples, contributions, expected, top, columns, grouping)
        return as_table(X, table)


def _named(X):
    """A frame with the rows and columns of a source that names them, else X."""
    if getattr(X, "feature_names", None) is None or not isinstance(X, RowSource):
        return X
    try:
        import pandas as pd
    except ImportError:
        return X
    empty = np.broadcast_to(np.nan, X.shape)
    return pd.DataFrame(empty, columns=X.feature_names, copy=False)
